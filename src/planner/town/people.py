"""SIMULATION. Who lives in the town: what they told the application, and what they never told anyone.

Rates follow public figures where there are any (household sizes: US census; allergies: Gupta et al. 2019,
doi 10.1001/jamanetworkopen.2018.5630; vegetarians 4 %, vegans 1 %: Gallup 2023); the rest is judgement.
"""

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from planner.recipes import Cost, load_recipes
from planner.requests import DAYS, Household, Member, Mode, Slot, Workflow
from planner.retrieval import safe_recipes

Chosen = TypeVar("Chosen")

TOWN = uuid.UUID("0b1d9d1e-5c0f-5f0a-9b53-6d7e1c2a4f10")
REGIONS = ("north", "south", "east", "west")
FEWEST_DISHES = 10  # a household with fewer safe dinners would not use this application

_SIZES = {1: 28, 2: 35, 3: 15, 4: 13, 5: 9}
_ALLERGIES = {
    "crustaceans": 3.9, "peanuts": 2.4, "milk": 1.9, "tree_nuts": 1.9, "fish": 1.1, "eggs": 0.8,
    "gluten": 0.8, "soybeans": 0.6, "sesame": 0.2,
}  # fmt: skip
_ALLERGIC = 0.108
_DIETS = {"vegetarian": 4, "vegan": 1, "pescatarian": 3, "no pork": 4, "no beef": 2, "no alcohol": 3}
_DISLIKABLE = (
    "bell pepper", "coriander leaf", "eggplant", "fresh chili", "tofu", "tomato", "zucchini",
    "white or brown mushroom", "shiitake", "celery", "spinach", "broccoli", "cabbage", "olive", "shrimp",
    "cucumber", "onion", "ginger", "bean paste doubanjiang", "star anise", "cream", "potato", "corn",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Taste:
    """Hidden. Utilities are in units of the noise that people decide with, give or take."""

    cuisine: Mapping[str, float]
    protein: Mapping[str, float]
    dislikes: frozenset[str]  # items, stated or not
    dislike: float  # utility lost to a disliked item
    thrift: float  # utility lost per cost tier above the budget, and half of it gained below
    haste: float  # utility lost per half hour over the day's ceiling
    waste: float  # utility gained per use-first item that a dish uses
    novelty: float  # utility lost to a dish that was eaten last week, fading by exp(-weeks)
    floor: float  # a dish below this utility is one that they would not cook
    patience: float  # mean number of edits that they bother to make in one review


@dataclass(frozen=True, kw_only=True, slots=True)
class Resident:
    """One household of the town."""

    unit_id: str  # uuid5 of seed and index
    household: Household  # as stated: partial and noisy
    slots: tuple[Slot, ...]  # a usual week; `in_days` counts from a Monday
    workflow: Workflow  # their habit; some weeks differ
    mode: Mode
    taste: Taste  # hidden


def resident(seed: int, index: int) -> Resident:
    """Household `index` of town `seed`; depends on nothing else."""
    unit_id = str(uuid.uuid5(TOWN, f"{seed}|household|{index}"))
    rng = random.Random(f"{seed}|{index}|person")
    region = rng.choice(REGIONS)
    taste = _taste(rng, region)
    household = _stated(rng, region, taste)
    slots = _slots(rng, len(household.members))
    tight = any(slot.hard for slot in slots) or bool(household.allergies or household.diets)
    return Resident(
        unit_id=unit_id,
        household=household,
        slots=slots,
        workflow=_pick(rng, {"plan-first": 55, "meal-first": 20, "pantry-first": 25}),
        mode=_pick(rng, {"autopilot": 6, "exploratory": 34 if tight else 74, "constrained": 60 if tight else 20}),
        taste=taste,
    )


def appeal(seed: int, recipe_id: str) -> float:
    """Hidden. How much people at large like a dish, beyond its cuisine and protein; standard normal."""
    return random.Random(f"{seed}|appeal|{recipe_id}").gauss(0.0, 1.0)


def stars(seed: int, recipe_id: str) -> float:
    """What the application shows of `appeal`: mean stars, 1 to 5, from few and fickle raters."""
    noise = random.Random(f"{seed}|stars|{recipe_id}").gauss(0.0, 0.25)
    return min(5.0, max(1.0, 3.6 + 0.45 * appeal(seed, recipe_id) + noise))


def _pick(rng: random.Random, weights: Mapping[Chosen, float]) -> Chosen:
    return rng.choices(list(weights), weights=list(weights.values()))[0]


def _taste(rng: random.Random, region: str) -> Taste:
    recipes = load_recipes().recipes.values()
    cuisines, proteins = sorted({r.cuisine for r in recipes}), sorted({r.protein for r in recipes})
    regional = {cuisine: random.Random(f"{region}|{cuisine}").gauss(0.0, 0.25) for cuisine in cuisines}
    return Taste(
        cuisine={cuisine: regional[cuisine] + rng.gauss(0.0, 0.8) for cuisine in cuisines},
        protein={protein: rng.gauss(0.0, 0.8) for protein in proteins},
        dislikes=frozenset(rng.sample(_DISLIKABLE, rng.choice((0, 1, 2, 2, 3, 4)))),
        dislike=rng.uniform(0.8, 2.0),
        thrift=rng.uniform(0.1, 0.8),
        haste=rng.uniform(0.4, 1.2),
        waste=rng.uniform(0.2, 1.0),
        novelty=rng.uniform(0.3, 1.5),
        floor=rng.gauss(-0.55, 0.3),
        patience=rng.uniform(1.5, 4.0),
    )


def _stated(rng: random.Random, region: str, taste: Taste) -> Household:
    """What a form got out of them: most of the truth, not all of it, and some wishful thinking."""
    size = _pick(rng, _SIZES)
    budget: Cost = _pick(rng, {"low": 35, "mid": 45, "high": 20})
    dislikes = [item for item in sorted(taste.dislikes) if rng.random() < 0.7]
    cuisines = _likes(rng, taste.cuisine)
    proteins = _likes(rng, taste.protein)
    while True:
        members = _members(rng, size, dislikes)
        household = Household(
            members=members, region=region, budget=budget, liked_cuisines=cuisines, liked_proteins=proteins
        )
        if len(safe_recipes(household)[0]) >= FEWEST_DISHES:
            return household


def _likes(rng: random.Random, hidden: Mapping[str, float]) -> tuple[str, ...]:
    """Two or three favourites, each mentioned with probability 0.8, each misremembered with 0.15."""
    best = sorted(hidden, key=lambda word: -hidden[word])[: rng.choice((2, 3))]
    named = [word for word in best if rng.random() < 0.8]
    said = [rng.choice(sorted(hidden)) if rng.random() < 0.15 else word for word in named]
    return tuple(sorted(set(said)))


def _members(rng: random.Random, size: int, dislikes: Sequence[str]) -> tuple[Member, ...]:
    """Diets are shared at the table; allergies are each person's own."""
    diet = (_pick(rng, _DIETS),) if rng.random() < sum(_DIETS.values()) / 100 else ()
    return tuple(
        Member(
            allergies=(_pick(rng, _ALLERGIES),) if rng.random() < _ALLERGIC else (),
            diets=diet,
            dislikes=tuple(item for n, item in enumerate(dislikes) if n % size == number),
        )
        for number in range(size)
    )


def _slots(rng: random.Random, size: int) -> tuple[Slot, ...]:
    """Five dinners: working days mostly, short on those and long at the weekend."""
    days = DAYS[:5] if rng.random() < 0.45 else sorted(rng.sample(DAYS, 5), key=DAYS.index)
    weekday, weekend = rng.choice((25, 30, 40, 45, 60)), rng.choice((60, 75, 90))
    hard, roomy = rng.random() < 0.45, rng.choice(days)
    return tuple(
        Slot(
            day=day,
            in_days=DAYS.index(day),
            max_minutes=weekend if day in ("sat", "sun") or day == roomy else weekday,
            hard=hard and day not in ("sat", "sun"),
            eaters=max(1, size - (rng.random() < 0.1)),
        )
        for day in days
    )
