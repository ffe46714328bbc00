"""The validator: hard constraints by rule id, and what is served instead of a plan that breaks one.

A rule says what could have been done better. A dinner left empty, or a dish asked for and left out, is a breach only
where a plan without it exists: an empty evening beats an unsafe one, and what nobody can keep is nobody's fault.
"""

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from bakeoff.task import Answer, Request, Violation
from planner.features import heuristic_order
from planner.plans import choose, hard_ceilings, most_dinners, most_fitting, plan
from planner.safety import rule_of, safe_options, unsafe_flags

Entry = Mapping[str, Any]


def violations(request: Request, answer: Answer, *, lenient: bool = False) -> list[Violation]:
    """Every breach, entry by entry and then over the whole plan; rule ids in the order of this module.

    Read strictly, a flag that nobody knows is a breach; with `lenient` it is not (unverified is not wrong). What the
    lenient reading finds is always a part of what the strict one finds."""
    entries: Sequence[Entry] = answer.get("entries", ())
    found = [violation for entry in entries for violation in _entry(request, entry, lenient)]
    return found + list(_whole(request, entries))


def repair(request: Request, answer: Answer, found: Sequence[Violation]) -> Answer:
    """Keeps the dishes that break no rule and fills up in the heuristic's order; days are assigned anew.

    Has no violations, whatever the request: where nothing is safe or quick enough it leaves dinners empty."""
    if not found:
        return answer
    options = [option["id"] for option in request["options"]]
    sound = [entry["recipe_id"] for entry in answer.get("entries", ()) if not list(_dish(request, entry))]
    kept = list(dict.fromkeys(options.index(recipe_id) for recipe_id in sound))
    rest = [index for index in heuristic_order(request) if index not in kept]
    return plan(request, choose(request, kept + rest))


def _entry(request: Request, entry: Entry, lenient: bool) -> Iterator[Violation]:
    yield from _dish(request, entry, lenient)
    yield from _slot(request, entry)


def _dish(request: Request, entry: Entry, lenient: bool = False) -> Iterator[Violation]:
    """Rules about the dish, wherever it stands: unknown_recipe, allergy, diet."""
    option = next((o for o in request["options"] if o["id"] == entry.get("recipe_id")), None)
    if option is None:
        yield _breach("unknown_recipe", entry, f"{entry.get('recipe_id')} is not among the options")
        return
    for flag, value in unsafe_flags(request, option).items():
        if value == "no" or not lenient:
            yield _breach(rule_of(request, flag), entry, f"{option['title']}: {flag} is {value}")


def _slot(request: Request, entry: Entry) -> Iterator[Violation]:
    """Rules about the dish on its day: closed_slot, time_hard, servings."""
    slot = next((s for s in request["slots"] if s["day"] == entry.get("day")), None)
    option = next((o for o in request["options"] if o["id"] == entry.get("recipe_id")), None)
    servings = entry.get("servings")
    if slot is None:
        yield _breach("closed_slot", entry, f"{entry.get('day')} is not to be planned")
    elif option is not None and slot["hard"] and option["minutes"] > slot["max_minutes"]:
        yield _breach("time_hard", entry, f"{option['minutes']} minutes, at most {slot['max_minutes']}")
    if not (isinstance(servings, int) and servings > 0):
        yield _breach("servings", entry, f"{servings!r} servings")


def _whole(request: Request, entries: Sequence[Entry]) -> Iterator[Violation]:
    """Rules about the plan: duplicate_recipe, double_slot, anchor_missing, empty_slot."""
    dishes = Counter(str(entry.get("recipe_id")) for entry in entries)
    days = Counter(str(entry.get("day")) for entry in entries)
    for recipe_id, count in sorted(dishes.items()):
        if count > 1:
            yield Violation(rule="duplicate_recipe", where=None, detail=f"{recipe_id} is planned {count} times")
    for day, count in sorted(days.items()):
        if count > 1:
            yield Violation(rule="double_slot", where=day, detail=f"{count} dishes on {day}")
    for recipe_id in _left_out(request, dishes):
        yield Violation(rule="anchor_missing", where=None, detail=f"{recipe_id} was asked for")
    for day in _left_empty(request, days):
        yield Violation(rule="empty_slot", where=day, detail=f"nothing planned on {day}")


def _left_out(request: Request, dishes: Container[str]) -> list[str]:
    """Dishes that were asked for and left out, where more of them could be had."""
    ceilings = hard_ceilings(request)
    safe = [request["options"][index] for index in safe_options(request)]
    minutes = {o["id"]: o["minutes"] for o in safe if o["id"] in request["anchors"]}
    possible = [each for each in request["anchors"] if each in minutes and minutes[each] <= max(ceilings, default=0)]
    missing = [each for each in possible if each not in dishes]
    most = most_fitting(sorted(minutes[each] for each in possible), ceilings)
    return missing if len(possible) - len(missing) < most else []


def _left_empty(request: Request, days: Container[str]) -> list[str]:
    """Dinners that were left empty, where more of them could be filled."""
    empty = [slot["day"] for slot in request["slots"] if slot["day"] not in days]
    return empty if empty and len(request["slots"]) - len(empty) < most_dinners(request) else []


def _breach(rule: str, entry: Entry, detail: str) -> Violation:
    return Violation(rule=rule, where=str(entry.get("day")), detail=detail)
