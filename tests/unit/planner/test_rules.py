"""The validator and its repair."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.task import Episode
from planner.rules import repair, violations

Week = Callable[..., dict[str, Any]]
Entries = Callable[[str], list[dict[str, Any]]]


def rules(request: Any, entries: list[dict[str, Any]]) -> list[str]:
    return [violation.rule for violation in violations(request, {"entries": entries})]


def test_a_sound_plan_breaks_nothing(week: Week, entries: Entries) -> None:
    assert rules(week(), entries("abcde")) == []


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda _, e: e[0].update(recipe_id="ghost"), "unknown_recipe"),
        (lambda r, _: r["options"][0]["flags"].update(nut_free="no"), "allergy"),
        (lambda r, _: r["options"][0]["flags"].update(nut_free="unknown"), "allergy"),
        (lambda r, _: r["options"][0]["flags"].update(vegan="unknown"), "diet"),
        (lambda r, _: r["options"][0]["flags"].update(pork_free="no"), "diet"),
        (lambda r, _: r["options"][0].update(minutes=46), "time_hard"),
        (lambda _, e: e[0].update(servings=0), "servings"),
        (lambda _, e: e[0].update(recipe_id="b"), "duplicate_recipe"),
        (lambda r, _: r["anchors"].append("h"), "anchor_missing"),
        (lambda _, e: e.pop(), "empty_slot"),
    ],
)
def test_each_breach_has_its_rule(week: Week, entries: Entries, spoil: Any, rule: str) -> None:
    request, plan = week(), entries("abcde")
    spoil(request, plan)
    assert rules(request, plan) == [rule]
    mended = repair(request, {"entries": plan}, violations(request, {"entries": plan}))
    assert violations(request, mended) == []


def test_a_closed_day_leaves_the_open_one_empty_and_two_dishes_share_none(week: Week, entries: Entries) -> None:
    sunday = [*entries("abcd"), {"day": "sun", "recipe_id": "e", "servings": 2}]
    assert rules(week(), sunday) == ["closed_slot", "empty_slot"]
    monday = [*entries("abcd"), {"day": "mon", "recipe_id": "e", "servings": 2}]
    assert rules(week(), monday) == ["double_slot", "empty_slot"]


def test_a_soft_ceiling_is_no_breach(week: Week, entries: Entries) -> None:
    request = week([50] * 5)
    for slot in request["slots"]:
        slot["hard"] = False
    assert rules(request, entries("abcde")) == []


def test_an_empty_slot_beats_an_unsafe_one(week: Week, entries: Entries) -> None:
    """Four safe options for five dinners: repair leaves one day empty and serves nothing unsafe."""
    request = week([30] * 5)
    request["options"][1]["flags"] = {"peanut_free": "no"}
    plan = {"entries": entries("abcde")}
    mended = repair(request, plan, violations(request, plan))
    assert sorted(entry["recipe_id"] for entry in mended["entries"]) == list("acde")
    assert rules(request, mended["entries"]) == ["empty_slot"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(data=st.data())
def test_whatever_is_proposed_repair_leaves_no_violation_and_keeps_sound_dishes(
    town_log: list[Episode], data: Any
) -> None:
    request = data.draw(st.sampled_from(town_log)).request
    ids = st.sampled_from([option["id"] for option in request["options"]] + ["ghost"])
    days = st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
    entry = st.fixed_dictionaries({"day": days, "recipe_id": ids, "servings": st.integers(0, 3)})
    answer = {"entries": data.draw(st.lists(entry, max_size=7))}
    mended = repair(request, answer, violations(request, answer))
    assert violations(request, mended) == []
    assert repair(request, mended, []) == mended


def test_repair_keeps_what_was_sound(week: Week, entries: Entries) -> None:
    plan = {"entries": entries("hgfe")}
    mended = repair(week(), plan, violations(week(), plan))
    assert {"h", "g", "f", "e"} < {entry["recipe_id"] for entry in mended["entries"]}
