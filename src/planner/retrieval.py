"""Which recipes a request offers: hard-filtered for safety, then drawn with weights, in an order without meaning."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from planner.recipes import Recipe, load_recipes
from planner.requests import Household, Slot, is_safe, needed_flags

_LIKED_CUISINE, _USES_AT_RISK, _COOKED_BEFORE = 1.5, 2.5, 6.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What retrieval leans to. None of it is a promise: most options remain strangers."""

    at_risk: frozenset[str] = frozenset()  # use-first items in the pantry
    cooked_before: frozenset[str] = frozenset()  # recipe ids
    anchors: tuple[str, ...] = ()  # recipe ids that must be among the options


def retrieve(household: Household, slots: Sequence[Slot], wishes: Wishes, *, count: int, key: str) -> list[Recipe]:
    """`count` options of the shipped catalogue (fewer where fewer are safe). Same arguments, same options;
    `key` seeds the draw and the order.

    Every dish is safe for every eater, and where the catalogue allows it some of them fill all the slots."""
    rng = random.Random(f"options|{key}")
    pool, commonness = safe_recipes(household)
    # weighted sampling without replacement: largest u ** (1 / w) first (Efraimidis and Spirakis 2006)
    draws = [(rng.random() ** (commonness[r.cuisine] / _lean(r, household, wishes)), r) for r in pool]
    ranked = [recipe for _, recipe in sorted(draws, key=lambda draw: (-draw[0], draw[1].recipe_id))]
    anchors = [recipe for recipe in ranked if recipe.recipe_id in wishes.anchors]
    others = [recipe for recipe in ranked if recipe.recipe_id not in wishes.anchors]
    options = _fillable(anchors, others, count - len(anchors), slots)
    rng.shuffle(options)
    return options


def safe_recipes(household: Household) -> tuple[tuple[Recipe, ...], dict[str, float]]:
    """Every dish that all eaters can have, by id; and per cuisine the root of its number of dishes."""
    return _safe(needed_flags(household, load_recipes()))


@cache
def _safe(flags: tuple[str, ...]) -> tuple[tuple[Recipe, ...], dict[str, float]]:
    pool = tuple(recipe for recipe in load_recipes().recipes.values() if is_safe(recipe, flags))
    return pool, {cuisine: math.sqrt(n) for cuisine, n in Counter(r.cuisine for r in pool).items()}


def _lean(recipe: Recipe, household: Household, wishes: Wishes) -> float:
    lean = _LIKED_CUISINE if recipe.cuisine in household.liked_cuisines else 1.0
    if recipe.recipe_id in wishes.cooked_before:
        lean *= _COOKED_BEFORE
    if not wishes.at_risk.isdisjoint(recipe.perishables):
        lean *= _USES_AT_RISK
    return lean


def _fillable(anchors: list[Recipe], ranked: list[Recipe], count: int, slots: Sequence[Slot]) -> list[Recipe]:
    """The first `count` of `ranked` and the anchors; the longest give way to shorter ones until all slots fill."""
    options, spare = ranked[:count], sorted(ranked[count:], key=lambda recipe: -recipe.minutes)
    ceilings = sorted(slot.max_minutes if slot.hard else math.inf for slot in slots)
    while not _fills(anchors, options, ceilings) and spare:
        options.remove(max(options, key=lambda recipe: (recipe.minutes, recipe.recipe_id)))
        options.append(spare.pop())
    return anchors + options


def _fills(anchors: Sequence[Recipe], options: Sequence[Recipe], ceilings: Sequence[float]) -> bool:
    """Whether the anchors and the shortest others fit; if these do not, no set does."""
    free = len(ceilings) - len(anchors)
    minutes = sorted([r.minutes for r in anchors] + sorted(r.minutes for r in options)[:free])
    return len(minutes) == len(ceilings) and all(m <= c for m, c in zip(minutes, ceilings, strict=True))
