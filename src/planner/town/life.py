"""SIMULATION. A household's weeks: what is in the pantry, what was cooked, and the request that follows."""

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache

from bakeoff.task import Request
from planner.recipes import Food, Recipe, load_recipes
from planner.requests import MOST_STOCK, History, PantryItem, PreviousPlan, Slot, Workflow, build_request, week_slots
from planner.retrieval import Wishes, retrieve, safe_recipes
from planner.town.people import Resident

OPTIONS = (12, 13, 14)
AT_RISK_DAYS = 6


@dataclass(kw_only=True, slots=True)
class Life:
    """What has happened to one household so far. Changes only in `live`."""

    pantry: dict[str, date] = field(default_factory=dict)  # item -> last day of use
    eaten: dict[str, date] = field(default_factory=dict)  # recipe id -> first day of the week it was last cooked in
    kept: Counter[str] = field(default_factory=Counter)  # cuisines and main proteins
    removed: Counter[str] = field(default_factory=Counter)
    weeks: dict[date, PreviousPlan] = field(default_factory=dict)  # by first day, oldest first


def before(rng: random.Random, who: Resident, first_week: date, liking: Callable[[Recipe], float]) -> Life:
    """The weeks before the log begins, in which they used the application to plan by hand: each time they leafed
    through a dozen dishes, planned what they liked best and told it which ones they never wanted to see again."""
    life = Life()
    pool = safe_recipes(who.household)[0]
    for weeks_ago in range(rng.randint(2, 10), 0, -1):
        seen = rng.sample(pool, min(12, len(pool)))
        ranked = sorted(seen, key=lambda r: (-liking(r) - rng.gauss(0.0, 0.7), r.recipe_id))
        planned, dismissed = ranked[:4], ranked[-2:]
        week_start = first_week - timedelta(days=7 * weeks_ago)
        dishes = [recipe.recipe_id for recipe in planned]
        never = [recipe.recipe_id for recipe in dismissed]
        live(rng, life, week_start, accepted=dishes, removed=never, cooked=dishes)
    return life


def ask(
    rng: random.Random,
    who: Resident,
    life: Life,
    week_start: date,
    ratings: Mapping[str, float],
    liking: Callable[[Recipe], float],
) -> Request:
    """Shops, and asks for a plan. `liking`: hidden utility of a dish, used only to pick what they ask for."""
    _shop(rng, life, week_start)
    workflow = _workflow(rng, who)
    pantry = _stock(life, week_start, most=4 if workflow == "pantry-first" else 3)
    slots = week_slots(who.slots, week_start)
    anchors = _anchors(rng, who, slots, liking) if workflow == "meal-first" else ()
    wishes = Wishes(
        at_risk=frozenset(item.item for item in pantry if item.use_first),
        cooked_before=frozenset(life.eaten),
        anchors=anchors,
    )
    options = retrieve(
        who.household, slots, wishes, count=rng.choice(OPTIONS), key=f"{who.unit_id}|{week_start.isoformat()}"
    )
    return build_request(
        week_start=week_start,
        household=who.household,
        slots=slots,
        pantry=pantry,
        options=options,
        catalog=load_recipes(),
        ratings=ratings,
        workflow=workflow,
        mode=who.mode,
        anchors=anchors,
        previous=next(reversed(life.weeks.values()), None),
        history=History(kept=dict(life.kept), removed=dict(life.removed)),
    )


def live(
    rng: random.Random,
    life: Life,
    week_start: date,
    *,
    accepted: Collection[str],
    removed: Collection[str],
    cooked: Collection[str],
) -> None:
    """Remembers the week: what was kept and taken out, what was cooked and what that left in the pantry."""
    recipes = load_recipes().recipes
    for dishes, counter in ((accepted, life.kept), (removed, life.removed)):
        for dish in dishes:
            counter.update((recipes[dish].cuisine, recipes[dish].protein))
    life.weeks[week_start] = PreviousPlan(accepted=tuple(sorted(accepted)), removed=tuple(sorted(removed)))
    for dish in sorted(cooked):
        life.eaten[dish] = week_start
        for item in recipes[dish].perishables:
            _use(rng, life, week_start, load_recipes().foods[item])


def weeks_since(life: Life, week_start: date) -> dict[str, int]:
    """Recipe id -> whole weeks since it was last cooked."""
    return {dish: (week_start - day).days // 7 for dish, day in life.eaten.items()}


def _use(rng: random.Random, life: Life, week_start: date, food: Food) -> None:
    """Cooking empties the pantry of an item, or leaves an opened rest of it."""
    if rng.random() < 0.75:
        life.pantry.pop(food.item, None)
    else:
        life.pantry[food.item] = week_start + timedelta(days=rng.randint(3, 6) + food.opened_days)


def _shop(rng: random.Random, life: Life, week_start: date) -> None:
    """What has gone off is thrown away; a few perishables come in, bought some days ago."""
    life.pantry = {item: day for item, day in life.pantry.items() if day >= week_start}
    foods = load_recipes().foods
    items, weights = _groceries()
    for item in rng.choices(items, weights, k=rng.randint(3, 6)):
        bought = week_start - timedelta(days=rng.randint(0, 3))
        life.pantry[item] = max(week_start + timedelta(days=1), bought + timedelta(days=foods[item].shelf_days))


@cache
def _groceries() -> tuple[list[str], list[float]]:
    """Perishables that dinners use, by how many use them."""
    uses = Counter(item for recipe in load_recipes().recipes.values() for item in recipe.perishables)
    items = sorted(item for item, count in uses.items() if count >= 4)
    return items, [float(uses[item]) ** 0.5 for item in items]


def _stock(life: Life, week_start: date, *, most: int) -> list[PantryItem]:
    """The pantry, soonest first; the application marks what should go first (at least one item)."""
    soonest = sorted(life.pantry.items(), key=lambda pair: (pair[1], pair[0]))[:MOST_STOCK]
    days = [(item, (day - week_start).days) for item, day in soonest]
    return [
        PantryItem(item=item, days_left=left, use_first=rank < most and (left <= AT_RISK_DAYS or rank == 0))
        for rank, (item, left) in enumerate(days)
    ]


def _workflow(rng: random.Random, who: Resident) -> Workflow:
    others: tuple[Workflow, ...] = ("plan-first", "meal-first", "pantry-first")
    return who.workflow if rng.random() < 0.8 else rng.choice(others)


def _anchors(
    rng: random.Random, who: Resident, slots: list[Slot], liking: Callable[[Recipe], float]
) -> tuple[str, ...]:
    """The dish they ask for by name: the favourite of a few that came to mind and fit some day."""
    roomiest = max(slot.max_minutes for slot in slots)
    possible = [recipe for recipe in safe_recipes(who.household)[0] if recipe.minutes <= roomiest]
    thought_of = rng.sample(possible, min(3, len(possible)))
    return tuple(r.recipe_id for r in sorted(thought_of, key=lambda r: (-liking(r), r.recipe_id))[:1])
