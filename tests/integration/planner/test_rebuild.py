"""Requests built from the planner's own tables are those that were stored, whatever the tables say today."""

import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from bakeoff.adapters.postgres import Connection
from bakeoff.fingerprint import digest
from bakeoff.task import Request, RequestKey, Served
from planner import tables
from planner.plans import choose, plan
from planner.policies import explorer
from planner.recipes import load_recipes
from planner.requests import Household, Member, Slot
from planner.tables import Ask, Stock, WeekPlan
from planner.task import PlannerTask
from planner.town.application import Application
from planner.town.world import Town

WEEKS, UNITS = 4, 12
ENDS_ON = date(2025, 1, 12)
Stored = list[tuple[RequestKey, Request]]


def lived(conn: Connection, *, units: int = UNITS, weeks: int = WEEKS) -> Stored:
    """A town's life in the tables; every request that was made, with its key."""
    town = Town(seed=3, units=units, weeks=weeks, ends_on=ENDS_ON)
    stored: Stored = []

    def decide(*, key: str, unit_id: str, request: Request, at: datetime) -> Served:
        stored.append((RequestKey(unit_id=unit_id, need_id=request["week_start"], as_of=at), request))
        decision_id = str(uuid.uuid5(uuid.NAMESPACE_URL, key))
        answer = explorer(request, seed=0).answer
        return Served(decision_id=decision_id, answer=answer, context={"decision_id": decision_id})

    def emit(**_: Any) -> None:
        pass

    application = Application(conn, town)
    application.open()
    for week in range(weeks):
        application.live(week, decide, emit)
    tables.set_clock(conn, None)
    return stored


def rebuilt(conn: Connection, keys: list[RequestKey]) -> list[Request | None]:
    return list(PlannerTask().requests(conn, keys))


def test_every_request_of_the_town_is_rebuilt_byte_for_byte(scratch: Connection) -> None:
    stored = lived(scratch)
    assert len(stored) > UNITS * WEEKS * 0.8
    found = rebuilt(scratch, [key for key, _ in stored])
    assert [digest(request) for request in found] == [digest(request) for _, request in stored]
    assert any(request["previous_plan"]["removed"] for _, request in stored if request["previous_plan"])


def test_a_batch_takes_the_same_few_queries_whatever_its_size(scratch: Connection) -> None:
    keys = [key for key, _ in lived(scratch, units=6, weeks=2)]
    counts = []
    for some in (keys[:1], keys):
        counted = Counting(scratch)
        assert None not in PlannerTask().requests(counted, some)
        counts.append(counted.cursors)
    assert counts[0] == counts[1] <= 8


class Counting:
    """A connection that counts the statements it is asked for."""

    def __init__(self, conn: Connection) -> None:
        self.conn, self.cursors = conn, 0

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        self.cursors += 1
        return self.conn.cursor(*args, **kwargs)


# ---- one household, by hand ----

UNIT = str(uuid.UUID(int=7))
MONDAY = date(2025, 1, 6)
ASKED = datetime(2025, 1, 6, 9, tzinfo=UTC)
KEY = RequestKey(unit_id=UNIT, need_id="2025-01-06", as_of=ASKED)
ANNA = Household(
    members=(Member(dislikes=("tofu",)),), region="north", budget="mid", liked_cuisines=("thai", "italian")
)
DISHES = sorted(load_recipes().recipes)[:12]
SLOTS = [Slot(day=day, in_days=0, max_minutes=45, hard=True, eaters=2) for day in ("wed", "mon", "tue")]


@pytest.fixture
def conn(scratch: Connection) -> Connection:
    """A household that asked on Monday morning; changes after it are an hour later."""
    tables.set_clock(scratch, ASKED - timedelta(days=20))
    tables.save_catalog(scratch, load_recipes())
    tables.save_ratings(scratch, {DISHES[0]: 4.26})
    tables.save_household(scratch, UNIT, ANNA, created_at=ASKED - timedelta(days=20))
    tables.save_constraints(scratch, UNIT, SLOTS)
    tables.save_plan(scratch, UNIT, last_week(DISHES[:2], removed=DISHES[2:3]))
    tables.set_clock(scratch, ASKED)
    stock("egg", "milk")(scratch)
    tables.save_ask(scratch, UNIT, ask(ASKED))
    tables.set_clock(scratch, ASKED + timedelta(hours=1))
    return scratch


def ask(at: datetime, **changes: Any) -> Ask:
    return Ask(**{"week_start": MONDAY, "at": at, "options": DISHES, **changes})


def stock(*items: str, days: int = 3) -> Any:
    there = [Stock(item=item, expires_on=MONDAY + timedelta(days=days), use_first=item == "egg") for item in items]
    return lambda conn: tables.save_pantry(conn, UNIT, there)


def last_week(dishes: list[str], removed: list[str] | None = None) -> WeekPlan:
    entries = [{"day": "mon", "recipe_id": dish, "servings": 2} for dish in dishes]
    return WeekPlan(
        week_start=MONDAY - timedelta(days=7), entries=entries, built_by="edited", accepted_at=ASKED,
        removed=removed or [],
    )  # fmt: skip


def one(conn: Connection, *, as_of: datetime = ASKED, need_id: str = "2025-01-06") -> Request:
    [request] = rebuilt(conn, [RequestKey(unit_id=UNIT, need_id=need_id, as_of=as_of)])
    assert request is not None
    return request


