"""Offline scores, against worked numbers of the domain report (section 5)."""

from collections.abc import Callable
from typing import Any

import pytest

from planner.scores import alignment, diversity, effective_number, fill_rate, leftovers_utility, variety

Week = Callable[..., dict[str, Any]]
Entries = Callable[[str], list[dict[str, Any]]]


def test_alignment_is_the_shared_dishes_over_the_larger_plan() -> None:
    assert alignment("xyzwv", "xzyq") == 3 / 5
    assert alignment("xyzwv", "vwzyx") == 1.0  # order and days do not count
    assert alignment("aa", "ab") == 1 / 2  # a doubled dish counts once
    assert alignment("", "abcd") == 0.0
    assert alignment("", "") is None


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


def test_diversity_of_a_single_dish_is_undefined(week: Week) -> None:
    assert diversity(week(), ["a"], ["a", "b"]) is None
    assert diversity(week(), ["a", "b"], ["ghost"]) is None


def test_leftovers_count_only_what_is_used_in_time(week: Week, entries: Entries) -> None:
    """Chicken used in time, spinach too late, milk not at all: one of three."""
    at_risk = [("chicken", 1), ("spinach", 2), ("milk", 5)]
    request = week(pantry=[{"item": i, "days_left": d, "use_first": True} for i, d in at_risk])
    request["options"][1]["uses"] = ["chicken"]
    request["options"][3]["uses"] = ["spinach"]
    assert leftovers_utility(request, {"entries": entries("abcde")}) == pytest.approx(1 / 3)
    assert leftovers_utility(request, {"entries": entries("bdace")}) == pytest.approx(2 / 3)
    assert leftovers_utility(request, {"entries": []}) == 0.0


def test_leftovers_are_undefined_without_an_item_at_risk(week: Week, entries: Entries) -> None:
    request = week(pantry=[{"item": "rice", "days_left": 300, "use_first": False}])
    assert leftovers_utility(request, {"entries": entries("abcde")}) is None


def test_fill_rate_ignores_days_that_are_not_open(week: Week, entries: Entries) -> None:
    assert fill_rate(week(), {"entries": entries("ab d ")}) == 3 / 5
    assert fill_rate(week(), {"entries": [{"day": "sun", "recipe_id": "a", "servings": 1}]}) == 0.0
