"""A request: the whole context of one week's plan, as JSON values, built from what the application knows.

``build_request`` writes it, and everything else in the planner reads only it: the prompt, the validator, the
policies and the metrics need no table and no catalogue. Shape (all keys always present)::

    week_start     "2025-01-06"
    workflow_type  "plan-first" | "meal-first" | "pantry-first"
    mode           "autopilot" | "exploratory" | "constrained"
    household      {size, region, allergies, diets, dislikes, liked_cuisines, liked_proteins, budget}
    slots          [{day, in_days, max_minutes, hard, eaters}]     dinners to fill; other days are closed
    pantry         [{item, days_left, use_first}]                  soonest first; days_left counts from week_start
    anchors        [recipe_id]                                     asked for by name (meal-first)
    previous_plan  {accepted: [recipe_id], removed: [recipe_id]} | null
    history        {kept: {word: n}, removed: {word: n}}           by cuisine and by main protein
    options        [{id, title, cuisine, main_protein, minutes, cost, rating, uses, disliked, flags}]

``uses`` names the use-first pantry items that the option needs, ``disliked`` the disliked items in it,
``flags`` the diet and allergen flags that this household needs (unknown never counts as safe, nor does a missing one).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Literal

from bakeoff.errors import UsageError
from bakeoff.task import Request
from planner.recipes import Catalog, Cost, Recipe

Workflow = Literal["plan-first", "meal-first", "pantry-first"]
Mode = Literal["autopilot", "exploratory", "constrained"]

MOST_OPTIONS = 16  # the sets of five are enumerated: 4368 at sixteen options
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_STOCK = 10  # pantry items that a request names, soonest first
DIET_FLAGS: Mapping[str, str] = {
    "vegan": "vegan",
    "vegetarian": "vegetarian",
    "pescatarian": "pescatarian",
    "no pork": "pork_free",
    "no beef": "beef_free",
    "no alcohol": "alcohol_free",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One eater, as stated."""

    allergies: tuple[str, ...] = ()  # keys of the 14 EU allergens
    diets: tuple[str, ...] = ()  # keys of DIET_FLAGS
    dislikes: tuple[str, ...] = ()  # items


