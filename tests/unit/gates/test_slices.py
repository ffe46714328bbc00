"""Which slices are opened is decided by counts of units alone, and a seal breaks once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from bakeoff.datasets.places import Places
from bakeoff.errors import Refused, UsageError
from bakeoff.gates.model import Absolute, Gate, NonInferior
from bakeoff.gates.slices import ALL, Asked, Opening, Reading, as_many_as_needed, next_opening, read_by, units, warning

START = datetime(2025, 1, 6, tzinfo=UTC)
COMPARED = ("new", "old")
NEUTRAL = NonInferior(metric="alignment", margin=0.05, rows="neutral")
EVERYWHERE = Gate(name="t", rules=(NonInferior(metric="quality", margin=0.05),), minimum_effective_units=30)
ON_NEUTRAL = replace(EVERYWHERE, rules=(NEUTRAL, *EVERYWHERE.rules))


def rows(per_slice: int, *, explored: int = 0, weeks: int = 1, big: int = 0) -> Places:
    """`per_slice` units in each slice, with a row a week; the first `explored` units were answered by the explorer.
    `big`: rows of one more unit in the first slice."""
    made = [
        (slice_, f"{slice_}-{n}", week, "explorer" if n < explored else "old")
        for slice_ in ALL
        for n in range(per_slice)
        for week in range(weeks)
    ]
    made += [(1, "big", 0, "old")] * big
    return Places(
        example_ids=[str(n) for n in range(len(made))],
        unit_ids=[unit for _, unit, _, _ in made],
        slices=np.array([slice_ for slice_, _, _, _ in made], dtype=np.intp),
        occurred_at=np.array([week_at(week).replace(tzinfo=None) for _, _, week, _ in made], dtype="datetime64[us]"),
        proposed_by=[who for _, _, _, who in made],
        unaided=np.zeros(len(made), dtype=np.bool_),
    )


def week_at(week: int) -> datetime:
    return START + timedelta(weeks=week)


def opening(places: Places, gate: Gate = EVERYWHERE, **given: Any) -> Opening | None:
    more: dict[str, Any] = {"current": None, "sealed": ALL, "judged_until": None, "asked": Asked(), **given}
    return next_opening(gate, places, COMPARED, **more)


@pytest.mark.parametrize(("per_slice", "opened"), [(100, 1), (39, 1), (38, 2), (20, 2), (13, 3), (12, 4), (5, 4)])
def test_the_first_gate_opens_no_more_than_its_minimum_of_units_with_some_room_needs(
    per_slice: int, opened: int
) -> None:
    """1.3 times 30 effective units are 39."""
    assert opening(rows(per_slice)) == Opening(opening=1, slices=ALL[:opened], since=None, reason="the first gate")


def test_unequal_units_count_as_fewer() -> None:
    """40 units of one row each and one with 40 rows: (40 + 40)^2 / (40 + 1600) = 3.9."""
    assert units(rows(40, big=40), COMPARED, (1,), False) == pytest.approx(6400 / 1640)
    assert opening(rows(40)).slices == (1,)  # type: ignore[union-attr]
    assert opening(rows(40, big=40)).slices == ALL  # type: ignore[union-attr]


def test_a_percentile_needs_76_rows() -> None:
    timed = replace(EVERYWHERE, rules=(Absolute(metric="p95", column="latency_s", statistic="p95", maximum=5.0),))
    assert as_many_as_needed(timed, rows(40), COMPARED, ALL) == (1, 2)
    assert as_many_as_needed(timed, rows(76), COMPARED, ALL) == (1,)


def test_a_rule_about_neutral_rows_needs_neutral_units() -> None:
    places = rows(100, explored=20)
    assert as_many_as_needed(EVERYWHERE, places, COMPARED, ALL) == (1,)
    assert as_many_as_needed(ON_NEUTRAL, places, COMPARED, ALL) == (1, 2)
    assert as_many_as_needed(ON_NEUTRAL, places, ("new", "explorer"), ALL) == (1,), "these are the other policy's"


def test_neutral_rows_that_could_never_be_enough_open_nothing_where_a_prediction_decides_instead() -> None:
    places = rows(100, explored=5)
    falls_back = replace(ON_NEUTRAL, rules=(replace(NEUTRAL, fallback="quality"), *EVERYWHERE.rules))
    assert as_many_as_needed(falls_back, places, COMPARED, ALL) == (1,)
    assert as_many_as_needed(ON_NEUTRAL, places, COMPARED, ALL) == ALL
    promise = replace(
        falls_back, rules=(*falls_back.rules, Absolute(metric="a", column="a", maximum=1, rows="neutral"))
    )
    assert as_many_as_needed(promise, places, COMPARED, ALL) == ALL, "one rule without a fallback still needs them"


def test_people_and_gate_files_may_ask_for_a_number_of_slices() -> None:
    places = rows(100)
    assert opening(places, asked=Asked(slices=3)).slices == (1, 2, 3)  # type: ignore[union-attr]
    assert opening(places, replace(EVERYWHERE, slices_per_gate=2)).slices == (1, 2)  # type: ignore[union-attr]


NOW = Reading(opening=1, slices=(1,), attempts=1)


def test_later_gates_read_what_is_open() -> None:
    assert opening(rows(100), current=NOW, sealed=(2, 3, 4)) is None
    assert opening(rows(5), current=NOW, sealed=(2, 3, 4)) is None, "no more is opened in silence"


def test_an_opening_grows_when_more_slices_are_asked_for_and_never_shrinks() -> None:
    grown = opening(rows(100), current=NOW, sealed=(2, 3, 4), asked=Asked(slices=3))
    assert grown == Opening(opening=1, slices=(2, 3), since=None, reason="3 slices at once")
    assert opening(rows(100), current=replace(NOW, slices=(1, 2)), sealed=(3, 4), asked=Asked(slices=1)) is None
    with pytest.raises(UsageError, match="3 more slices are asked for, and 2 of 4 are still sealed"):
        opening(rows(100), current=NOW, sealed=(3, 4), asked=Asked(slices=4))


def test_fresh_opens_the_next_sealed_slices_under_a_number_of_their_own() -> None:
    fresh = {"current": NOW, "asked": Asked(fresh=True)}
    assert opening(rows(100), sealed=(2, 3, 4), **fresh) == Opening(
        opening=2, slices=(2,), since=None, reason="--fresh"
    )
    assert opening(rows(20), sealed=(2, 3, 4), **fresh).slices == (2, 3)  # type: ignore[union-attr]


def test_what_was_opened_and_not_judged_on_is_still_fresh() -> None:
    """A run that was killed after it opened slices must not cost others."""
    unused = replace(NOW, opening=2, attempts=0)
    assert opening(rows(100), current=unused, sealed=(3, 4), asked=Asked(fresh=True)) is None


def test_where_every_slice_was_read_newer_weeks_are_fresh() -> None:
    until = START + timedelta(weeks=1)
    found = opening(rows(20, weeks=2), current=NOW, sealed=(), judged_until=until, asked=Asked(fresh=True))
    assert found == Opening(opening=2, slices=ALL, since=until, reason="--fresh: newer weeks")
    reading = Reading(opening=2, slices=ALL, since=until)
    places = rows(20, weeks=2)
    assert set(places.occurred_at[reading.covers(places)].tolist()) == {until.replace(tzinfo=None)}
    assert reading.covers(places).sum() == 80


def test_nothing_fresh_is_refused_with_what_to_do() -> None:
    with pytest.raises(Refused, match=r"all 4 slices have been read, and newer weeks hold 0.0") as said:
        opening(rows(100), current=NOW, sealed=(), judged_until=START + timedelta(weeks=1), asked=Asked(fresh=True))
    assert "bakeoff dataset build" in str(said.value)
    assert "--slices" not in str(said.value)


def test_sealed_slices_that_could_prove_nothing_are_not_burnt_unless_asked_for() -> None:
    fresh = {"current": NOW, "sealed": (4,), "judged_until": week_at(2)}
    with pytest.raises(Refused, match=r"slices 4 are sealed, with 12.0 effective units(?s:.)*--fresh --slices 1"):
        opening(rows(12), asked=Asked(fresh=True), **fresh)
    assert opening(rows(12), asked=Asked(fresh=True, slices=1), **fresh).slices == (4,)  # type: ignore[union-attr]
    # Rows of all slices since the last gate are more than the sealed slice.
    newer = opening(rows(12, weeks=3), asked=Asked(fresh=True), **fresh)
    assert newer is not None
    assert (newer.slices, newer.since) == (ALL, week_at(2))


def test_the_warning_says_how_often_and_what_it_means() -> None:
    """Bonferroni: of k versions that are worse by the margin, one passes with at most k times alpha."""
    assert warning(None, 0.05) is warning(1, 0.05) is None
    assert "judged 1 time before" in str(warning(2, 0.05))
    assert "chance of up to 10%, not 5%" in str(warning(2, 0.05))
    assert "up to 100%" in str(warning(40, 0.05))


def test_a_report_says_what_was_read_in_words() -> None:
    for reading in (Reading(opening=1, slices=(1,)), Reading(opening=3, slices=ALL, since=START)):
        assert read_by(reading.as_subject()) == str(reading)
    assert str(Reading(opening=1, slices=(1, 2))) == "slices 1, 2 of 4"
    assert read_by({"dataset": "sha256:d"}) is None, "reports from before slices"
