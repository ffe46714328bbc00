"""The difference between two plans. Costs checked against worked numbers of the domain report (5.1)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.task import LoggedEvent, Role
from planner.edits import COSTS, _certain, _pair, _script, _without_shared, apply, cost, diff, with_reasons

Entries = Callable[[str], list[dict[str, Any]]]
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are busy
DAYS = ["mon", "tue", "wed", "thu", "fri"]


def plans_of(days: list[str], dishes: str, servings: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    kinds = st.tuples(st.sampled_from(dishes), st.integers(1, servings))
    return st.dictionaries(st.sampled_from(days), kinds, max_size=len(days)).map(
        lambda found: [{"day": d, "recipe_id": r, "servings": s} for d, (r, s) in sorted(found.items())]
    )


plans = plans_of(DAYS, "abcdef", 4)
small_plans = plans_of(DAYS[:3], "abc", 2)


def with_few_changes(proposed: list[dict[str, Any]], changes: list[tuple[int, str]]) -> list[dict[str, Any]]:
    accepted = [dict(entry) for entry in proposed]
    for index, dish in changes:
        if index < len(accepted):
            accepted[index]["recipe_id"] = dish
    return accepted


edited_plans = st.builds(
    lambda proposed, changes: (proposed, with_few_changes(proposed, changes)),
    plans_of([*DAYS, "sat", "sun"], "abcdefghijklm", 2),
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abcdefghijklmnop")), max_size=3),
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
    assert diff(proposed, accepted) == [
        {"kind": "change_servings", "day": "mon", "recipe_id": "x", "servings": 6, "servings_before": 2}
    ]
    assert cost(diff(proposed, accepted)) == 0.25


def test_what_an_application_logs_beside_an_entry_is_no_edit(entries: Entries) -> None:
    accepted = [entry | {"kind": "dinner", "note": "no salt"} for entry in entries("xyzwv")]
    assert diff(entries("xyzwv"), accepted) == []
    assert diff(entries("xyzw"), accepted) == [{"kind": "add", "day": "fri", "recipe_id": "v", "servings": 2}]


def test_kinds_of_edits(entries: Entries) -> None:
    kinds = sorted(edit["kind"] for edit in diff(entries("xyzwv"), entries("xzyq ")))
    assert kinds == ["move", "move", "remove", "swap"]


@PATIENT
@given(proposed=plans, accepted=plans)
def test_applying_the_edits_to_the_proposal_gives_the_accepted_plan(proposed: Any, accepted: Any) -> None:
    assert apply(proposed, diff(proposed, accepted)) == {entry["day"]: entry for entry in accepted}


@PATIENT
@given(proposed=plans, accepted=plans)
def test_distance_is_symmetric_and_bounded_by_the_slot_wise_changes(proposed: Any, accepted: Any) -> None:
    there, back = cost(diff(proposed, accepted)), cost(diff(accepted, proposed))
    filled = {entry["day"] for entry in proposed + accepted}
    assert there == back <= 1.25 * len(filled)
    assert (there == 0) == (proposed == accepted)


def test_a_plan_has_no_edits_of_itself(entries: Entries) -> None:
    assert diff(entries("xyzwv"), entries("xyzwv")) == [] == diff([], [])
    assert diff(tuple(entries("xyzwv")), entries("xyzwv")) == []


@PATIENT
@given(plan=plans)
def test_no_plan_has(plan: Any) -> None:
    assert diff(plan, [dict(entry) for entry in plan]) == []


def cheapest_by_trying_all(proposed: Any, accepted: Any) -> float:
    """Each entry stays, is swapped, moved or removed, with any servings; what is then lacking is added."""
    wanted = {entry["day"]: (entry["recipe_id"], entry["servings"]) for entry in accepted}
    fates: list[list[tuple[float, str | None, str, int]]] = []
    for entry in proposed:
        places = [(0.0, entry["day"], entry["recipe_id"])]
        places += [(COSTS["swap"], entry["day"], dish) for dish in "abc" if dish != entry["recipe_id"]]
        places += [(COSTS["move"], day, entry["recipe_id"]) for day in DAYS[:3] if day != entry["day"]]
        fates.append(
            [(COSTS["remove"], None, "", 0)]
            + [(c + COSTS["change_servings"] * (n != entry["servings"]), d, r, n) for c, d, r in places for n in (1, 2)]
        )
    best = float("inf")
    for script in product(*fates):
        there = [(day, (dish, n)) for _, day, dish, n in script if day is not None]
        if len(dict(there)) == len(there) and all(wanted.get(day) == what for day, what in there):
            best = min(best, sum(c for c, *_ in script) + COSTS["add"] * (len(wanted) - len(there)))
    return best


@settings(PATIENT, max_examples=60)
@given(proposed=small_plans, accepted=small_plans)
def test_no_script_of_edits_is_cheaper(proposed: Any, accepted: Any) -> None:
    assert cost(diff(proposed, accepted)) == cheapest_by_trying_all(proposed, accepted)


@PATIENT
@given(pair=st.tuples(plans, plans) | edited_plans)
def test_where_the_pairing_is_certain_the_solver_finds_the_same(pair: Any) -> None:
    before, after = _without_shared(*pair)
    certain = _certain(before, after)
    if certain is not None:
        assert certain == _pair(before, after)


@PATIENT
@given(pair=st.tuples(plans, plans) | edited_plans)
def test_putting_aside_what_is_shared_costs_nothing(pair: Any) -> None:
    assert cost(diff(*pair)) == cost(_script(*pair, _pair(*pair)))


def test_ordinary_edits_need_no_solver(entries: Entries) -> None:
    """Swaps, removals, additions and servings; two dishes that change places need one."""
    accepted = entries("xqz v")
    accepted[0]["servings"] = 3
    assert _certain(*_without_shared(entries("xyzwv"), accepted)) is not None
    assert _certain(*_without_shared(entries("xyzwv"), entries("yxzwv"))) is None


# ---- reasons ----

NOON = datetime(2025, 1, 6, 12, tzinfo=UTC)


def click(event_type: str, minute: int, **payload: Any) -> LoggedEvent:
    return LoggedEvent(
        event_id=f"{minute}", event_type=event_type, role=Role.EDIT, unit_id="u", decision_id="d",
        occurred_at=NOON + timedelta(minutes=minute), experiment_id="e", variant_id="v", policy_version_id="p",
        served_policy_version_id=None, payload=payload,
    )  # fmt: skip


def reasons(proposed: Any, accepted: Any, *clicks: LoggedEvent) -> dict[str, str | None]:
    """Kind and day of each edit -> its reason."""
    return {f"{e['kind']} {e['day']}": e.get("reason") for e in with_reasons(diff(proposed, accepted), clicks)}


def test_an_edit_carries_the_reason_that_was_given_for_its_place(entries: Entries) -> None:
    clicks = (
        click("meal_swapped", 1, day="tue", **{"from": "b", "to": "h"}, reason_code="no_time"),
        click("meal_removed", 2, day="fri", recipe_id="e", reason_code="dislike"),
    )
    assert reasons(entries("abcde"), entries("ahcd "), *clicks) == {"swap tue": "no_time", "remove fri": "dislike"}


def test_without_a_matching_event_an_edit_has_no_reason(entries: Entries) -> None:
    """The log of an application that writes plans only before and after."""
    other_day = click("meal_swapped", 1, day="wed", **{"from": "c", "to": "x"}, reason_code="no_time")
    silent = click("meal_swapped", 2, day="tue", **{"from": "b", "to": "h"})
    [edit] = with_reasons(diff(entries("abcde"), entries("ahcde")), [other_day, silent])
    assert "reason" not in edit


def test_of_several_clicks_the_one_that_took_the_proposed_dish_away_counts(entries: Entries) -> None:
    """b to x because of the time, x to h because x was dear: b went because of the time."""
    clicks = (
        click("meal_swapped", 1, day="tue", **{"from": "b", "to": "x"}, reason_code="no_time"),
        click("meal_swapped", 2, day="tue", **{"from": "x", "to": "h"}, reason_code="too_expensive"),
    )
    assert reasons(entries("abcde"), entries("ahcde"), *clicks) == {"swap tue": "no_time"}


def test_a_removal_and_an_addition_explain_the_swap_that_they_are(entries: Entries) -> None:
    clicks = (
        click("meal_removed", 1, day="tue", recipe_id="b", reason_code="dislike"),
        click("meal_added", 2, day="tue", recipe_id="h", servings=2, reason_code="missing_item"),
    )
    assert reasons(entries("abcde"), entries("ahcde"), *clicks) == {"swap tue": "dislike"}


def test_a_move_is_known_by_its_dish_and_servings_by_their_own_event(entries: Entries) -> None:
    accepted = entries("a cdb")
    accepted[0]["servings"] = 4
    clicks = (
        click("meal_moved", 1, recipe_id="b", **{"from": "tue", "to": "fri"}, reason_code="no_time"),
        click("servings_changed", 2, day="mon", **{"from": 2, "to": 4}, reason_code="eaters_changed"),
        click("meal_removed", 3, day="mon", recipe_id="a", reason_code="dislike"),  # and put back
    )
    assert reasons(entries("abcd "), accepted, *clicks) == {
        "move tue": "no_time", "change_servings mon": "eaters_changed",
    }  # fmt: skip


@PATIENT
@given(pair=st.tuples(plans, plans))
def test_reasons_do_not_change_what_the_edits_do(pair: Any) -> None:
    days = [
        click("meal_swapped", n, day=d, **{"from": "a", "to": "b"}, reason_code="dislike") for n, d in enumerate(DAYS)
    ]
    explained = with_reasons(diff(*pair), days)
    assert apply(pair[0], explained) == {entry["day"]: entry for entry in pair[1]}
    assert cost(explained) == cost(diff(*pair))
