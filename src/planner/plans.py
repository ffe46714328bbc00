"""Which sets of dishes can be a plan at all, and on which day each dish goes.

Sets of dishes are enumerated (at most C(16, 5) = 4368): exact, quick, and it gives the explorer its
propensity for nothing. Days are code's business, not a policy's: the longest dish goes to the roomiest day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.task import Answer, Request
from planner.safety import safe_options

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class FeasibleSets:
    """All sets of options that fill the most dinners without breaking a hard constraint."""

    members: Bools  # (sets, options): which options each set holds
    size: int  # dishes per set; below the number of slots only where nothing larger is feasible

    def __len__(self) -> int:
        return len(self.members)


def feasible_sets(request: Request) -> FeasibleSets:
    """Safe for every eater, within the hard minutes, with all anchors that can be had. At least one set: the empty
    one. An anchor that is unsafe or too long for every evening gives way; of several that cannot be had together,
    the longest."""
    options = request["options"]
    usable = sorted(safe_options(request), key=lambda index: options[index]["minutes"])
    minutes, ceilings = [options[index]["minutes"] for index in usable], hard_ceilings(request)
    size = most_fitting(minutes, ceilings)
    if not size:
        return FeasibleSets(members=np.zeros((1, len(options)), dtype=bool), size=0)
    anchors = [place for place, index in enumerate(usable) if options[index]["id"] in request["anchors"]]
    anchors = anchors[: most_fitting([minutes[place] for place in anchors], ceilings)]
    fitting = _fitting(np.array(minutes, dtype=float), ceilings[-size:], anchors)
    members = np.zeros((len(fitting), len(options)), dtype=bool)
    members[:, usable] = fitting
    return FeasibleSets(members=members, size=size)


def most_fitting(minutes: Sequence[float], ceilings: Sequence[float]) -> int:
    """How many dishes can be cooked at most, one an evening. Both ascending: the shortest dishes and the roomiest
    evenings decide it. Where some dishes fit, a largest set with all of them exists (they are a transversal
    matroid's independent sets; Edmonds and Fulkerson 1965)."""
    for size in range(min(len(minutes), len(ceilings)), 0, -1):
        if all(m <= c for m, c in zip(minutes[:size], ceilings[-size:], strict=True)):
            return size
    return 0


def most_dinners(request: Request) -> int:
    """How many of the dinners any plan can fill."""
    minutes = sorted(request["options"][index]["minutes"] for index in safe_options(request))
    return most_fitting(minutes, hard_ceilings(request))


def hard_ceilings(request: Request) -> list[float]:
    """Minutes per slot beyond which a dish is a breach, ascending; infinite where the wish is soft."""
    return sorted(float(s["max_minutes"]) if s["hard"] else np.inf for s in request["slots"])


def choose(request: Request, ranking: Sequence[int]) -> list[str]:
    """Recipe ids of the best feasible set: walk the options in the order of `ranking` (indexes, best first)
    and take each one that still leaves a feasible set with all that was taken before."""
    options = request["options"]
    sets = feasible_sets(request)
    alive = sets.members
    taken: list[str] = []
    wanted = set(request["anchors"])
    for index in sorted(ranking, key=lambda i: options[i]["id"] not in wanted):
        keep = alive[:, index]
        if len(taken) < sets.size and keep.any():
            alive = alive[keep]
            taken.append(options[index]["id"])
    return taken


def plan(request: Request, recipe_ids: Sequence[str]) -> Answer:
    """The answer that cooks these options: ``{"entries": [{day, recipe_id, servings}]}`` in slot order."""
    by_id = {option["id"]: option for option in request["options"]}
    days = assign(request["slots"], [by_id[recipe_id] for recipe_id in recipe_ids])
    entries = [
        {"day": slot["day"], "recipe_id": days[slot["day"]], "servings": max(1, slot["eaters"])}
        for slot in request["slots"]
        if slot["day"] in days
    ]
    return {"entries": entries}


def assign(slots: Sequence[Mapping[str, Any]], dishes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Day -> recipe id: the longest dish on the roomiest day.

    Soft ceilings are honoured like hard ones where that breaks no hard one; else they give way."""
    by_minutes = sorted(dishes, key=lambda dish: (-dish["minutes"], dish["id"]))
    wished = sorted(slots, key=lambda slot: (-slot["max_minutes"], slot["in_days"]))
    yielding = sorted(slots, key=lambda slot: (slot["hard"], -slot["max_minutes"], slot["in_days"]))
    order = wished if _holds(wished, by_minutes) else yielding
    return {slot["day"]: dish["id"] for slot, dish in zip(order, by_minutes, strict=False)}


def _holds(slots: Sequence[Mapping[str, Any]], dishes: Sequence[Mapping[str, Any]]) -> bool:
    pairs = zip(slots, dishes, strict=False)
    return all(not slot["hard"] or dish["minutes"] <= slot["max_minutes"] for slot, dish in pairs)


def _fitting(minutes: NDArray[np.float64], ceilings: Sequence[float], anchors: Sequence[int]) -> Bools:
    """Sets over dishes sorted by minutes. Dishes and ceilings are nested, so the sorted pairing is exact."""
    sets, members = _all_sets(len(minutes), len(ceilings))
    fits = (minutes[sets] <= np.asarray(ceilings)).all(axis=1)
    if anchors:
        fits &= members[:, anchors].all(axis=1)
    chosen: Bools = members[fits]
    return chosen


@lru_cache(maxsize=256)
def _all_sets(options: int, size: int) -> tuple[NDArray[np.intp], Bools]:
    sets = np.array(list(combinations(range(options), size)), dtype=np.intp).reshape(-1, size)
    members = np.zeros((len(sets), options), dtype=bool)
    np.put_along_axis(members, sets, True, axis=1)
    return sets, members
