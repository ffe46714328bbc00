"""System-time history: what was known at a moment, kept by the database itself."""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from bakeoff.adapters.postgres import Connection, connect
from planner import migrations, tables
from planner.requests import Household, Member
from planner.tables import Ask, Stock

START = datetime(2025, 1, 6, 9, tzinfo=UTC)
FRIDAY = date(2025, 1, 10)


def home(conn: Connection, at: datetime = START) -> str:
    """A new household, known from `at`."""
    unit = str(uuid.uuid4())
    tables.set_clock(conn, at)
    tables.save_household(conn, unit, Household(members=(Member(),), region="north", budget="mid"), created_at=at)
    return unit


def pantry(*items: str, first: bool = False) -> list[Stock]:
    return [Stock(item=item, expires_on=FRIDAY, use_first=first) for item in items]


def known(conn: Connection, unit: str, at: datetime) -> list[tuple[str, bool]]:
    """Items that the history says were at home."""
    rows = conn.execute(
        "select item, use_first from planner.pantry_items_history where household_id = %s and known_from <= %s "
        "and %s < known_until order by item collate \"C\"", [unit, at, at],
    )  # fmt: skip
    return [(row["item"], row["use_first"]) for row in rows]


def versions(conn: Connection, unit: str) -> int:
    [row] = conn.execute("select count(*) as n from planner.pantry_items_history where household_id = %s", [unit])
    return int(row["n"])


def save(conn: Connection, unit: str, stock: list[Stock], at: datetime) -> None:
    tables.set_clock(conn, at)
    tables.save_pantry(conn, unit, stock)


def test_a_period_ends_where_the_next_begins(scratch: Connection) -> None:
    unit, later = home(scratch), START + timedelta(days=1)
    save(scratch, unit, pantry("egg"), START)
    save(scratch, unit, pantry("egg", first=True), later)
    assert known(scratch, unit, START - timedelta(microseconds=1)) == []
    assert known(scratch, unit, later - timedelta(microseconds=1)) == [("egg", False)]
    assert known(scratch, unit, later) == [("egg", True)]


def test_saving_what_is_there_leaves_no_trace(scratch: Connection) -> None:
    unit = home(scratch)
    for day in range(3):
        save(scratch, unit, pantry("egg", "milk"), START + timedelta(days=day))
    assert versions(scratch, unit) == 2


def test_what_lived_for_no_time_is_not_kept(scratch: Connection) -> None:
    """Two changes at one moment: the standard keeps the last."""
    unit = home(scratch)
    save(scratch, unit, pantry("egg"), START)
    save(scratch, unit, pantry("milk"), START)
    assert versions(scratch, unit) == 1 and known(scratch, unit, START) == [("milk", False)]


def test_what_was_gone_may_come_back(scratch: Connection) -> None:
    unit = home(scratch)
    for day, items in enumerate((["egg"], [], ["egg"])):
        save(scratch, unit, pantry(*items), START + timedelta(days=day))
    found = [known(scratch, unit, START + timedelta(days=day, hours=1)) for day in range(3)]
    assert found == [[("egg", False)], [], [("egg", False)]]


def test_a_simulated_clock_does_not_go_back(scratch: Connection) -> None:
    unit = home(scratch)
    save(scratch, unit, pantry("egg"), START)
    with pytest.raises(psycopg.DatabaseError, match="later change of this row"), scratch.transaction():
        save(scratch, unit, pantry("egg", first=True), START - timedelta(seconds=1))


def test_without_a_clock_the_time_is_the_transaction_s(dsn: str) -> None:
    with connect(dsn, "exp") as conn:
        unit = home(conn, datetime.now(UTC) - timedelta(days=1))
        tables.set_clock(conn, None)
        tables.save_pantry(conn, unit, pantry("egg"))
        [row] = conn.execute("select known_from = transaction_timestamp() as same from planner.pantry_items_history")
        assert row["same"]


def test_a_transaction_that_began_earlier_and_ended_later_comes_after(dsn: str) -> None:
    """Its time lies before what it changes: it is known a microsecond after that."""
    with connect(dsn, "exp") as slow, connect(dsn, "exp") as quick:
        unit = home(quick, datetime.now(UTC) - timedelta(days=1))
        quick.commit()
        slow.execute("select 1")  # its transaction begins
        tables.save_pantry(quick, unit, pantry("egg"))
        quick.commit()
        tables.save_pantry(slow, unit, pantry("egg", first=True))
        slow.commit()
        rows = quick.execute("select * from planner.pantry_items_history where known_until < 'infinity'").fetchall()
        assert [row["known_until"] - row["known_from"] for row in rows] == [timedelta(microseconds=1)]


