"""What a household asks of a dish, and what a dish cannot show."""

from collections.abc import Callable
from typing import Any

import pytest

from planner.recipes import load_recipes
from planner.requests import Household, Member, needed_flags
from planner.safety import needed_rules, rule_of, safe_options, unsafe_flags

Week = Callable[..., dict[str, Any]]


@pytest.fixture
def tight(week: Week) -> dict[str, Any]:
    request = week([30] * 4)
    request["household"] |= {"allergies": ["tree_nuts", "milk"], "diets": ["no pork"]}
    shown = (("yes", "yes"), ("unknown", "yes"), ("yes", "no"), ("no", "unknown"))
    for option, (nut, pork) in zip(request["options"], shown, strict=True):
        option["flags"] = {"nut_free": nut, "dairy_free": "yes", "pork_free": pork}
    return request


def test_a_request_asks_for_the_flags_that_it_was_built_with(tight: dict[str, Any]) -> None:
    members = (Member(allergies=("tree_nuts",)), Member(allergies=("milk",), diets=("no pork",)))
    home = Household(members=members, region="north", budget="mid")
    assert sorted(needed_rules(tight)) == list(needed_flags(home, load_recipes()))
    assert needed_rules(tight) == {"dairy_free": "allergy", "nut_free": "allergy", "pork_free": "diet"}


def test_what_a_dish_cannot_show_is_named_flag_by_flag(tight: dict[str, Any]) -> None:
    found = [unsafe_flags(tight, option) for option in tight["options"]]
    assert found == [{}, {"nut_free": "unknown"}, {"pork_free": "no"}, {"nut_free": "no", "pork_free": "unknown"}]
    assert safe_options(tight) == [0]


def test_a_flag_that_a_dish_does_not_have_is_unknown(tight: dict[str, Any]) -> None:
    del tight["options"][0]["flags"]["dairy_free"]
    assert unsafe_flags(tight, tight["options"][0]) == {"dairy_free": "unknown"}


def test_an_application_s_own_allergens_and_diets_count_too(week: Week) -> None:
    request = week([30] * 2)
    request["household"] |= {"allergies": ["kiwi"], "diets": ["halal"]}
    request["options"][1]["flags"] = {"kiwi_free": "yes", "halal": "yes"}
    assert safe_options(request) == [1]
    assert (rule_of(request, "kiwi_free"), rule_of(request, "halal")) == ("allergy", "diet")


def test_a_flag_that_nobody_asked_for_but_the_dish_carries_counts(week: Week) -> None:
    """Requests that say it by flags alone keep their meaning."""
    request = week([30] * 2)
    request["options"][0]["flags"] = {"vegan": "no", "peanut_free": "unknown"}
    assert unsafe_flags(request, request["options"][0]) == {"peanut_free": "unknown", "vegan": "no"}
    assert (rule_of(request, "vegan"), rule_of(request, "peanut_free")) == ("diet", "allergy")
