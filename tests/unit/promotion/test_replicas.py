"""Which serving process does not hold what it must serve: pure."""

from datetime import UTC, datetime, timedelta

from bakeoff.promotion.replicas import Gap, Replica, gaps

NOW = datetime(2025, 1, 6, 8, tzinfo=UTC)


def replica(*loaded: str, ago: float = 2.0) -> Replica:
    return Replica(
        name="web-1", pid=7, started_at=NOW - timedelta(days=1), seen_at=NOW - timedelta(seconds=ago),
        loaded=frozenset(loaded),
    )  # fmt: skip


def test_a_replica_that_holds_everything_with_traffic_is_fine() -> None:
    assert gaps([replica("a", "b", "old")], {"a": NOW - timedelta(hours=1), "b": NOW - timedelta(days=9)}, NOW) == []


def test_a_version_that_is_not_loaded_is_found() -> None:
    found = replica("a")
    assert gaps([found], {"a": NOW, "b": NOW - timedelta(seconds=30)}, NOW) == [
        Gap(replica=found, kind="not_loaded", versions=("b",))
    ]


def test_what_got_traffic_after_the_last_poll_is_not_asked_for_yet() -> None:
    assert gaps([replica("a", ago=2.0)], {"b": NOW - timedelta(seconds=1)}, NOW) == []


def test_a_silent_replica_is_silent_whatever_it_holds() -> None:
    quiet = replica("a", ago=61.0)
    assert gaps([quiet, replica("a", ago=60.0)], {"a": NOW - timedelta(days=1)}, NOW) == [
        Gap(replica=quiet, kind="silent")
    ]
