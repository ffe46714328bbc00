"""Transactions, what an error of the database is called, and lost connections."""

from collections.abc import Iterator

import psycopg
import pytest

import rows
from bakeoff.adapters.postgres import Database, connect
from bakeoff.errors import Refused, Unreachable, UsageError


@pytest.fixture
def db(dsn: str) -> Iterator[Database]:
    database = Database(dsn, "exp")
    yield database
    database.close()


def count(db: Database) -> object:
    with db.transaction() as conn:
        return conn.execute("select count(*) as n from policies").fetchone()


def test_a_block_commits_as_a_whole_or_not_at_all(db: Database) -> None:
    with db.transaction() as conn:
        rows.policy(conn, "p")
    with pytest.raises(RuntimeError), db.transaction() as conn:
        rows.policy(conn, "q")
        raise RuntimeError
    assert count(db) == {"n": 1}


def test_a_block_within_a_block_is_part_of_it(db: Database) -> None:
    with pytest.raises(RuntimeError), db.transaction() as conn:
        with db.transaction() as inner:
            rows.policy(inner, "q")
        assert inner is conn
        raise RuntimeError
    assert count(db) == {"n": 0}


def test_what_a_guard_says_is_a_refusal(db: Database) -> None:
    with (
        pytest.raises(Refused, match="the database refuses: a policy version begins as registered"),
        db.transaction() as conn,
    ):
        rows.version(conn, 1, rows.policy(conn), status="production")
    assert count(db) == {"n": 0}


def test_a_user_without_rights_is_told_what_to_ask_for(db: Database) -> None:
    with (
        pytest.raises(Refused, match=r"permission denied (.|\n)*grant create, usage on schema exp"),
        db.transaction() as c,
    ):
        c.execute("create role poor; set local role poor; select * from exp.policies")


def test_a_lost_race_is_a_refusal_that_says_try_again(db: Database) -> None:
    with (
        pytest.raises(Refused, match=r"another process wrote the same (.|\n)*run the same command again"),
        db.transaction() as conn,
    ):
        rows.policy(conn)
        rows.policy(conn)


def test_our_own_mistakes_are_not_called_refusals(db: Database) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable), db.transaction() as conn:
        conn.execute("select * from nowhere")


def test_a_connection_lost_in_a_block_is_unreachable_and_the_next_block_reconnects(db: Database, dsn: str) -> None:
    with pytest.raises(Unreachable, match="is the server still running"), db.transaction() as conn:
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s)", (conn.info.backend_pid,))
        rows.policy(conn)
    assert count(db) == {"n": 0}


def test_a_server_that_is_not_there_is_unreachable(tmp_path: object) -> None:
    with pytest.raises(Unreachable, match=r"PostgreSQL does not answer(.|\n)*BAKEOFF_DATABASE_URL"):
        connect(f"postgresql://postgres@/none?host={tmp_path}", "exp")


@pytest.mark.parametrize("schema", ["Exp", "exp,public", "exp;drop", "", "pg_temp", "é"])
def test_a_schema_name_is_one_that_a_search_path_reads_back(dsn: str, schema: str) -> None:
    with pytest.raises(UsageError, match=r"schema name(.|\n)*BAKEOFF_SCHEMA=exp"):
        connect(dsn, schema)


def test_times_are_utc_and_rows_are_dicts(dsn: str) -> None:
    with connect(dsn, "exp") as conn:
        row = conn.execute("select %s as moment, current_setting('timezone') as zone", (rows.START,)).fetchone()
    assert row == {"moment": rows.START, "zone": "UTC"}
    assert row["moment"].utcoffset().total_seconds() == 0


def test_close_without_a_connection_is_nothing(dsn: str) -> None:
    Database(dsn, "exp").close()
