"""Building a request, and retrieving its options."""

import json
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.errors import UsageError
from planner.plans import feasible_sets
from planner.recipes import load_recipes
from planner.requests import DIET_FLAGS, Household, Member, PantryItem, Slot, build_request, is_safe, needed_flags
from planner.retrieval import Wishes, retrieve, safe_recipes

CATALOG = load_recipes()
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are busy
SLOTS = [
    Slot(day=day, in_days=n, max_minutes=30, hard=True, eaters=2)
    for n, day in enumerate(("mon", "tue", "wed", "thu", "fri"))
]


def household(*members: Member) -> Household:
    return Household(members=members or (Member(),), region="north", budget="mid")


people = st.builds(
    Member,
    allergies=st.lists(st.sampled_from(sorted(CATALOG.free_flags)), max_size=2).map(tuple),
    diets=st.lists(st.sampled_from(sorted(DIET_FLAGS)), max_size=1).map(tuple),
)


@PATIENT
@given(members=st.lists(people, min_size=1, max_size=3), key=st.text(max_size=5))
def test_no_option_breaks_any_members_allergy_or_diet(members: list[Member], key: str) -> None:
    home = household(*members)
    flags = needed_flags(home, CATALOG)
    options = retrieve(home, SLOTS, Wishes(), count=13, key=key)
    assert all(recipe.flags[flag] == "yes" for recipe in options for flag in flags)
    assert len(options) == min(13, len(safe_recipes(home)[0]))


def test_unknown_is_a_breach() -> None:
    doubtful = next(r for r in CATALOG.recipes.values() if r.flags["nut_free"] == "unknown")
    assert not is_safe(doubtful, ["nut_free"])
    assert is_safe(doubtful, [])


@pytest.mark.parametrize("key", ["1", "2", "3", "4"])
def test_options_always_fill_the_week_within_hard_minutes(key: str) -> None:
    options = retrieve(household(), SLOTS, Wishes(), count=12, key=key)
    request = build_request(
        week_start=date(2025, 1, 6), household=household(), slots=SLOTS, pantry=[], options=options,
        catalog=CATALOG, ratings={},
    )  # fmt: skip
    assert feasible_sets(request).size == 5


def test_the_position_of_an_option_says_nothing() -> None:
    """Dishes that retrieval leans to are drawn more often, and stand anywhere: mean position near the middle."""
    home = Household(members=(Member(),), region="north", budget="mid", liked_cuisines=("french",))
    positions = [
        position / (len(options) - 1)
        for key in range(400)
        for options in [retrieve(home, SLOTS, Wishes(), count=12, key=str(key))]
        for position, recipe in enumerate(options)
        if recipe.cuisine == "french"
    ]
    mean = sum(positions) / len(positions)
    assert abs(mean - 0.5) < 4 * (1 / 12 / len(positions)) ** 0.5  # variance of a uniform position


def test_anchors_are_offered_and_the_draw_is_a_function_of_its_key() -> None:
    anchor = next(r.recipe_id for r in CATALOG.recipes.values() if r.minutes <= 30)
    wishes = Wishes(anchors=(anchor,))
    first = retrieve(household(), SLOTS, wishes, count=12, key="x")
    assert anchor in [recipe.recipe_id for recipe in first]
    assert first == retrieve(household(), SLOTS, wishes, count=12, key="x")
    assert first != retrieve(household(), SLOTS, wishes, count=12, key="y")


def test_a_request_is_json_and_names_what_each_option_uses_and_what_is_disliked() -> None:
    recipe = next(r for r in CATALOG.recipes.values() if {"tomato", "onion"} <= set(r.items))
    home = household(Member(allergies=("eggs",), diets=("no pork",), dislikes=("onion",)))
    request = build_request(
        week_start=date(2025, 1, 6), household=home, slots=SLOTS,
        pantry=[PantryItem(item="tomato", days_left=2, use_first=True)], options=[recipe], catalog=CATALOG,
        ratings={recipe.recipe_id: 4.26},
    )  # fmt: skip
    assert json.loads(json.dumps(request)) == request
    option = request["options"][0]
    assert (option["uses"], option["disliked"], option["rating"]) == (["tomato"], ["onion"], 4.3)
    assert option["flags"] == {flag: recipe.flags[flag] for flag in ("egg_free", "pork_free")}


def test_doubled_options_too_many_and_strange_anchors_are_refused() -> None:
    recipes = list(CATALOG.recipes.values())
    for options, anchors in (([recipes[0]] * 2, []), (recipes[:17], []), (recipes[:5], ["nothing"])):
        with pytest.raises(UsageError):
            build_request(
                week_start=date(2025, 1, 6), household=household(), slots=SLOTS, pantry=[], options=options,
                catalog=CATALOG, ratings={}, anchors=anchors,
            )  # fmt: skip
