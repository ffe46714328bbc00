"""A household's situation and a plan in words for a cook."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from bakeoff.task import Example
from planner.policies import heuristic
from planner.recipes import load_recipes
from planner.task import PlannerTask
from planner.tell import menu, situation

Week = Callable[..., dict[str, Any]]
Entries = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def full(week: Week) -> dict[str, Any]:
    """A week in which everything is said that can be said."""
    request = week(
        workflow_type="meal-first",
        mode="constrained",
        pantry=[
            {"item": "spinach", "days_left": 0, "use_first": True},
            {"item": "cream", "days_left": 2, "use_first": True},
            {"item": "rice", "days_left": 9, "use_first": False},
        ],
        anchors=["b"],
        previous_plan={"accepted": ["c", "no-such-dish"], "removed": ["d"]},
        history={"kept": {"italian": 3, "home": 1}, "removed": {"egg": 1}},
    )
    request["household"] |= {
        "allergies": ["tree_nuts"], "diets": ["vegetarian"], "dislikes": ["olive"], "liked_cuisines": ["home"],
    }  # fmt: skip
    request["slots"][1] |= {"max_minutes": 20, "hard": False, "eaters": 1}
    for option in request["options"]:
        option["flags"] = {"nut_free": "yes", "vegetarian": "yes"}
    request["options"][0] |= {"title": "Lentil soup", "minutes": 25, "main_protein": "legume", "uses": ["spinach"]}
    request["options"][1] |= {"uses": ["spinach", "cream"], "disliked": ["olive"], "cuisine": "home"}
    request["options"][2]["flags"] = {"nut_free": "unknown", "vegetarian": "no"}
    return request


def test_the_situation_is_told_in_reading_order(full: dict[str, Any]) -> None:
    told = situation(full)
    assert [label for label, _ in told] == [
        "Week", "Who eats", "Allergies", "Diets", "Dislikes", "Likes", "Evenings", "Use first", "Also at home",
        "Asked for", "Last week", "So far", "Could choose from",
    ]  # fmt: skip
    text = dict(told)
    assert text["Week"] == "from Mon 6 Jan 2025; begins with a dish that they ask for, has tight limits"
    assert text["Who eats"] == "2 people, north, mid budget"
    assert (text["Allergies"], text["Diets"]) == ("tree nuts", "vegetarian")
    assert text["Likes"] == "home cooking"
    assert text["Evenings"].startswith("Mon at most 45 min for 2, Tue about 20 min for 1, Wed at most")
    assert text["Use first"] == "spinach (by Mon), cream (by Wed)"
    assert text["Also at home"] == "rice (by 15 Jan)"
    assert text["Asked for"] == "B"
    assert text["Last week"] == "kept C, a dish that nobody knows any more; took out D"
    assert text["So far"] == "kept italian 3 times, home cooking 1 time; took out egg 1 time"
    assert "Lentil soup (25 min, italian, legume, vegetarian); " in text["Could choose from"]
    assert "C (30 min, italian, egg) - may have tree nuts, not vegetarian; " in text["Could choose from"]


def test_what_there_is_nothing_to_say_of_is_left_out(week: Week) -> None:
    told = dict(situation(week(slots=[], options=[])))
    assert told["Last week"] == "nothing was planned before"
    assert (told["Evenings"], told["Could choose from"]) == ("none to plan", "nothing")
    assert not {"Likes", "Dislikes", "Use first", "Also at home", "Asked for", "So far"} & set(told)


def test_why_a_dish_that_was_asked_for_cannot_be_had(week: Week) -> None:
    request = week([90, 30, 30], anchors=["a", "b", "c"])
    request["options"][1]["flags"] = {"peanut_free": "no"}
    assert dict(situation(request))["Asked for"] == "A (no evening has 90 min), B (has peanuts), C"


def test_a_plan_is_a_line_for_each_dinner(full: dict[str, Any], entries: Entries) -> None:
    plan = [*entries("ab c"), {"day": "sun", "recipe_id": "ghost", "servings": 2}]
    assert menu(full, {"entries": plan}) == [
        "Mon: Lentil soup (25 min, italian, legume, vegetarian), serves 2 - uses spinach",
        "Tue: B (30 min, egg, vegetarian), serves 2 - 10 min longer than wished, has olive, which they dislike, "
        "too late for spinach, uses cream, asked for",
        "Wed: nothing",
        "Thu: C (30 min, italian, egg), serves 2 - may have tree nuts, not vegetarian, had last week",
        "Fri: nothing",
        "Sun: a dish that nobody knows any more, serves 2 - was not offered, no dinner to plan",
    ]


def test_a_dish_of_the_catalogue_has_its_name_though_it_was_not_offered(week: Week) -> None:
    recipe = next(iter(load_recipes().recipes.values()))
    (line, *_) = menu(week(), {"entries": [{"day": "mon", "recipe_id": recipe.recipe_id, "servings": 2}]})
    assert line == f"Mon: {recipe.short}, serves 2 - was not offered"


def test_an_answer_without_parts_is_told_all_the_same(week: Week) -> None:
    assert menu(week(), {}) == [f"{day}: nothing" for day in ("Mon", "Tue", "Wed", "Thu", "Fri")]
    assert menu(week(), {"entries": [{}]})[-1].startswith("No day: a dish that nobody knows")


def test_no_id_and_no_code_is_in_the_text(town_examples: list[Example]) -> None:
    task = PlannerTask()
    for example in town_examples:
        request = example.request
        answers = (heuristic(request, seed=0).answer, example.target["accepted_plan"], example.target["proposed_plan"])
        told = json.dumps([task.tell(request), *(task.tell_answer(request, answer) for answer in answers)])
        ids = {option["id"] for option in request["options"]} | set(
            (request["previous_plan"] or {}).get("accepted", ())
        )
        assert not [each for each in ids if each in told]
        assert not re.search(r"_|\bNone\b|nobody knows|was not offered", told)
        assert request["week_start"] not in told
