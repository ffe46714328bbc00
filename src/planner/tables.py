"""Writes the planner's own tables, as its application does. Histories follow by themselves (migration 0002).

The connection is the first argument and nothing commits: an application writes its rows and bakeoff's event in one
transaction. Saving what is there already changes nothing and leaves no trace in a history."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import aiosql
from psycopg import Connection
from psycopg.types.json import Jsonb

from planner.recipes import Catalog
from planner.requests import Household, Mode, Slot, Workflow

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]

# Namespace of the ids of members and plans, so that saving a row again finds it.
ROWS = uuid.UUID("5a0c7a43-98cd-5b3f-8a43-0a9f5f6b1d27")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stock:
    """Something at home, with a date: what stands in a pantry keeps, whenever somebody looks."""

    item: str  # name in the lexicon
    expires_on: date  # last day of use
    use_first: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What somebody asked for, and what they were offered."""

    week_start: date
    at: datetime
    options: Sequence[str]  # recipe ids, in the order of the request
    workflow: Workflow = "plan-first"
    mode: Mode = "exploratory"
    anchors: Sequence[str] = ()  # recipe ids


@dataclass(frozen=True, kw_only=True, slots=True)
class WeekPlan:
    """What came of a week."""

    week_start: date
    entries: Sequence[Mapping[str, Any]] = ()  # accepted dinners
    built_by: Literal["edited", "unaided", "timeout"] | None = None  # None: nothing was accepted (yet)
    accepted_at: datetime | None = None
    removed: Sequence[str] = ()  # recipe ids that were shown and taken out


def exist(conn: Conn) -> bool:
    """Whether ``bakeoff db migrate`` was run."""
    return bool(queries.exist(conn))


def have_households(conn: Conn) -> bool:
    """Whether anybody lives in them."""
    return bool(queries.have_households(conn))


def set_clock(conn: Conn, at: datetime | None) -> None:
    """System time of the changes that follow in this transaction, for simulations; None: PostgreSQL's own clock.

    It may not go back behind an earlier change of the same row."""
    queries.set_clock(conn, at="" if at is None else at.isoformat())


def save_catalog(conn: Conn, catalog: Catalog) -> None:
    """All recipes."""
    rows = [
        {
            "recipe_id": recipe.recipe_id,
            "title": recipe.title,
            "short": recipe.short,
            "cuisine": recipe.cuisine,
            "main_protein": recipe.protein,
            "minutes": recipe.minutes,
            "cost": recipe.cost,
            "items": list(recipe.items),
            "flags": Jsonb(dict(recipe.flags)),
            "licence": recipe.license,
            "author": recipe.author,
        }
        for recipe in catalog.recipes.values()
    ]
    queries.save_recipe(conn, rows)


def save_ratings(conn: Conn, stars: Mapping[str, float]) -> None:
    """Mean stars (1 to 5) per recipe id; recipes that are not named keep theirs."""
    queries.save_ratings(conn, recipe_ids=list(stars), stars=list(stars.values()))


def save_household(conn: Conn, household_id: str, household: Household, *, created_at: datetime) -> None:
    """The household with all its members. `created_at` counts the first time."""
    queries.save_household(
        conn,
        household_id=household_id,
        region=household.region,
        liked_cuisines=list(household.liked_cuisines),
        liked_proteins=list(household.liked_proteins),
        budget=household.budget,
        created_at=created_at,
    )
    members = [
        {
            "member_id": str(uuid.uuid5(ROWS, f"{household_id}|member|{number}")),
            "household_id": household_id,
            "allergies": list(member.allergies),
            "diets": list(member.diets),
            "dislikes": list(member.dislikes),
        }
        for number, member in enumerate(household.members)
    ]
    queries.drop_members(conn, household_id=household_id, member_ids=[member["member_id"] for member in members])
    queries.save_member(conn, members)


def save_pantry(conn: Conn, household_id: str, stock: Sequence[Stock]) -> None:
    """The whole pantry: what is not in `stock` is gone."""
    queries.save_pantry(
        conn,
        household_id=household_id,
        items=[each.item for each in stock],
        expires_on=[each.expires_on for each in stock],
        use_first=[each.use_first for each in stock],
    )


def save_constraints(conn: Conn, household_id: str, slots: Sequence[Slot]) -> None:
    """The dinners to fill in a usual week: a day without a slot is closed. `Slot.in_days` is not kept: it follows
    from the day on which a week begins."""
    queries.save_constraints(
        conn,
        household_id=household_id,
        days=[slot.day for slot in slots],
        max_minutes=[slot.max_minutes for slot in slots],
        hard=[slot.hard for slot in slots],
        eaters=[slot.eaters for slot in slots],
    )


def save_plan(conn: Conn, household_id: str, plan: WeekPlan) -> None:
    """What is known of the week by now; later words replace earlier ones."""
    queries.save_plan(
        conn,
        plan_id=str(uuid.uuid5(ROWS, f"{household_id}|plan|{plan.week_start.isoformat()}")),
        household_id=household_id,
        week_start=plan.week_start,
        entries=Jsonb([dict(entry) for entry in plan.entries]),
        built_by=plan.built_by,
        accepted_at=plan.accepted_at,
        removed=list(plan.removed),
    )


def save_ask(conn: Conn, household_id: str, ask: Ask) -> None:
    """An ask is a fact: the same moment again changes nothing."""
    queries.save_ask(
        conn,
        household_id=household_id,
        week_start=ask.week_start,
        asked_at=ask.at,
        workflow_type=ask.workflow,
        mode=ask.mode,
        anchors=list(ask.anchors),
        options=list(ask.options),
    )


def forget_household(conn: Conn, household_id: str) -> None:
    """Deletes a household with all that hangs on it, from the histories too: what is erased must not be rebuilt."""
    queries.forget_household(conn, household_id=household_id)
    queries.forget_histories(conn, household_id=household_id)
