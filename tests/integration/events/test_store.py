"""The log in a real PostgreSQL: idempotent, whole, and read back as episodes."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rows
import toy
from bakeoff.adapters.postgres import Connection
from bakeoff.errors import UsageError
from bakeoff.events import store
from bakeoff.events.model import Context, Decision, Outcome, outcome
from bakeoff.fingerprint import digest
from rows import Shop

DAY_1, DAY_9, NOW = rows.at(1), rows.at(9), rows.at(20)


@pytest.fixture
def conn(scratch: Connection) -> Connection:
    return scratch


@pytest.fixture
def shop(conn: Connection) -> Shop:
    return Shop(conn)


def decision(
    shop: Shop, *, unit: str = "u", need: str = "n", at: datetime = DAY_1, ident: str = "",
    request: Mapping[str, Any] | None = None, **other: Any,
) -> Decision:  # fmt: skip
    ident = ident or rows.new_id()
    values: dict[str, Any] = {
        "event_id": ident,
        "context": Context(decision_id=ident, **shop.context()),
        "event_type": "offered",
        "task": "toy",
        "unit_id": unit,
        "need_id": need,
        "request": request or {"likes": "tea", "day": 1},
        "request_version": "1",
        "served_policy_version_id": shop.first,
        "assignment_probability": 1.0,
        "action_propensity": None,
        "occurred_at": at,
        "payload": {"answer": {"drink": "tea"}},
    }
    return Decision(**{**values, **other})


def accepted(of: Decision, *, hours: float = 1, drink: str = "tea", **other: Any) -> Outcome:
    values: dict[str, Any] = {
        "task": "toy",
        "event_id": rows.new_id(),
        "event_type": "accepted",
        "unit_id": of.unit_id,
        "context": of.context.as_dict(),
        "occurred_at": of.occurred_at + timedelta(hours=hours),
        "payload": {"accepted_by": "user", "drink": drink},
    }
    return outcome(toy.ToyTask.event_types, **{**values, **other})


def put(conn: Connection, *events: Decision | Outcome) -> list[bool]:
    return [
        store.append_decision(conn, event, received_at=NOW)
        if isinstance(event, Decision)
        else store.append_outcome(conn, event, received_at=NOW)
        for event in events
    ]


def count(conn: Connection) -> int:
    return store.summarize(conn, "toy").events


def episodes(conn: Connection, since: datetime = rows.START, until: datetime = DAY_9, **other: Any) -> list[Any]:
    return list(store.episodes(conn, "toy", since=since, until=until, **other))


# ---- once ----------------------------------------------------------------------------------------------------------


def test_the_same_event_twice_is_one_event(conn: Connection, shop: Shop) -> None:
    made = decision(shop)
    liked = accepted(made)
    assert put(conn, made, liked, made, liked) == [True, True, False, False]
    assert count(conn) == 2


def test_a_second_answer_to_one_key_is_not_written(conn: Connection, shop: Shop) -> None:
    """The first answer was shown to somebody; a retry that was answered differently changes nothing."""
    made = decision(shop)
    other = decision(shop, ident=made.event_id, payload={"answer": {"drink": "coffee"}})
    assert put(conn, made, other) == [True, False]
    found = store.find_decision(conn, made.event_id)
    assert found is not None
    assert found["payload"] == {"answer": {"drink": "tea"}}


def test_an_id_is_not_used_for_other_content(conn: Connection, shop: Shop) -> None:
    made = decision(shop)
    liked = accepted(made)
    put(conn, made, liked)
    with pytest.raises(UsageError, match="exists with other content"):
        put(conn, accepted(made, event_id=liked.event_id, drink="coffee"))
    with pytest.raises(UsageError, match="exists with other content"):  # the id of the decision itself
        put(conn, accepted(made, event_id=made.event_id))
    assert count(conn) == 2


@pytest.mark.parametrize("name", ["experiment_id", "variant_id", "policy_version_id", "unit_id", "task"])
def test_an_outcome_carries_the_context_of_its_decision(conn: Connection, shop: Shop, name: str) -> None:
    made = decision(shop)
    put(conn, made)
    other = {"experiment_id": shop.test, "variant_id": shop.control, "policy_version_id": shop.second}
    wrong: dict[str, Any] = (
        {"context": {**made.context.as_dict(), name: other[name]}} if name in other else {name: "else"}
    )
    with pytest.raises(UsageError, match=f"says {name}"):
        put(conn, accepted(made, **wrong))


def test_one_request_is_stored_once(conn: Connection, shop: Shop) -> None:
    put(conn, decision(shop), decision(shop, unit="v"))
    assert conn.execute("select count(*) as n from requests").fetchone() == {"n": 1}


# ---- clocks ----


@pytest.mark.parametrize(("minutes", "taken"), [(9, True), (11, False)])
def test_an_event_from_the_future_is_tolerated_within_ten_minutes(
    conn: Connection, shop: Shop, minutes: int, taken: bool
) -> None:
    made = decision(shop, at=NOW + timedelta(minutes=minutes))
    early = decision(shop, unit="v", at=rows.at(19))
    liked = accepted(early, occurred_at=NOW + timedelta(minutes=minutes))
    for event in (made, liked):
        if taken:
            assert put(conn, event) == [True]
        else:
            with pytest.raises(UsageError, match="says it happened at"):
                put(conn, event)


@pytest.mark.parametrize(("minutes", "taken"), [(9, True), (11, False)])
def test_an_outcome_before_its_decision_is_tolerated_within_ten_minutes(
    conn: Connection, shop: Shop, minutes: int, taken: bool
) -> None:
    made = decision(shop)
    before = accepted(made, hours=-minutes / 60)
    put(conn, made)
    if taken:
        assert put(conn, before) == [True]
    else:
        with pytest.raises(UsageError, match="before its decision"):
            put(conn, before)


def test_who_answered_is_part_of_what_a_decision_says(shop: Shop) -> None:
    made = decision(shop)
    other = decision(shop, ident=made.event_id, served_policy_version_id=shop.second)
    assert made.content_digest("sha256:r") != other.content_digest("sha256:r") != made.content_digest("sha256:s")


# ---- in any order ----


def test_an_outcome_may_come_before_its_decision(conn: Connection, shop: Shop) -> None:
    made = decision(shop)
    assert put(conn, accepted(made), made) == [True, True]
    (episode,) = episodes(conn)
    assert episode.accepted()


def test_an_early_outcome_of_another_unit_or_variant_joins_no_episode(conn: Connection, shop: Shop) -> None:
    """Before the decision is there, nobody can compare; the episode must not take it for its own."""
    made = decision(shop)
    test = {"experiment_id": shop.test, "variant_id": shop.control, "policy_version_id": shop.first}
    put(conn, accepted(made, unit_id="v"), accepted(made, context={**made.context.as_dict(), **test}), made)
    (episode,) = episodes(conn)
    assert episode.outcomes == ()


def test_late_and_repeated_outcomes_stay_in_the_order_they_happened(conn: Connection, shop: Shop) -> None:
    made = decision(shop)
    late, soon, last = accepted(made, hours=100), accepted(made, hours=2), accepted(made, hours=101, drink="coffee")
    put(conn, made, late, soon, last)
    (episode,) = episodes(conn)
    assert [event.event_id for event in episode.outcomes] == [soon.event_id, late.event_id, last.event_id]
    assert [str(row["event_id"]) for row in store.outcomes_of(conn, made.event_id)] == [
        soon.event_id, late.event_id, last.event_id,
    ]  # fmt: skip


# ---- episodes ----


def test_decisions_of_one_need_are_one_episode_that_starts_with_the_first(conn: Connection, shop: Shop) -> None:
    first = decision(shop, need="monday", at=rows.at(1), request={"likes": "tea", "day": 1})
    again = decision(shop, need="monday", at=rows.at(2), request={"likes": "coffee", "day": 1})
    other_need = decision(shop, need="tuesday", at=rows.at(1.5))
    other_unit = decision(shop, unit="a", need="monday", at=rows.at(1.2))
    liked = accepted(again)
    put(conn, again, liked, other_unit, other_need, first)
    found = episodes(conn)
    assert [(e.unit_id, e.need_id) for e in found] == [("u", "monday"), ("a", "monday"), ("u", "tuesday")]
    episode = found[0]
    assert [d.decision_id for d in episode.decisions] == [first.event_id, again.event_id]
    assert episode.request == first.request
    assert episode.request_digest == digest(first.request)
    assert [o.event_id for o in episode.outcomes] == [liked.event_id]
    assert not episode.accepted()  # the second decision was accepted, the need is judged by the first


def test_a_window_takes_decisions_from_its_start_to_before_its_end(conn: Connection, shop: Shop) -> None:
    made = [decision(shop, unit=f"u{day}", at=rows.at(day)) for day in range(4)]
    put(conn, *made)
    found = episodes(conn, since=rows.at(1), until=rows.at(3))
    assert [e.unit_id for e in found] == ["u1", "u2"]


def test_what_happened_after_the_window_is_not_known_in_it(conn: Connection, shop: Shop) -> None:
    made = decision(shop, at=rows.at(1))
    put(conn, made, accepted(made, hours=30))
    known = [len(episodes(conn, until=rows.at(day))[0].outcomes) for day in (2, 3)]
    assert known == [0, 1]


def test_episodes_of_one_experiment_only(conn: Connection, shop: Shop) -> None:
    tried = Context(
        decision_id=rows.new_id(), experiment_id=shop.test, variant_id=shop.control, policy_version_id=shop.first
    )
    inside = decision(shop, unit="t", ident=tried.decision_id, context=tried)
    put(conn, decision(shop), inside, accepted(inside))
    (found,) = episodes(conn, experiment_id=shop.test)
    assert (found.unit_id, len(found.outcomes)) == ("t", 1)


def test_other_tasks_are_not_read(conn: Connection, shop: Shop) -> None:
    put(conn, decision(shop, task="else"))
    assert episodes(conn) == []
    assert count(conn) == 0


def test_an_episode_says_what_the_log_knows_beside_the_payload(conn: Connection, shop: Shop) -> None:
    put(conn, decision(shop, served_policy_version_id=shop.second, action_propensity=0.25, origin="backfill"))
    (episode,) = episodes(conn)
    known = episode.decision
    assert (known.assignment_probability, known.action_propensity, known.origin) == (1.0, 0.25, "backfill")
    assert known.fell_back
    assert episode.decision.served_policy_version_id == shop.second
    assert episode.decision.policy_version_id == shop.first


def test_the_summary_counts(conn: Connection, shop: Shop) -> None:
    made = decision(shop)
    put(conn, made, accepted(made), decision(shop, unit="v", at=rows.at(3)))
    assert store.summarize(conn, "toy") == store.LogSummary(
        events=3, decisions=2, units=2, first_at=rows.at(1), last_at=rows.at(3)
    )
    assert store.summarize(conn, "none").first_at is None


# ---- requests as they were ----

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**60), max_value=10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=8
)


@pytest.mark.parametrize(
    "value",
    [
        1e16,
        -0.0,
        1e300,
        5e-324,
        1.0,
        2**63,
        10**60,
        "é\U0001f600\0",
        "\\u0000",
        {"b": 1, "a": 2},
        {"": []},
        [1e22, None],
    ],
    ids=repr,
)
def test_numbers_and_texts_that_jsonb_would_rewrite_are_kept(conn: Connection, shop: Shop, value: object) -> None:
    made = decision(shop, request={"value": value})
    put(conn, made)
    found = store.find_decision(conn, made.event_id)
    assert found is not None
    assert digest(found["request"]) == found["request_digest"] == digest(made.request)
    assert repr(found["request"]["value"]) == repr(value) or value == {"b": 1, "a": 2}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(request=st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=5), VALUES, min_size=1))
def test_any_request_comes_back_with_its_digest(conn: Connection, shop: Shop, request: dict[str, Any]) -> None:
    made = decision(shop, unit=str(uuid.uuid4()), request=request)
    put(conn, made)
    found = store.find_decision(conn, made.event_id)
    assert found is not None
    assert digest(found["request"]) == found["request_digest"] == digest(request)
