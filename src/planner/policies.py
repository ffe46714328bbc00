"""Policies that are functions (engine 'python'). Same request and seed, same answer.

`heuristic` is the last resort and a comparator, `explorer` gives neutral rows with a known propensity,
`popular` knows the stars and nothing about the household.
"""

import random

from bakeoff.fingerprint import digest
from bakeoff.task import PythonAnswer, Request
from planner.features import heuristic_order
from planner.plans import choose, feasible_sets, plan


def heuristic(request: Request, *, seed: int) -> PythonAnswer:  # noqa: ARG001 - the border's signature
    """Stated likes, use-first pantry items, minutes; no learning."""
    return PythonAnswer(answer=plan(request, choose(request, heuristic_order(request))))


def popular(request: Request, *, seed: int) -> PythonAnswer:  # noqa: ARG001 - the border's signature
    """The options with the most stars, whoever asks."""
    options = request["options"]
    ranking = sorted(range(len(options)), key=lambda index: (-options[index]["rating"], options[index]["id"]))
    return PythonAnswer(answer=plan(request, choose(request, ranking)))


def explorer(request: Request, *, seed: int) -> PythonAnswer:
    """One of all feasible sets of dishes, each with the same probability; that is its propensity."""
    sets = feasible_sets(request)
    drawn = sets.members[random.Random(f"{seed}|{digest(request)}").randrange(len(sets))]
    chosen = [option["id"] for option, taken in zip(request["options"], drawn, strict=True) if taken]
    return PythonAnswer(answer=plan(request, chosen), action_propensity=1.0 / len(sets))
