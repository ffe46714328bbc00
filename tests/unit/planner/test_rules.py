"""The validator and its repair."""

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.task import Episode
from planner.rules import repair, violations

UNASKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # fixtures are pure, machines are busy
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


def test_an_empty_slot_beats_an_unsafe_one_and_is_no_breach_then(week: Week, entries: Entries) -> None:
    """Four safe options for five dinners: repair leaves one day empty and serves nothing unsafe."""
    request = week([30] * 5)
    request["options"][1]["flags"] = {"peanut_free": "no"}
    plan = {"entries": entries("abcde")}
    mended = repair(request, plan, violations(request, plan))
    assert sorted(entry["recipe_id"] for entry in mended["entries"]) == list("acde")
    assert rules(request, mended["entries"]) == []
    assert rules(request, mended["entries"][:3]) == ["empty_slot", "empty_slot"]  # a fourth could have been had


def test_where_nothing_can_be_had_the_empty_plan_breaks_nothing(week: Week) -> None:
    unsafe, slow = week([30] * 6), week([50] * 6)
    for option in unsafe["options"]:
        option["flags"] = {"nut_free": "unknown"}
    for request in (unsafe, slow, week(slots=[])):
        assert rules(request, []) == []
        assert repair(request, {}, violations(request, {})) == {}
    assert rules(week(), []) == ["empty_slot"] * 5


def test_an_anchor_is_missing_only_where_it_could_be_had(week: Week, entries: Entries) -> None:
    unsafe, slow = week(anchors=["h"]), week([30] * 7 + [46], anchors=["h"])
    unsafe["options"][7]["flags"] = {"egg_free": "no"}
    for request in (unsafe, slow):
        assert rules(request, entries("abcde")) == []
    slow["slots"][2]["max_minutes"] = 60
    assert rules(slow, entries("abcde")) == ["anchor_missing"]
    both = week([60, 60] + [30] * 6, anchors=["a", "b"])
    both["slots"][0]["max_minutes"] = 60  # the only evening for either
    assert rules(both, entries("acdef")) == rules(both, entries("bcdef")) == []
    assert rules(both, entries("cdefg")) == ["anchor_missing"] * 2


def test_every_flag_that_a_dish_cannot_show_is_a_breach_of_its_own(week: Week, entries: Entries) -> None:
    """A diet's flag, first by name, must not hide an allergy."""
    request = week()
    request["options"][0]["flags"] = {"beef_free": "unknown", "peanut_free": "no"}
    found = violations(request, {"entries": entries("abcde")})
    assert [(each.rule, each.detail) for each in found] == [
        ("diet", "A: beef_free is unknown"),
        ("allergy", "A: peanut_free is no"),
    ]


def test_read_leniently_what_nobody_knows_is_no_breach(week: Week, entries: Entries) -> None:
    request = week()
    request["options"][0]["flags"] = {"beef_free": "unknown", "peanut_free": "no"}
    lenient = violations(request, {"entries": entries("abcd")}, lenient=True)
    assert [each.rule for each in lenient] == ["allergy", "empty_slot"]


def test_entries_that_lack_a_part_are_breaches_and_no_error(week: Week) -> None:
    found = set(rules(week(), [{}, {"day": "mon"}, {"recipe_id": "a", "day": "tue", "servings": "2"}]))
    assert {"unknown_recipe", "closed_slot", "servings", "empty_slot"} <= found


@settings(suppress_health_check=UNASKED, deadline=None, max_examples=60)
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


# ---- properties ------------------------------------------------------------------------------------------------------

hard_weeks = settings(suppress_health_check=UNASKED, deadline=None, max_examples=80)
VALUES = st.sampled_from(["yes", "yes", "no", "unknown"])


def drawn_week(week: Week, data: Any) -> dict[str, Any]:
    """Anything that an application may ask for, possible or not."""
    request = week(data.draw(st.lists(st.sampled_from([20, 40, 60]), min_size=1, max_size=7)))
    for option in request["options"]:
        option["flags"] = {"nut_free": data.draw(VALUES), "vegan": data.draw(VALUES)}
    request["slots"] = request["slots"][: data.draw(st.integers(0, 5))]
    for slot in request["slots"]:
        slot |= {"max_minutes": data.draw(st.sampled_from([10, 30, 60])), "hard": data.draw(st.booleans())}
    ids = [option["id"] for option in request["options"]]
    request["anchors"] = data.draw(st.lists(st.sampled_from(ids), max_size=3, unique=True))
    return request


def drawn_answer(request: dict[str, Any], data: Any) -> dict[str, Any]:
    ids = st.sampled_from([option["id"] for option in request["options"]] + ["ghost"])
    days = st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sun"])
    entry = st.fixed_dictionaries({"day": days, "recipe_id": ids, "servings": st.integers(0, 3)})
    return {"entries": data.draw(st.lists(entry, max_size=6))}


@hard_weeks
@given(data=st.data())
def test_whatever_is_asked_for_repair_leaves_no_violation_and_nothing_unsafe(week: Week, data: Any) -> None:
    request = drawn_week(week, data)
    mended = repair(request, answer := drawn_answer(request, data), violations(request, answer))
    assert violations(request, mended) == []
    flags = {option["id"]: set(option["flags"].values()) for option in request["options"]}
    assert all(flags[entry["recipe_id"]] == {"yes"} for entry in mended["entries"])


@hard_weeks
@given(data=st.data())
def test_the_lenient_reading_finds_a_part_of_what_the_strict_one_finds(week: Week, data: Any) -> None:
    request = drawn_week(week, data)
    answer = drawn_answer(request, data)
    strict, lenient = violations(request, answer), violations(request, answer, lenient=True)
    assert [each for each in strict if each in lenient] == lenient
    assert all("is unknown" in each.detail for each in strict if each not in lenient)


@hard_weeks
@given(data=st.data(), lenient=st.booleans())
def test_a_further_constraint_takes_no_breach_away_but_that_something_was_left_out(
    week: Week, data: Any, lenient: bool
) -> None:
    """More flags, harder evenings, one more anchor. With fewer dishes to be had, what was left out may no longer be."""
    request = drawn_week(week, data)
    answer = drawn_answer(request, data)
    tighter = copy.deepcopy(request)
    for option in tighter["options"]:
        option["flags"]["egg_free"] = data.draw(VALUES)
    for slot in tighter["slots"]:
        slot |= {"hard": True, "max_minutes": slot["max_minutes"] - data.draw(st.sampled_from([0, 20]))}
    tighter["anchors"] = sorted({*request["anchors"], request["options"][0]["id"]})
    left_out = ("empty_slot", "anchor_missing")
    before = Counter(v.rule for v in violations(request, answer, lenient=lenient) if v.rule not in left_out)
    after = Counter(v.rule for v in violations(tighter, answer, lenient=lenient))
    assert before <= after


@hard_weeks
@given(data=st.data())
def test_the_order_of_entries_and_options_does_not_matter(week: Week, data: Any) -> None:
    request = drawn_week(week, data)
    answer = drawn_answer(request, data)
    other = {**request, "options": data.draw(st.permutations(request["options"]))}
    shuffled = {"entries": data.draw(st.permutations(answer["entries"]))}
    found = [sorted(map(str, violations(*each))) for each in ((request, answer), (other, shuffled))]
    assert found[0] == found[1]
