"""Offline scores: the worked numbers of their docstrings, the domain report's (section 5), and what always holds."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.task import Example
from planner.policies import explorer
from planner.scores import (
    alignment,
    constraint_respect,
    diversity,
    effective_number,
    fill_rate,
    leftovers_utility,
    variety,
)
from planner.task import PlannerTask

UNASKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # fixtures are pure, machines are busy
Week = Callable[..., dict[str, Any]]
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are busy
Entries = Callable[[str], list[dict[str, Any]]]


# ---- alignment -------------------------------------------------------------------------------------------------------


def test_alignment_is_the_shared_dishes_over_the_larger_plan() -> None:
    """The domain report's plans: P = X Y Z W V, A = X Z Y Q share three of five (its Jaccard 3 / 6 counts otherwise,
    its slot match .2 counts days)."""
    assert alignment("XYZWV", "XZYQ") == pytest.approx(0.6)
    assert alignment("XYZWV", "VWZYX") == 1.0  # order and days do not count
    assert alignment("QQ", "QR") == 1 / 2  # a doubled dish counts once
    assert alignment("abcde", "vwxyz") == 0.0  # all five swapped
    assert alignment("", "abcd") == 0.0
    assert alignment("", "") is None


dishes = st.text(alphabet="abcdefg", max_size=6)


@PATIENT
@given(proposed=dishes, accepted=dishes)
def test_alignment_is_a_share_symmetric_and_1_for_the_same_dishes_only(proposed: str, accepted: str) -> None:
    found = alignment(proposed, accepted)
    assert found == alignment(accepted, proposed)
    if found is not None:
        assert 0.0 <= found <= 1.0
        assert (found == 1.0) == (sorted(proposed) == sorted(accepted))


@PATIENT
@given(kept=st.text(alphabet="abcde", min_size=1, max_size=5))
def test_each_further_kept_dish_is_worth_the_same(kept: str) -> None:
    values = [alignment(kept[:n] + "z" * (len(kept) - n), kept) or 0.0 for n in range(len(kept) + 1)]
    assert values == pytest.approx([n / len(kept) for n in range(len(kept) + 1)])


# ---- diversity -------------------------------------------------------------------------------------------------------


def test_effective_number_of_kinds() -> None:
    week = ["chicken"] * 3 + ["beef", "fish"] + ["tofu"] * 2
    assert effective_number(week) == pytest.approx(3.5860, abs=1e-4)
    assert effective_number(["soup"]) == pytest.approx(1.0)
    assert effective_number([]) is None


def coloured(week: Week, kinds: str) -> dict[str, Any]:
    request = week([30] * len(kinds))
    for option, kind in zip(request["options"], kinds, strict=True):
        option |= {"cuisine": kind, "main_protein": kind}
    return request


def test_diversity_is_a_band_around_the_households_own_variety(week: Week) -> None:
    request = coloured(week, "11111" + "23456")
    plain, varied = list("abcde"), list("fghij")
    assert variety(request, plain) == pytest.approx(1.0) and variety(request, varied) == pytest.approx(5.0)
    assert diversity(request, plain, plain) == diversity(request, varied, varied) == 1.0
    assert diversity(request, plain, varied) == diversity(request, varied, plain) == pytest.approx(0.0)
    nearly = [*varied[:4], "a"]  # five kinds as well
    assert diversity(request, nearly, varied) == 1.0


def test_diversity_by_the_worked_number(week: Week) -> None:
    request = coloured(week, "AABBC" + "11111")
    assert variety(request, list("abcde")) == pytest.approx(2.8717, abs=1e-4)
    assert diversity(request, list("abcde"), list("fghij")) == pytest.approx(0.6081, abs=1e-4)


def test_more_variety_than_the_household_s_is_as_far_off_as_less(week: Week) -> None:
    """Own variety 3.7893. Five kinds are 1.2107 above it, kinds 1 1 2 2 2 (1.9601) are 1.8292 below."""
    request = coloured(week, "12345" + "11222" + "11234")
    own = list("klmno")
    assert variety(request, own) == pytest.approx(3.7893, abs=1e-4)
    assert diversity(request, list("abcde"), own) == pytest.approx(1 - 0.7107 / 3.5, abs=1e-4)
    assert diversity(request, list("fghij"), own) == pytest.approx(1 - 1.3292 / 3.5, abs=1e-4)


def test_diversity_of_a_single_dish_is_undefined(week: Week) -> None:
    assert diversity(week(), ["a"], ["a", "b"]) is None
    assert diversity(week(), ["a", "b"], ["ghost"]) is None


# ---- leftovers -------------------------------------------------------------------------------------------------------


def at_risk(week: Week, **uses: str) -> dict[str, Any]:
    """Chicken to be used by Tuesday, spinach by Wednesday, milk by Friday; ``b="chicken"``: dish b needs chicken."""
    days = {"chicken": 1, "spinach": 2, "milk": 4}
    request = week(pantry=[{"item": i, "days_left": d, "use_first": True} for i, d in days.items()])
    for option in request["options"]:
        option["uses"] = [uses[option["id"]]] if option["id"] in uses else []
    return request


def test_leftovers_count_only_what_is_used_in_time(week: Week, entries: Entries) -> None:
    """Chicken used in time, spinach too late, milk not at all: one of three. With spinach in time two, whatever the
    amounts (by which the domain report's oracle B has .5333)."""
    request = at_risk(week, b="chicken", d="spinach")
    assert leftovers_utility(request, {"entries": entries("abcde")}) == pytest.approx(1 / 3)
    assert leftovers_utility(request, {"entries": entries("abdce")}) == pytest.approx(2 / 3)
    assert leftovers_utility(request, {"entries": []}) == 0.0


def test_leftovers_are_undefined_without_an_item_at_risk(week: Week, entries: Entries) -> None:
    request = week(pantry=[{"item": "rice", "days_left": 300, "use_first": False}])
    assert leftovers_utility(request, {"entries": entries("abcde")}) is None


# ---- constraints -----------------------------------------------------------------------------------------------------


def test_five_meals_of_which_one_may_have_nuts_fail_strictly_and_pass_leniently(week: Week, entries: Entries) -> None:
    request = week([30] * 5)
    request["household"]["allergies"] = ["tree_nuts"]
    for option in request["options"]:
        option["flags"] = {"nut_free": "yes"}
    plan = {"entries": entries("abcde")}
    assert constraint_respect(request, plan) == 1.0
    request["options"][2]["flags"]["nut_free"] = "unknown"
    assert (constraint_respect(request, plan), constraint_respect(request, plan, lenient=True)) == (0.0, 1.0)
    request["options"][2]["flags"]["nut_free"] = "no"
    assert constraint_respect(request, plan, lenient=True) == 0.0


def test_refusing_to_plan_is_a_breach_unless_nothing_can_be_planned(week: Week) -> None:
    assert constraint_respect(week(), {"entries": []}) == constraint_respect(week(), {"entries": []}, lenient=True) == 0
    slow = week([50] * 8)
    assert constraint_respect(slow, {"entries": []}) == 1.0


# ---- fill rate -------------------------------------------------------------------------------------------------------


def test_fill_rate_ignores_days_that_are_not_open(week: Week, entries: Entries) -> None:
    sunday = {"day": "sun", "recipe_id": "f", "servings": 1}
    assert fill_rate(week(), {"entries": entries("ab d ")}) == 3 / 5
    assert fill_rate(week(), {"entries": [*entries("ab d "), sunday]}) == 3 / 5
    assert fill_rate(week(), {"entries": [sunday]}) == 0.0


def test_fill_rate_is_out_of_the_dinners_that_could_have_a_dish(week: Week, entries: Entries) -> None:
    request = week([30] * 4 + [50] * 4)  # four quick dishes
    assert fill_rate(request, {"entries": entries("abc")}) == 3 / 4
    assert fill_rate(request, {"entries": entries("abcd")}) == 1.0
    assert fill_rate(request, {"entries": entries("abcde")}) == 1.0  # one of them is a breach, and no further dinner
    assert fill_rate(week([50] * 4), {"entries": []}) == fill_rate(week(slots=[]), {"entries": []}) == 1.0


# ---- all of them -----------------------------------------------------------------------------------------------------

FIXED = settings(suppress_health_check=UNASKED, deadline=None, max_examples=40)


def shuffled(items: Sequence[Any], seed: int) -> list[Any]:
    return random.Random(seed).sample(list(items), len(items))


def in_another_order(example: Example, seed: int) -> Example:
    """Everything that has no order of its own, in another one."""
    request: dict[str, Any] = {**example.request}
    for name in ("options", "pantry", "slots", "anchors"):
        request[name] = shuffled(request[name], seed)
    household: Mapping[str, Any] = request["household"]
    request["household"] = {k: shuffled(v, seed) if isinstance(v, list) else v for k, v in household.items()}
    target = {**example.target, "accepted_meals": shuffled(example.target["accepted_meals"], seed)}
    return Example(
        example_id=example.example_id, unit_id=example.unit_id, occurred_at=example.occurred_at, request=request,
        target=target,
    )  # fmt: skip


@FIXED
@given(data=st.data(), seed=st.integers(0, 99))
def test_no_score_depends_on_any_order(town_examples: list[Example], data: Any, seed: int) -> None:
    example = data.draw(st.sampled_from(town_examples))
    task = PlannerTask().fitted(town_examples[::2])
    entries = explorer(example.request, seed=seed).answer["entries"][: data.draw(st.integers(0, 5))]
    found = task.score(example, {"entries": entries})
    other = task.score(in_another_order(example, seed), {"entries": shuffled(entries, seed)})
    assert {name: other[name] for name in found} == pytest.approx(dict(found))


@FIXED
@given(data=st.data(), seed=st.integers(0, 99))
def test_a_further_dinner_lowers_no_score_but_those_that_compare_with_what_was_kept(
    town_examples: list[Example], data: Any, seed: int
) -> None:
    example = data.draw(st.sampled_from(town_examples))
    task = PlannerTask()
    whole = explorer(example.request, seed=seed).answer["entries"]
    scores = [task.score(example, {"entries": whole[:n]}) for n in range(len(whole) + 1)]
    for name in ("leftovers_utility_score", "constraint_respect_score", "fill_rate"):
        values = [score[name] for score in scores if score[name] is not None]
        assert values == sorted(values)
