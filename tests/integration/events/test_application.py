"""An application's own transaction: its row and our event are both there, or neither."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

import rows
import toy
from bakeoff import events
from bakeoff.adapters.postgres import Connection
from bakeoff.errors import UsageError
from rows import Shop

TASK = toy.ToyTask()
AT, NOW = rows.at(1), rows.at(1.1)


@pytest.fixture
def shop(conn: Connection) -> Iterator[Shop]:
    shop = Shop(conn)
    conn.execute("create schema app; create table app.drinks (who text)")
    conn.commit()
    yield shop


@pytest.fixture
def app(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """As an application connects: its own search path, rows as tuples."""
    with psycopg.connect(dsn, options="-c search_path=app") as connection:
        yield connection
        connection.rollback()


def offered(shop: Shop, ident: str, **other: Any) -> dict[str, Any]:
    return {
        "event_id": ident,
        "event_type": "offered",
        "unit_id": "u",
        "context": {"decision_id": ident, **shop.context()},
        "occurred_at": AT,
        "received_at": NOW,
        "payload": {"answer": {"drink": "tea"}},
        "request": {"likes": "tea", "day": 1},
        **other,
    }


def accepted(shop: Shop, of: str, **other: Any) -> dict[str, Any]:
    return {
        "event_id": rows.new_id(),
        "event_type": "accepted",
        "unit_id": "u",
        "context": {"decision_id": of, **shop.context()},
        "occurred_at": NOW,
        "received_at": NOW,
        "payload": {"accepted_by": "user", "drink": "tea"},
        **other,
    }


def counts(conn: Connection) -> tuple[int, int]:
    row = conn.execute("select (select count(*) from events) as e, (select count(*) from app.drinks) as d").fetchone()
    assert row is not None
    return row["e"], row["d"]


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_both_or_neither(shop: Shop, conn: Connection, app: psycopg.Connection[Any], ends: str) -> None:
    ident = rows.new_id()
    app.execute("insert into drinks values ('u')")
    assert events.append(app, TASK, **offered(shop, ident))
    assert events.append(app, TASK, **accepted(shop, ident))
    assert counts(conn) == (0, 0)  # nobody else sees them yet
    getattr(app, ends)()
    conn.rollback()
    assert counts(conn) == ((2, 1) if ends == "commit" else (0, 0))


def test_appending_first_commits_nothing_on_its_own(shop: Shop, conn: Connection, app: psycopg.Connection[Any]) -> None:
    events.append(app, TASK, **offered(shop, rows.new_id()))
    app.execute("insert into drinks values ('u')")
    app.rollback()
    assert counts(conn) == (0, 0)


def test_an_application_keeps_its_search_path_and_its_kind_of_rows(shop: Shop, app: psycopg.Connection[Any]) -> None:
    events.append(app, TASK, **offered(shop, rows.new_id()))
    assert app.execute("show search_path").fetchone() == ("app",)
    with pytest.raises(UsageError, match="unknown event type"):
        events.append(app, TASK, **accepted(shop, rows.new_id(), event_type="sipped"))
    app.execute("insert into drinks values ('after a refusal')")
    app.commit()
    assert app.execute("show search_path").fetchone() == ("app",)


def test_a_connection_in_autocommit_needs_a_transaction(shop: Shop, conn: Connection, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as app:
        with pytest.raises(UsageError, match="commits every statement"):
            events.append(app, TASK, **offered(shop, rows.new_id()))
        with app.transaction():
            app.execute("insert into app.drinks values ('u')")
            events.append(app, TASK, **offered(shop, rows.new_id()))
    assert counts(conn) == (1, 1)


def test_another_schema_with_any_name(dsn: str, conn: Connection, app: psycopg.Connection[Any]) -> None:
    shop = Shop(conn)
    conn.execute(sql.SQL("alter schema exp rename to {}").format(sql.Identifier('bake "off"')))
    conn.commit()
    # Functions of triggers keep the path that they were made with; this test is about ours.
    with pytest.raises(psycopg.errors.UndefinedTable):
        events.append(app, TASK, **offered(shop, rows.new_id()), schema="elsewhere")
    app.rollback()
    assert events.append(app, TASK, **offered(shop, rows.new_id()), schema='bake "off"')


def test_the_same_decision_again_is_one_and_another_one_under_its_id_is_refused(
    shop: Shop, app: psycopg.Connection[Any]
) -> None:
    ident = rows.new_id()
    assert events.append(app, TASK, **offered(shop, ident, assignment_probability=0.5))
    assert not events.append(app, TASK, **offered(shop, ident, assignment_probability=0.5))
    with pytest.raises(UsageError, match=f"event {ident} exists with other content.*sha256:.*sha256:"):
        events.append(app, TASK, **offered(shop, ident, request={"likes": "coffee", "day": 1}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"request": None}, "offered came without a request"),
        ({"event_id": rows.new_id()}, "came as event"),
        ({"context": {}}, "lacks decision_id, experiment_id, variant_id, policy_version_id"),
        ({"assignment_probability": 0.0}, "expected a number above 0"),
        ({"request": {"likes": "tea"}}, "cannot say which need"),
        ({"request": {"likes": "t\0", "day": 1}}, "request cannot be logged: a text holds a NUL"),
        ({"event_type": "ofered"}, "unknown event type 'ofered'.*\n.*known decisions: offered"),
        ({"occurred_at": NOW + timedelta(minutes=11)}, "the event says it happened at"),
        ({"event_type": "accepted", "payload": {"accepted_by": "user", "drink": "tea"}}, "came with a request"),
    ],
)
def test_what_the_door_refuses(shop: Shop, app: psycopg.Connection[Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        events.append(app, TASK, **offered(shop, rows.new_id(), **change))
