"""Feasible sets and days, against brute force."""

from collections.abc import Callable
from itertools import combinations, permutations
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.plans import choose, feasible_sets, most_dinners, plan
from planner.rules import violations

UNASKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # fixtures are pure, machines are busy
Week = Callable[..., dict[str, Any]]
fixture_is_pure = settings(suppress_health_check=UNASKED, deadline=None)


def schedulable(request: dict[str, Any], dishes: tuple[dict[str, Any], ...]) -> bool:
    """Whether some assignment of dishes to days keeps the hard minutes: tries all of them."""
    return any(
        all(not slot["hard"] or dish["minutes"] <= slot["max_minutes"] for slot, dish in zip(days, dishes, strict=True))
        for days in permutations(request["slots"], len(dishes))
    )


def with_anchors(week: Week, drawn: Any, anchors: list[int]) -> dict[str, Any]:
    request = build(week, drawn)
    ids = [option["id"] for option in request["options"]]
    return {**request, "anchors": sorted({ids[n % len(ids)] for n in anchors})}


def weeks() -> st.SearchStrategy[tuple[list[int], list[tuple[int, bool]]]]:
    minutes = st.lists(st.integers(10, 90), min_size=3, max_size=6)
    return st.tuples(minutes, st.lists(st.tuples(st.integers(10, 90), st.booleans()), min_size=1, max_size=4))


def build(week: Week, drawn: tuple[list[int], list[tuple[int, bool]]]) -> dict[str, Any]:
    minutes, ceilings = drawn
    request = week(minutes)
    request["slots"] = [
        slot | {"max_minutes": most, "hard": hard}
        for slot, (most, hard) in zip(request["slots"], ceilings, strict=False)
    ]
    return request


@fixture_is_pure
@given(drawn=weeks())
def test_feasible_sets_are_exactly_those_that_some_assignment_schedules(week: Week, drawn: Any) -> None:
    request = build(week, drawn)
    sets = feasible_sets(request)
    wanted = [
        {dish["id"] for dish in dishes}
        for size in range(len(request["slots"]), -1, -1)
        for dishes in combinations(request["options"], size)
        if size == sets.size and schedulable(request, dishes)
    ]
    found = [{o["id"] for o, taken in zip(request["options"], row, strict=True) if taken} for row in sets.members]
    assert sorted(map(sorted, found)) == sorted(map(sorted, wanted))
    larger = combinations(request["options"], sets.size + 1) if sets.size < len(request["slots"]) else ()
    assert not any(schedulable(request, dishes) for dishes in larger)


@fixture_is_pure
@given(drawn=weeks(), anchors=st.lists(st.integers(0, 5), max_size=3))
def test_as_many_anchors_as_can_be_had_are_kept_and_no_dinner_is_lost_to_them(
    week: Week, drawn: Any, anchors: list[int]
) -> None:
    """Against brute force. A largest plan holds the largest number of anchors too."""
    request = with_anchors(week, drawn, anchors)
    wanted = [option for option in request["options"] if option["id"] in request["anchors"]]
    most = max(
        n for n in range(len(wanted) + 1) if any(schedulable(request, some) for some in combinations(wanted, n))
        and n <= len(request["slots"])
    )  # fmt: skip
    sets = feasible_sets(request)
    assert sets.size == feasible_sets({**request, "anchors": []}).size == most_dinners(request)
    places = [n for n, option in enumerate(request["options"]) if option["id"] in request["anchors"]]
    assert set(sets.members[:, places].sum(axis=1)) == {most}
    assert violations(request, plan(request, choose(request, range(len(request["options"]))))) == []


@fixture_is_pure
@given(drawn=weeks())
def test_a_plan_of_a_feasible_set_keeps_all_hard_minutes(week: Week, drawn: Any) -> None:
    request = build(week, drawn)
    answer = plan(request, choose(request, range(len(request["options"]))))
    minutes = {option["id"]: option["minutes"] for option in request["options"]}
    slots = {slot["day"]: slot for slot in request["slots"]}
    assert len(answer["entries"]) == feasible_sets(request).size
    for entry in answer["entries"]:
        slot = slots[entry["day"]]
        assert not slot["hard"] or minutes[entry["recipe_id"]] <= slot["max_minutes"]


def test_choose_skips_the_option_that_would_leave_no_plan(week: Week) -> None:
    """Two long dishes, one roomy day: the better of the two is taken, the other skipped, the rest follows."""
    request = week([80, 75, 30, 30, 30, 30])
    request["slots"][2]["max_minutes"] = 90
    assert choose(request, [0, 1, 2, 3, 4, 5]) == ["a", "c", "d", "e", "f"]
    assert choose(request, [1, 0, 5, 4, 3, 2]) == ["b", "f", "e", "d", "c"]


def test_the_longest_dish_goes_to_the_roomiest_day(week: Week) -> None:
    request = week([20, 60, 30, 40, 25])
    for slot, most in zip(request["slots"], (30, 45, 90, 30, 30), strict=True):
        slot["max_minutes"] = most
    answer = plan(request, choose(request, range(5)))
    by_day = {entry["day"]: entry["recipe_id"] for entry in answer["entries"]}
    assert by_day["wed"] == "b" and by_day["tue"] == "d"


def test_a_soft_wish_yields_to_a_hard_ceiling(week: Week) -> None:
    """The long dish cannot have the hard Monday, though Monday's ceiling is the highest."""
    request = week([70, 20])
    request["slots"] = request["slots"][:2]
    request["slots"][0] |= {"max_minutes": 60, "hard": True}
    request["slots"][1] |= {"max_minutes": 30, "hard": False}
    days = {entry["day"]: entry["recipe_id"] for entry in plan(request, choose(request, [0, 1]))["entries"]}
    assert days == {"mon": "b", "tue": "a"}


def test_anchors_are_in_every_feasible_set_and_unsafe_options_in_none(week: Week) -> None:
    request = week(anchors=["c"])
    request["options"][0]["flags"] = {"nut_free": "unknown"}
    members = feasible_sets(request).members
    assert members[:, 2].all() and not members[:, 0].any()
    assert choose(request, range(8))[0] == "c"


def test_an_anchor_that_nobody_can_have_gives_way_to_dinners(week: Week) -> None:
    """Unsafe, or too long for every evening: the week is planned without it."""
    slow = week([90] + [30] * 5, anchors=["a", "b"])
    unsafe = week([30] * 6, anchors=["a", "b"])
    unsafe["options"][0]["flags"] = {"nut_free": "no"}
    for request in (slow, unsafe):
        assert sorted(choose(request, range(6))) == list("bcdef")


def test_nobody_eats_and_still_somebody_is_served(week: Week) -> None:
    """An evening with no eaters is a mistake of the application; a plan without servings would not be one."""
    request = week()
    request["slots"][0]["eaters"] = 0
    assert plan(request, list("abcde"))["entries"][0]["servings"] == 1
