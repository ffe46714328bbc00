"""Which offline numbers have predicted anything: on a ledger written by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bakeoff.ledger.compare import ledger
from bakeoff.ledger.model import Entry, Ledger, Predictor

START = datetime(2025, 1, 6, 8, tzinfo=UTC)


def entry(version: int, side: str, metric: str, advantage: float | None, **other: object) -> Entry:
    online = side == "online"
    made = Entry(
        policy_id="p", version=version, against=version - 1, side="online" if online else "offline",
        source="test" if online else "gate", source_id=f"{side}-{version}", metric=metric,
        rows=None if online else "all", is_primary=online and metric == "accepted", advantage=advantage,
        lower=-1.0, upper=1.0, units=100, says="ship" if online else "PASS", at=START + timedelta(days=version),
    )  # fmt: skip
    return replace(made, **other)  # type: ignore[arg-type]


def lives(offline: list[float], online: list[float]) -> list[Entry]:
    """One version after the other, each against the one before."""
    return [
        found
        for n, (said, came) in enumerate(zip(offline, online, strict=True), 2)
        for found in (entry(n, "offline", "score", said), entry(n, "online", "accepted", came))
    ]


def only(found: Ledger) -> Predictor:
    (predictor,) = found.predictors
    return predictor


def test_a_version_is_one_pair_of_what_was_said_and_what_came() -> None:
    found = only(ledger("p", lives([0.1, 0.3], [0.02, 0.01])))
    assert [(pair.version, pair.against, pair.offline, pair.online) for pair in found.pairs] == [
        (2, 1, 0.1, 0.02), (3, 2, 0.3, 0.01),
    ]  # fmt: skip
    assert (found.offline, found.online, found.verdict, found.ranks) == ("score", "accepted", "too few", None)
    assert found.signs.agreed == found.signs.pairs == 2


def test_a_metric_that_orders_many_versions_rightly_predicts() -> None:
    rising = [0.01 * n for n in range(1, 10)]
    found = only(ledger("p", lives(rising, [2 * x for x in rising])))
    assert found.verdict == "predicts"
    assert found.ranks is not None and found.ranks.lower > 0.5


def test_a_metric_that_orders_them_the_other_way_misleads_and_comes_first() -> None:
    rising = [0.01 * n for n in range(1, 10)]
    entries = lives(rising, rising[::-1])
    entries += [entry(n, "offline", "good", 0.01 * (11 - n)) for n in range(2, 11)]
    found = ledger("p", entries)
    assert [(each.offline, each.verdict) for each in found.predictors] == [("score", "misleads"), ("good", "predicts")]


def test_noise_is_not_shown_to_predict() -> None:
    found = only(ledger("p", lives([0.1, -0.1, 0.2, -0.2, 0.3, -0.3], [0.1, 0.2, -0.2, -0.1, 0.05, -0.3])))
    assert found.verdict == "not shown"


def test_gate_and_test_must_have_compared_the_same_two_versions() -> None:
    entries = lives([0.1], [0.1])
    entries[1] = replace(entries[1], against=7)
    found = ledger("p", entries)
    assert (found.predictors, found.unpaired) == ((), (2,))
    assert len(found.entries) == 2, "both are still shown"


def test_a_second_test_replaces_the_first_and_a_holdback_is_no_pair_of_its_own() -> None:
    entries = lives([0.1], [0.1])
    later = replace(entries[1], source_id="again", advantage=0.4, at=START + timedelta(days=99))
    held = replace(entries[1], source="holdback", source_id="held", advantage=0.2, at=START + timedelta(days=120))
    (pair,) = only(ledger("p", [*entries, later, held])).pairs
    assert pair.online == 0.4


def test_a_metric_of_the_same_name_is_paired_too_and_what_is_only_shown_is_not() -> None:
    entries = [
        entry(2, "offline", "cost", 0.1), entry(2, "online", "cost", 0.2), entry(2, "online", "other", 0.3),
        entry(2, "online", "accepted", 0.4),
    ]  # fmt: skip
    found = ledger("p", entries)
    assert [(each.offline, each.online) for each in found.predictors] == [("cost", "accepted"), ("cost", "cost")]


def test_rows_that_are_not_all_are_a_metric_of_their_own() -> None:
    entries = [*lives([0.1], [0.1]), entry(2, "offline", "score", -0.1, rows="neutral")]
    found = ledger("p", entries)
    assert [each.offline for each in found.predictors] == ["score", "score (neutral rows)"]


def test_what_is_not_known_yet_is_in_no_pair() -> None:
    entries = [entry(2, "offline", "score", None), entry(2, "online", "accepted", 0.1)]
    assert ledger("p", entries).predictors == ()
    assert ledger("p", []).entries == ()