@dataclass(frozen=True, kw_only=True, slots=True)
class Household:
    """Who is planned for, as stated: what people told the application, which is never all there is."""

    members: tuple[Member, ...]
    region: str
    budget: Cost
    liked_cuisines: tuple[str, ...] = ()
    liked_proteins: tuple[str, ...] = ()

    @property
    def allergies(self) -> tuple[str, ...]:
        return _union(member.allergies for member in self.members)

    @property
    def diets(self) -> tuple[str, ...]:
        return _union(member.diets for member in self.members)

    @property
    def dislikes(self) -> tuple[str, ...]:
        return _union(member.dislikes for member in self.members)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One dinner to fill."""

    day: str  # 'mon' to 'sun'
    in_days: int  # days after week_start, 0 to 6
    max_minutes: int  # wished ceiling
    hard: bool  # whether a longer dish is a breach
    eaters: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PantryItem:
    """Something at home."""

    item: str  # name in the lexicon
    days_left: int  # last day of use, counted from week_start
    use_first: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviousPlan:
    """What came of the last week that was planned before."""

    accepted: tuple[str, ...]  # recipe ids
    removed: tuple[str, ...]  # recipe ids that were shown and swapped out or removed


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """How often cuisines and main proteins were kept and removed by this household, over all its weeks."""

    kept: Mapping[str, int] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)


def build_request(
    *,
    week_start: date,
    household: Household,
    slots: Sequence[Slot],
    pantry: Sequence[PantryItem],
    options: Sequence[Recipe],
    catalog: Catalog,
    ratings: Mapping[str, float],
    workflow: Workflow = "plan-first",
    mode: Mode = "exploratory",
    anchors: Sequence[str] = (),
    previous: PreviousPlan | None = None,
    history: History | None = None,
) -> Request:
    """The request for one week. `ratings` are the application's mean stars per recipe id (1 to 5).

    Raises UsageError for more than MOST_OPTIONS options, doubled options or anchors that are no options."""
    _check(options, anchors)
    at_risk = {item.item for item in pantry if item.use_first}
    flags, dislikes = needed_flags(household, catalog), household.dislikes
    past = history or History()
    return {
        "week_start": week_start.isoformat(),
        "workflow_type": workflow,
        "mode": mode,
        "household": _household(household),
        "slots": [_slot(slot) for slot in slots],
        "pantry": [{"item": item.item, "days_left": item.days_left, "use_first": item.use_first} for item in pantry],
        "anchors": list(anchors),
        "previous_plan": (
            {"accepted": list(previous.accepted), "removed": list(previous.removed)} if previous else None
        ),
        "history": {"kept": dict(sorted(past.kept.items())), "removed": dict(sorted(past.removed.items()))},
        "options": [
            _option(recipe, at_risk, dislikes, flags, ratings.get(recipe.recipe_id, 3.0)) for recipe in options
        ],
    }


def week_slots(usual: Iterable[Slot], week_start: date) -> list[Slot]:
    """The usual dinners in the order of a week that begins on `week_start`, whatever weekday that is."""
    days = [(slot, (DAYS.index(slot.day) - week_start.weekday()) % 7) for slot in usual]
    return [replace(slot, in_days=in_days) for slot, in_days in sorted(days, key=lambda pair: pair[1])]


def needed_flags(household: Household, catalog: Catalog) -> tuple[str, ...]:
    """The flags that every dish for this household must carry with 'yes', sorted."""
    allergies = {catalog.free_flags[key] for key in household.allergies}
    return tuple(sorted(allergies | {DIET_FLAGS[key] for key in household.diets}))


def is_safe(recipe: Recipe, flags: Sequence[str]) -> bool:
    """Whether every flag says 'yes'; unknown is a breach."""
    return all(recipe.flags.get(flag) == "yes" for flag in flags)


def _check(options: Sequence[Recipe], anchors: Sequence[str]) -> None:
    ids = [recipe.recipe_id for recipe in options]
    if len(ids) > MOST_OPTIONS:
        raise UsageError(f"{len(ids)} options, expected at most {MOST_OPTIONS}", cure="offer fewer recipes")
    if len(set(ids)) < len(ids):
        raise UsageError("an option is offered twice", cure="offer each recipe once")
    strangers = sorted(set(anchors) - set(ids))
    if strangers:
        raise UsageError(f"anchors that are no options: {', '.join(strangers)}", cure="add them to the options")


def _union(parts: Any) -> tuple[str, ...]:
    return tuple(sorted({value for part in parts for value in part}))


def _household(household: Household) -> dict[str, Any]:
    return {
        "size": len(household.members),
        "region": household.region,
        "allergies": list(household.allergies),
        "diets": list(household.diets),
        "dislikes": list(household.dislikes),
        "liked_cuisines": list(household.liked_cuisines),
        "liked_proteins": list(household.liked_proteins),
        "budget": household.budget,
    }


def _slot(slot: Slot) -> dict[str, Any]:
    return {
        "day": slot.day,
        "in_days": slot.in_days,
        "max_minutes": slot.max_minutes,
        "hard": slot.hard,
        "eaters": slot.eaters,
    }


def _option(
    recipe: Recipe, at_risk: set[str], dislikes: Sequence[str], flags: Sequence[str], rating: float
) -> dict[str, Any]:
    return {
        "id": recipe.recipe_id,
        "title": recipe.short,
        "cuisine": recipe.cuisine,
        "main_protein": recipe.protein,
        "minutes": recipe.minutes,
        "cost": recipe.cost,
        "rating": round(rating, 1),
        "uses": [item for item in recipe.perishables if item in at_risk],
        "disliked": [item for item in recipe.items if item in dislikes],
        "flags": {flag: recipe.flags.get(flag, "unknown") for flag in flags},
    }
