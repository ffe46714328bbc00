"""The difference between two plans. Costs checked against worked numbers of the domain report (5.1)."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.edits import apply, cost, diff

Entries = Callable[[str], list[dict[str, Any]]]
DAYS = ["mon", "tue", "wed", "thu", "fri"]

plans = st.dictionaries(st.sampled_from(DAYS), st.tuples(st.sampled_from("abcdef"), st.integers(1, 4)), max_size=5).map(
    lambda days: [{"day": d, "recipe_id": r, "servings": s} for d, (r, s) in sorted(days.items())]
)


@pytest.mark.parametrize(
    ("proposed", "accepted", "distance"),
    [
        ("xyzwv", "xzyq ", 3.0),  # two moves, a swap, a removal
        ("xyzwv", "abcde", 5.0),
        ("     ", "abcd ", 4.0),
        ("     ", "     ", 0.0),
        ("rq   ", "qr   ", 1.0),
        ("rq   ", "q r  ", 1.0),
        ("qq   ", "q r  ", 2.0),  # not monotone: one slot repaired, the distance rises
    ],
)
def test_worked_distances(entries: Entries, proposed: str, accepted: str, distance: float) -> None:
    assert cost(diff(entries(proposed), entries(accepted))) == distance


def test_servings_cost_a_quarter(entries: Entries) -> None:
    proposed, accepted = entries("xyzwv"), entries("xyzwv")
    accepted[0]["servings"] = 6
    assert diff(proposed, accepted) == [{"kind": "change_servings", "day": "mon", "from": 2, "to": 6}]
    assert cost(diff(proposed, accepted)) == 0.25


def test_kinds_of_edits(entries: Entries) -> None:
    kinds = sorted(edit["kind"] for edit in diff(entries("xyzwv"), entries("xzyq ")))
    assert kinds == ["move", "move", "remove", "swap"]


@given(proposed=plans, accepted=plans)
def test_applying_the_edits_to_the_proposal_gives_the_accepted_plan(proposed: Any, accepted: Any) -> None:
    assert apply(proposed, diff(proposed, accepted)) == {entry["day"]: entry for entry in accepted}


@given(proposed=plans, accepted=plans)
def test_distance_is_symmetric_and_bounded_by_the_slot_wise_changes(proposed: Any, accepted: Any) -> None:
    there, back = cost(diff(proposed, accepted)), cost(diff(accepted, proposed))
    filled = {entry["day"] for entry in proposed + accepted}
    assert there == back <= 1.25 * len(filled)
    assert (there == 0) == (proposed == accepted)
