"""What people changed: the exact difference between a proposed and an accepted plan.

Derived from the two snapshots, never from clicks (A to B and back is two clicks and no edit), so applications that
only log before and after have edits too. The pairing of entries is an assignment problem solved exactly: same dish
and day 0, same dish on another day 'move' 0.5, another dish on the same day 'swap' 1, unmatched 'remove' or 'add' 1,
other servings 0.25 more; other pairings are forbidden. An edit is a JSON mapping in which each key has one meaning::

    {"kind": "swap", "day", "recipe_id", "to_recipe_id"}     {"kind": "move", "day", "recipe_id", "to_day"}
    {"kind": "remove", "day", "recipe_id"}                   {"kind": "add", "day", "recipe_id", "servings"}
    {"kind": "change_servings", "day", "recipe_id", "servings", "servings_before"}

``day`` and ``recipe_id`` name a place of the proposal; of an 'add' and a 'change_servings', of the accepted plan.
``reason`` (a reason code) is there where somebody gave one: `with_reasons`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from bakeoff.task import LoggedEvent, Role

Entry = Mapping[str, Any]
Edit = Mapping[str, Any]

COSTS: Mapping[str, float] = {"move": 0.5, "swap": 1.0, "remove": 1.0, "add": 1.0, "change_servings": 0.25}
_FORBIDDEN = 1e6
_PLACED = ("day", "recipe_id", "servings")  # what an entry is; applications may log more with it, which is no edit


def diff(proposed: Sequence[Entry], accepted: Sequence[Entry]) -> list[dict[str, Any]]:
    """The cheapest edits that turn `proposed` into `accepted`. At most one entry per day in each.

    Entries that are the same in both are in every cheapest pairing (no other partner is worth breaking two of
    them up for). Of the rest, a dish that only one plan has cannot move: it can pair with what stands on its day
    or with nothing. Where that decides everything, no assignment is solved."""
    if proposed == accepted:
        return []
    before, after = _without_shared(proposed, accepted)
    pairs = _certain(before, after)
    return _script(before, after, _pair(before, after) if pairs is None else pairs)


def cost(edits: Iterable[Edit]) -> float:
    """Edit distance in edits, weighted by kind (`COSTS`)."""
    return sum(COSTS[edit["kind"]] for edit in edits)


def apply(proposed: Sequence[Entry], edits: Sequence[Edit]) -> dict[str, dict[str, Any]]:
    """The plan after `edits`, as day -> entry. All edits happen at once, so two dishes can change places."""
    days = {entry["day"]: dict(entry) for entry in proposed}
    moved = [days.pop(edit["day"]) | {"day": edit["to_day"]} for edit in edits if edit["kind"] == "move"]
    for edit in edits:
        if edit["kind"] == "remove":
            del days[edit["day"]]
        elif edit["kind"] == "swap":
            days[edit["day"]] |= {"recipe_id": edit["to_recipe_id"]}
    days |= {entry["day"]: entry for entry in moved}
    for edit in edits:
        if edit["kind"] == "add":
            days[edit["day"]] = {name: edit[name] for name in _PLACED}
        elif edit["kind"] == "change_servings":
            days[edit["day"]] |= {"servings": edit["servings"]}
    return days


# ---- reasons -------------------------------------------------------------------------------------------------------

_KIND: Mapping[str, str] = {
    "meal_swapped": "swap",
    "meal_moved": "move",
    "meal_removed": "remove",
    "meal_added": "add",
    "servings_changed": "change_servings",
}


def with_reasons(edits: Sequence[dict[str, Any]], events: Sequence[LoggedEvent]) -> list[dict[str, Any]]:
    """`edits` with ``reason`` where one of `events` (oldest first) gave a reason code for the same place.

    Several clicks can become one edit (A to B, B to C; or A removed and C added). What counts is why the proposed
    dish went: the last reason given about that dish. Else the last one given by the same kind of event about that
    day. A dish that was moved is known by its name alone."""
    given = [event for event in events if event.role is Role.EDIT and event.payload.get("reason_code")]
    if not given:
        return list(edits)
    reasons = [_reason(edit, given) for edit in edits]
    return [edit if why is None else {**edit, "reason": why} for edit, why in zip(edits, reasons, strict=True)]


def _reason(edit: Edit, given: Sequence[LoggedEvent]) -> str | None:
    about_dish = [event for event in given if _about(edit, event)]
    same_kind = [event for event in given if _KIND.get(event.event_type) == edit["kind"] and _day(event) == edit["day"]]
    chosen = (about_dish or same_kind)[-1:]
    return str(chosen[0].payload["reason_code"]) if chosen else None


def _about(edit: Edit, event: LoggedEvent) -> bool:
    """Whether `event` is about the dish that `edit` is about, in its place; a change of servings only explains one."""
    kind = _KIND.get(event.event_type)
    if "change_servings" in (kind, edit["kind"]):
        return bool(kind == edit["kind"] and _day(event) == edit["day"])
    dish = event.payload.get("from") if kind == "swap" else event.payload.get("recipe_id")
    if edit["kind"] == "add":  # it came by a swap too, where its day was filled in between
        dish = event.payload.get("to") if kind == "swap" else dish
    same_place = edit["kind"] == "move" or _day(event) == edit["day"]
    return bool(dish == edit["recipe_id"] and same_place)


def _day(event: LoggedEvent) -> Any:
    """Where the dish stood: a moved one, before."""
    return event.payload.get("from") if _KIND.get(event.event_type) == "move" else event.payload.get("day")


# ---- the pairing ---------------------------------------------------------------------------------------------------

_Pairs = Mapping[int, int]
"""Index in the proposal -> index in the accepted plan; entries that are missing have no partner."""


def _without_shared(proposed: Sequence[Entry], accepted: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """What is left when entries that are the same in both are put aside. Nothing is, where a day has two dishes."""
    here = {entry["day"]: entry for entry in proposed}
    there = {entry["day"]: entry for entry in accepted}
    if len(here) < len(proposed) or len(there) < len(accepted):
        return list(proposed), list(accepted)
    return (
        [entry for entry in proposed if there.get(entry["day"]) != entry],
        [entry for entry in accepted if here.get(entry["day"]) != entry],
    )


def _certain(before: Sequence[Entry], after: Sequence[Entry]) -> _Pairs | None:
    """The only cheapest pairing where it can be seen without solving, else None."""
    by_day = {entry["day"]: index for index, entry in enumerate(after)}
    days = {entry["day"] for entry in before}
    if len(by_day) < len(after) or len(days) < len(before):
        return None  # two dishes on a day
    dishes = {entry["recipe_id"]: entry["day"] for entry in after}
    ours = {entry["recipe_id"] for entry in before}
    if len(dishes) < len(after) or len(ours) < len(before):
        return None  # a dish that is there twice
    if any(dishes.get(entry["recipe_id"], entry["day"]) != entry["day"] for entry in before):
        return None  # something may have moved
    return {index: by_day[entry["day"]] for index, entry in enumerate(before) if entry["day"] in by_day}


def _pair(before: Sequence[Entry], after: Sequence[Entry]) -> _Pairs:
    """Hungarian method over a square matrix: each entry may also pair with its own 'nothing' (remove or add)."""
    p, a = len(before), len(after)
    costs = np.full((p + a, p + a), _FORBIDDEN)
    for i, entry in enumerate(before):
        costs[i, :a] = [_pair_cost(entry, other) for other in after]
        costs[i, a + i] = COSTS["remove"]
    for j in range(a):
        costs[p + j, j] = COSTS["add"]
    costs[p:, a:] = 0.0
    rows, columns = scipy.optimize.linear_sum_assignment(costs)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if i < p and j < a}


def _pair_cost(before: Entry, after: Entry) -> float:
    same_day, same_dish = before["day"] == after["day"], before["recipe_id"] == after["recipe_id"]
    if not (same_day or same_dish):
        return _FORBIDDEN
    return cost(_changes(before, after))


def _script(before: Sequence[Entry], after: Sequence[Entry], pairs: _Pairs) -> list[dict[str, Any]]:
    """Changes in the order of the proposal, then what was removed, then what was added."""
    edits = [edit for i, j in sorted(pairs.items()) for edit in _changes(before[i], after[j])]
    edits += [
        {"kind": "remove", "day": entry["day"], "recipe_id": entry["recipe_id"]}
        for i, entry in enumerate(before)
        if i not in pairs
    ]
    taken = set(pairs.values())
    added = [{name: entry[name] for name in _PLACED} for j, entry in enumerate(after) if j not in taken]
    return edits + [{"kind": "add", **entry} for entry in added]


def _changes(before: Entry, after: Entry) -> list[dict[str, Any]]:
    edits: list[dict[str, Any]] = []
    place = {"day": before["day"], "recipe_id": before["recipe_id"]}
    if before["recipe_id"] != after["recipe_id"]:
        edits.append({"kind": "swap", **place, "to_recipe_id": after["recipe_id"]})
    elif before["day"] != after["day"]:
        edits.append({"kind": "move", **place, "to_day": after["day"]})
    if before["servings"] != after["servings"]:
        there = {"day": after["day"], "recipe_id": after["recipe_id"]}
        count = {"servings": after["servings"], "servings_before": before["servings"]}
        edits.append({"kind": "change_servings", **there, **count})
    return edits
