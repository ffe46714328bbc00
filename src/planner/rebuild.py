"""Old requests from the application's own tables, as they would have been at the time: point-in-time correctness.

A request is built by the same `build_request` that serving calls, from what the histories say was known at each key's
moment: never from what is known today. A handful of queries for a batch, however many keys it has. Elsewhere the
stored request is the truth; this is how to check it, and how to bring in a past in which nobody stored requests."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from bakeoff.errors import UsageError
from bakeoff.task import Request, RequestKey
from planner.recipes import Recipe, load_recipes
from planner.requests import (
    MOST_STOCK,
    History,
    Household,
    Member,
    PantryItem,
    PreviousPlan,
    Slot,
    build_request,
    week_slots,
)
from planner.tables import queries

Row = Mapping[str, Any]


def requests(conn: Any, keys: Sequence[RequestKey]) -> list[Request | None]:
    """One request for each key, in their order. None where it cannot be built: the household or its ask for that
    week was not known at the moment, an option was no recipe then, or the key is no household and week of ours."""
    places = [place for place in (_place(number, key) for number, key in enumerate(keys)) if place is not None]
    built: list[Request | None] = [None] * len(keys)
    if places:
        known = _look_up(conn, places)
        for n, place in enumerate(places, start=1):
            built[place.number] = _build(known, n, place)
    return built


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """A key whose parts can be read."""

    number: int  # among the keys
    unit: UUID
    week: date
    moment: datetime


def _place(number: int, key: RequestKey) -> _Place | None:
    try:
        return _Place(number=number, unit=UUID(key.unit_id), week=date.fromisoformat(key.need_id), moment=key.as_of)
    except ValueError:
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What the tables knew at each place; rows are grouped by the place's number in the batch, from 1."""

    asks: Mapping[int, list[Row]]
    members: Mapping[int, list[Row]]
    pantry: Mapping[int, list[Row]]
    constraints: Mapping[int, list[Row]]
    plans: Mapping[int, list[Row]]  # oldest week first
    recipes: Mapping[str, list[Row]]  # all versions of the time, by id
    ratings: Mapping[str, list[Row]]


def _look_up(conn: Any, places: Sequence[_Place]) -> _Known:
    units, moments = [place.unit for place in places], [place.moment for place in places]
    weeks = [place.week for place in places]
    asks = _grouped("n", queries.asked(conn, units=units, weeks=weeks, moments=moments))
    plans = _grouped("n", queries.plans(conn, units=units, weeks=weeks, moments=moments))
    wanted = {dish for rows in asks.values() for row in rows for dish in row["options"]}
    wanted |= {dish for rows in plans.values() for row in rows for dish in (*row["accepted"], *row["removed"])}
    span = {"recipe_ids": sorted(wanted), "first": min(moments), "last": max(moments)}
    return _Known(
        asks=asks,
        members=_grouped("n", queries.members(conn, units=units, moments=moments)),
        pantry=_grouped("n", queries.pantries(conn, units=units, weeks=weeks, moments=moments)),
        constraints=_grouped("n", queries.constraints(conn, units=units, moments=moments)),
        plans=plans,
        recipes=_grouped("recipe_id", queries.recipes(conn, **span)),
        ratings=_grouped("recipe_id", queries.ratings(conn, **span)),
    )


def _build(known: _Known, n: int, place: _Place) -> Request | None:
    if not known.asks.get(n):
        return None
    ask = known.asks[n][0]
    options = [_recipe(known, dish, place.moment) for dish in ask["options"]]
    offered = [option for option in options if option is not None]
    if len(offered) < len(options):
        return None
    stars = {dish: _then(known.ratings.get(dish, ()), place.moment) for dish in ask["options"]}
    past = known.plans.get(n, [])
    try:
        return build_request(
            week_start=place.week,
            household=_household(ask, known.members.get(n, [])),
            slots=week_slots((_slot(row) for row in known.constraints.get(n, [])), place.week),
            pantry=_pantry(known.pantry.get(n, [])),
            options=offered,
            catalog=load_recipes(),
            ratings={dish: row["stars"] for dish, row in stars.items() if row is not None},
            workflow=ask["workflow_type"],
            mode=ask["mode"],
            anchors=ask["anchors"],
            previous=_previous(past[-1]) if past else None,
            history=_history(known, past, place.moment),
        )
    except UsageError:  # an ask that no request can be built from: too many options, a doubled one
        return None


def _household(ask: Row, members: Sequence[Row]) -> Household:
    return Household(
        members=tuple(
            Member(allergies=tuple(m["allergies"]), diets=tuple(m["diets"]), dislikes=tuple(m["dislikes"]))
            for m in members
        ),
        region=ask["region"],
        budget=ask["budget"],
        liked_cuisines=tuple(ask["liked_cuisines"]),
        liked_proteins=tuple(ask["liked_proteins"]),
    )


def _slot(row: Row) -> Slot:
    return Slot(day=row["day"], in_days=0, max_minutes=row["max_minutes"], hard=row["hard"], eaters=row["eaters"])


def _pantry(rows: Sequence[Row]) -> list[PantryItem]:
    soonest = sorted(rows, key=lambda row: (row["days_left"], row["item"]))[:MOST_STOCK]
    return [PantryItem(item=r["item"], days_left=r["days_left"], use_first=r["use_first"]) for r in soonest]


def _previous(week: Row) -> PreviousPlan:
    return PreviousPlan(accepted=tuple(sorted({*week["accepted"]})), removed=tuple(sorted({*week["removed"]})))


def _history(known: _Known, weeks: Iterable[Row], moment: datetime) -> History:
    """By what the recipes were then: a dish that is no recipe any more counts for nothing."""
    counts: dict[str, Counter[str]] = {"accepted": Counter(), "removed": Counter()}
    for week in weeks:
        for name, counter in counts.items():
            for dish in {*week[name]}:
                recipe = _then(known.recipes.get(dish, ()), moment)
                if recipe is not None:
                    counter.update((recipe["cuisine"], recipe["main_protein"]))
    return History(kept=counts["accepted"], removed=counts["removed"])


def _recipe(known: _Known, recipe_id: str, moment: datetime) -> Recipe | None:
    row = _then(known.recipes.get(recipe_id, ()), moment)
    if row is None:
        return None
    foods = load_recipes().foods
    return Recipe(
        recipe_id=recipe_id,
        title=row["title"],
        short=row["short"],
        cuisine=row["cuisine"],
        protein=row["main_protein"],
        minutes=row["minutes"],
        cost=row["cost"],
        items=tuple(row["items"]),
        perishables=tuple(item for item in row["items"] if item in foods and foods[item].perishable),
        flags=row["flags"],
        license=row["licence"],
        author=row["author"],
    )


def _then(versions: Iterable[Row], moment: datetime) -> Row | None:
    """The version that was known at `moment`; what is known until further notice has no end."""
    for row in versions:
        if row["known_from"] <= moment and (row["known_until"] is None or moment < row["known_until"]):
            return row
    return None


def _grouped(column: str, rows: Iterable[Row]) -> dict[Any, list[Row]]:
    groups: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[column]].append(row)
    return dict(groups)