def test_a_request_says_what_the_tables_said(conn: Connection) -> None:
    request = one(conn)
    assert request["pantry"] == [
        {"item": "egg", "days_left": 3, "use_first": True}, {"item": "milk", "days_left": 3, "use_first": False},
    ]  # fmt: skip
    assert [(slot["day"], slot["in_days"]) for slot in request["slots"]] == [("mon", 0), ("tue", 1), ("wed", 2)]
    assert request["household"]["liked_cuisines"] == ["thai", "italian"] and request["household"]["size"] == 1
    assert request["previous_plan"] == {"accepted": DISHES[:2], "removed": DISHES[2:3]}
    assert [option["id"] for option in request["options"]] == DISHES
    assert [option["rating"] for option in request["options"]] == [4.3] + [3.0] * 11


LONG = {"title": "x", "short": "x", "cuisine": "x", "main_protein": "x", "minutes": 170}


def recipe_changes(conn: Connection) -> None:
    conn.execute("update planner.recipes set minutes = 170, cuisine = 'x' where recipe_id = %s", [DISHES[0]])


CHANGES: Mapping[str, Any] = {
    "pantry": stock("egg"),
    "pantry date": stock("egg", "milk", days=1),
    "household": lambda conn: conn.execute("update planner.households set budget = 'low'"),
    "member": lambda conn: conn.execute("update planner.members set diets = '{vegan}'"),
    "new member": lambda conn: tables.save_household(
        conn, UNIT, Household(members=(Member(), Member()), region="north", budget="mid"), created_at=ASKED
    ),
    "constraint": lambda conn: tables.save_constraints(conn, UNIT, SLOTS[:2]),
    "last week's plan": lambda conn: tables.save_plan(conn, UNIT, last_week(DISHES[:1])),
    "rating": lambda conn: tables.save_ratings(conn, {DISHES[0]: 1.0}),
    "recipe": recipe_changes,
    "ask": lambda conn: tables.save_ask(conn, UNIT, ask(ASKED + timedelta(hours=1), mode="constrained")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_afterwards_changes_the_new_request_and_not_the_old_one(conn: Connection, name: str) -> None:
    before = one(conn)
    CHANGES[name](conn)
    assert digest(one(conn)) == digest(before)
    assert digest(one(conn, as_of=ASKED + timedelta(hours=1))) != digest(before)
    assert digest(one(conn, as_of=ASKED + timedelta(minutes=59))) == digest(before)


def test_what_is_deleted_was_known_before(conn: Connection) -> None:
    before = one(conn)
    conn.execute("delete from planner.pantry_items")
    conn.execute("delete from planner.plans")
    assert one(conn) == before
    later = one(conn, as_of=ASKED + timedelta(hours=2))
    assert later["pantry"] == [] and later["previous_plan"] is None


def test_what_has_gone_off_and_what_is_not_due_soon_is_not_named(conn: Connection) -> None:
    tables.save_pantry(
        conn,
        UNIT,
        [Stock(item=f"i{n:02}", expires_on=MONDAY + timedelta(days=n - 1), use_first=False) for n in range(15)],
    )
    named = one(conn, as_of=ASKED + timedelta(hours=1))["pantry"]
    assert [item["item"] for item in named] == [f"i{n:02}" for n in range(1, 11)]


def test_keys_of_which_no_request_can_be_built_get_none_and_spoil_no_other(conn: Connection) -> None:
    later = ASKED + timedelta(hours=1)
    tables.save_ask(conn, UNIT, ask(later, week_start=MONDAY + timedelta(days=7), options=["no-such-recipe"]))
    tables.save_ask(conn, UNIT, ask(later, week_start=MONDAY + timedelta(days=14), options=[DISHES[0], DISHES[0]]))
    wrong = [
        RequestKey(unit_id="anna", need_id="2025-01-06", as_of=ASKED),
        RequestKey(unit_id=UNIT, need_id="week 1", as_of=ASKED),
        RequestKey(unit_id=str(uuid.UUID(int=8)), need_id="2025-01-06", as_of=ASKED),
        RequestKey(unit_id=UNIT, need_id="2025-01-06", as_of=ASKED - timedelta(seconds=1)),
        RequestKey(unit_id=UNIT, need_id="2024-12-30", as_of=later),
        RequestKey(unit_id=UNIT, need_id="2025-01-13", as_of=later),
        RequestKey(unit_id=UNIT, need_id="2025-01-20", as_of=later),
    ]
    found = rebuilt(conn, [KEY, *wrong, KEY])
    assert found[1:-1] == [None] * len(wrong)
    assert found[0] == found[-1] == one(conn)
    assert rebuilt(conn, []) == []


def test_the_answer_of_any_policy_fits_a_rebuilt_request(conn: Connection) -> None:
    request = one(conn)
    ranking = list(range(len(request["options"])))
    assert PlannerTask().violations(request, plan(request, choose(request, ranking))) == []


def test_a_forgotten_household_is_nowhere(conn: Connection) -> None:
    tables.forget_household(conn, UNIT)
    holders = conn.execute(
        "select table_name from information_schema.columns where table_schema = 'planner' "
        "and column_name = 'household_id'"
    ).fetchall()
    assert len(holders) >= 11
    for holder in holders:
        query = psycopg.sql.SQL("select count(*) as n from planner.{}")
        [row] = conn.execute(query.format(psycopg.sql.Identifier(holder["table_name"]))).fetchall()
        assert row["n"] == 0, holder["table_name"]
    assert rebuilt(conn, [KEY]) == [None]
