"""What people changed: the exact difference between a proposed and an accepted plan.

Derived from the two snapshots, never from clicks (A to B and back is two clicks and no edit). The pairing of
entries is an assignment problem solved exactly (Hungarian method): same dish and day 0, same dish on another
day 'move' 0.5, another dish on the same day 'swap' 1, unmatched 'remove' or 'add' 1, other servings 0.25
more; other pairings are forbidden. An edit is a JSON mapping::

    {"kind": "swap", "day", "from", "to"}             {"kind": "move", "recipe_id", "from", "to"}
    {"kind": "remove", "day", "recipe_id"}            {"kind": "add", "day", "recipe_id", "servings"}
    {"kind": "change_servings", "day", "from", "to"}  (the day is the accepted plan's)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

Entry = Mapping[str, Any]
Edit = Mapping[str, Any]

COSTS: Mapping[str, float] = {"move": 0.5, "swap": 1.0, "remove": 1.0, "add": 1.0, "change_servings": 0.25}
_FORBIDDEN = 1e6


def diff(proposed: Sequence[Entry], accepted: Sequence[Entry]) -> list[dict[str, Any]]:
    """The cheapest edits that turn `proposed` into `accepted`. At most one entry per day in each."""
    if list(map(dict, proposed)) == list(map(dict, accepted)):
        return []
    pairs, removed, added = _pair(proposed, accepted)
    edits = [edit for before, after in pairs for edit in _changes(before, after)]
    edits += [{"kind": "remove", "day": e["day"], "recipe_id": e["recipe_id"]} for e in removed]
    return edits + [{"kind": "add", **dict(entry)} for entry in added]


def cost(edits: Sequence[Edit]) -> float:
    """Edit distance in edits, weighted by kind."""
    return sum(COSTS[edit["kind"]] for edit in edits)


def apply(proposed: Sequence[Entry], edits: Sequence[Edit]) -> dict[str, dict[str, Any]]:
    """The plan after `edits`, as day -> entry. All edits happen at once, so two dishes can change places."""
    days = {entry["day"]: dict(entry) for entry in proposed}
    moves = [edit for edit in edits if edit["kind"] == "move"]
    moved = [days.pop(edit["from"]) | {"day": edit["to"]} for edit in moves]
    for edit in edits:
        if edit["kind"] == "remove":
            del days[edit["day"]]
        elif edit["kind"] == "swap":
            days[edit["day"]] |= {"recipe_id": edit["to"]}
    days |= {entry["day"]: entry for entry in moved}
    for edit in edits:
        if edit["kind"] == "add":
            days[edit["day"]] = {key: value for key, value in edit.items() if key != "kind"}
        elif edit["kind"] == "change_servings":
            days[edit["day"]] |= {"servings": edit["to"]}
    return days


def _pair(
    proposed: Sequence[Entry], accepted: Sequence[Entry]
) -> tuple[list[tuple[Entry, Entry]], list[Entry], list[Entry]]:
    """Square matrix: each entry may also pair with its own 'nothing' (remove or add)."""
    p, a = len(proposed), len(accepted)
    costs = np.full((p + a, p + a), _FORBIDDEN)
    for i, before in enumerate(proposed):
        costs[i, :a] = [_pair_cost(before, after) for after in accepted]
        costs[i, a + i] = COSTS["remove"]
    for j in range(a):
        costs[p + j, j] = COSTS["add"]
    costs[p:, a:] = 0.0
    rows, columns = linear_sum_assignment(costs)
    matched = [(int(i), int(j)) for i, j in zip(rows, columns, strict=True)]
    return (
        [(proposed[i], accepted[j]) for i, j in matched if i < p and j < a],
        [proposed[i] for i, j in matched if i < p and j >= a],
        [accepted[j] for i, j in matched if i >= p and j < a],
    )


def _pair_cost(before: Entry, after: Entry) -> float:
    same_day, same_dish = before["day"] == after["day"], before["recipe_id"] == after["recipe_id"]
    if not (same_day or same_dish):
        return _FORBIDDEN
    return cost(_changes(before, after))


def _changes(before: Entry, after: Entry) -> list[dict[str, Any]]:
    edits: list[dict[str, Any]] = []
    if before["recipe_id"] != after["recipe_id"]:
        edits.append({"kind": "swap", "day": after["day"], "from": before["recipe_id"], "to": after["recipe_id"]})
    elif before["day"] != after["day"]:
        edits.append({"kind": "move", "recipe_id": after["recipe_id"], "from": before["day"], "to": after["day"]})
    if before["servings"] != after["servings"]:
        edits.append(
            {"kind": "change_servings", "day": after["day"], "from": before["servings"], "to": after["servings"]}
        )
    return edits