def test_the_clock_is_the_transaction_s_own(dsn: str) -> None:
    with connect(dsn, "exp") as conn:
        home(conn)
        conn.commit()
        [row] = conn.execute("select planner.known_at() = transaction_timestamp() as back")
        assert row["back"]


def test_rows_that_were_there_before_the_history_are_known_from_then_on(scratch: Connection) -> None:
    """Nobody can say since when an application knew them."""
    first, second = sorted(migrations().glob("*.sql"))[:2]
    scratch.execute("drop schema planner cascade")
    scratch.execute(first.read_text(encoding="utf-8").encode())
    unit = str(uuid.uuid4())
    scratch.execute("insert into planner.households values (%s, 'north', '{}', '{}', 'low', %s)", [unit, START])
    scratch.execute("insert into planner.pantry_items values (%s, 'egg', %s, true)", [unit, FRIDAY])
    scratch.execute("insert into planner.members values (%s, %s)", [str(uuid.uuid4()), unit])
    scratch.execute("insert into planner.constraints values (%s, 'mon', 30, true, 2)", [unit])
    scratch.execute(
        "insert into planner.plans values (%s, %s, %s, '[]', 'unaided', %s)", [str(uuid.uuid4()), unit, FRIDAY, START]
    )
    scratch.execute(
        "insert into planner.recipes values ('r', 'a title of more than 24 characters', 'thai', 'egg', 20, 'low', "
        "'{}', '{}', 'x', 'x')"
    )
    scratch.execute(second.read_text(encoding="utf-8").encode())
    now = datetime.now(UTC)
    assert known(scratch, unit, now) == [("egg", True)]
    assert known(scratch, unit, now - timedelta(days=1)) == []
    for table in ("households", "members", "pantry_items", "constraints", "plans", "recipes"):
        there, history = (sql.Identifier("planner", name) for name in (table, f"{table}_history"))
        [row] = scratch.execute(
            sql.SQL("select to_jsonb(t) <@ to_jsonb(h) as same from {} t, {} h").format(there, history)
        )
        assert row["same"], table


@pytest.mark.parametrize(
    "table", ["households", "members", "pantry_items", "constraints", "plans", "recipes", "ratings"]
)
def test_no_table_is_emptied_behind_its_history(scratch: Connection, table: str) -> None:
    with pytest.raises(psycopg.DatabaseError, match="would be lost"), scratch.transaction():
        scratch.execute(f"truncate planner.{table} cascade")


def test_an_ask_is_a_fact(scratch: Connection) -> None:
    unit = home(scratch)
    ask = Ask(week_start=date(2025, 1, 6), at=START, options=["r"])
    tables.save_ask(scratch, unit, ask)
    tables.save_ask(scratch, unit, Ask(week_start=date(2025, 1, 6), at=START, options=["other"]))
    [row] = scratch.execute("select options from planner.asks where household_id = %s", [unit])
    assert row["options"] == ["r"]
    with pytest.raises(psycopg.DatabaseError, match="refused"), scratch.transaction():
        scratch.execute("update planner.asks set options = '{}'")


steps = st.lists(
    st.tuples(st.integers(0, 2), st.dictionaries(st.sampled_from("abc"), st.booleans(), max_size=3)), max_size=6
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=steps)
def test_the_history_remembers_every_state_that_lasted(scratch: Connection, steps: Any) -> None:
    """Against a model: after any saves at moments that do not go back, each moment's state is that of the last save."""
    unit, hour, model = home(scratch), 0, {}
    for gap, state in steps:
        hour += gap
        stock = [Stock(item=item, expires_on=FRIDAY, use_first=first) for item, first in state.items()]
        save(scratch, unit, stock, START + timedelta(hours=hour))
        model[hour] = sorted(state.items())
    for asked in range(hour + 1):
        last = max((h for h in model if h <= asked), default=None)
        wanted = [] if last is None else model[last]
        assert known(scratch, unit, START + timedelta(hours=asked, minutes=30)) == wanted
