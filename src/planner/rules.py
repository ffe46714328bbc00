"""The validator: hard constraints by rule id, and what is served instead of a plan that breaks one."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakeoff.task import Answer, Request, Violation
from planner.features import heuristic_order
from planner.plans import choose, plan, unsafe_flag
from planner.requests import DIET_FLAGS

Entry = Mapping[str, Any]


def violations(request: Request, answer: Answer) -> list[Violation]:
    """Every breach, entry by entry and then over the whole plan; rule ids in the order of this module."""
    entries: Sequence[Entry] = answer["entries"]
    found = [violation for entry in entries for violation in _entry(request, entry)]
    return found + list(_whole(request, entries))


def repair(request: Request, answer: Answer, found: Sequence[Violation]) -> Answer:
    """Keeps the dishes that break no rule and fills up in the heuristic's order; days are assigned anew.

    Has no violations wherever the request has a plan without any."""
    if not found:
        return answer
    options = [option["id"] for option in request["options"]]
    sound = [entry["recipe_id"] for entry in answer["entries"] if not list(_dish(request, entry))]
    kept = list(dict.fromkeys(options.index(recipe_id) for recipe_id in sound))
    rest = [index for index in heuristic_order(request) if index not in kept]
    return plan(request, choose(request, kept + rest))


def _entry(request: Request, entry: Entry) -> Iterator[Violation]:
    yield from _dish(request, entry)
    yield from _slot(request, entry)


def _dish(request: Request, entry: Entry) -> Iterator[Violation]:
    """Rules about the dish, wherever it stands: unknown_recipe, allergy, diet."""
    option = next((o for o in request["options"] if o["id"] == entry["recipe_id"]), None)
    if option is None:
        yield _breach("unknown_recipe", entry, f"{entry['recipe_id']} is not among the options")
    elif flag := unsafe_flag(option):
        rule = "diet" if flag in DIET_FLAGS.values() else "allergy"
        yield _breach(rule, entry, f"{option['title']}: {flag} is {option['flags'][flag]}")


def _slot(request: Request, entry: Entry) -> Iterator[Violation]:
    """Rules about the dish on its day: closed_slot, time_hard, servings."""
    slot = next((s for s in request["slots"] if s["day"] == entry["day"]), None)
    option = next((o for o in request["options"] if o["id"] == entry["recipe_id"]), None)
    if slot is None:
        yield _breach("closed_slot", entry, f"{entry['day']} is not to be planned")
    elif option is not None and slot["hard"] and option["minutes"] > slot["max_minutes"]:
        yield _breach("time_hard", entry, f"{option['minutes']} minutes, at most {slot['max_minutes']}")
    if not (isinstance(entry["servings"], int) and entry["servings"] > 0):
        yield _breach("servings", entry, f"{entry['servings']!r} servings")


def _whole(request: Request, entries: Sequence[Entry]) -> Iterator[Violation]:
    """Rules about the plan: duplicate_recipe, double_slot, anchor_missing, empty_slot."""
    dishes = Counter(entry["recipe_id"] for entry in entries)
    days = Counter(entry["day"] for entry in entries)
    for recipe_id, count in sorted(dishes.items()):
        if count > 1:
            yield Violation(rule="duplicate_recipe", where=None, detail=f"{recipe_id} is planned {count} times")
    for day, count in sorted(days.items()):
        if count > 1:
            yield Violation(rule="double_slot", where=day, detail=f"{count} dishes on {day}")
    for recipe_id in request["anchors"]:
        if recipe_id not in dishes:
            yield Violation(rule="anchor_missing", where=None, detail=f"{recipe_id} was asked for")
    for slot in request["slots"]:
        if slot["day"] not in days:
            yield Violation(rule="empty_slot", where=slot["day"], detail=f"nothing planned on {slot['day']}")


def _breach(rule: str, entry: Entry, detail: str) -> Violation:
    return Violation(rule=rule, where=str(entry["day"]), detail=detail)
