"""Transactions, what an error of the database is called, and lost connections."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

import rows
from bakeoff.adapters.postgres import Database, Pool, connect
from bakeoff.errors import Refused, Unreachable, UsageError


@pytest.fixture(params=[Database, Pool])
def db(dsn: str, request: pytest.FixtureRequest) -> Iterator[Database | Pool]:
    database = request.param(dsn, "exp")
    yield database
    database.close()


@pytest.fixture
def pool(dsn: str) -> Iterator[Pool]:
    found = Pool(dsn, "exp", size=2, patience_s=30, statement_s=1)
    yield found
    found.close()


@pytest.fixture
def impatient(dsn: str) -> Iterator[Pool]:
    """With both connections open: to wait for half a second is enough where one is free."""
    found = Pool(dsn, "exp", size=2, patience_s=30)
    with found.transaction(), found.transaction():
        pass
    found._patience_s = 0.5
    yield found
    found.close()


def count(db: Database | Pool) -> object:
    with db.transaction() as conn:
        return conn.execute("select count(*) as n from policies").fetchone()


def test_a_block_commits_as_a_whole_or_not_at_all(db: Database | Pool) -> None:
    with db.transaction() as conn:
        rows.policy(conn, "p")
    with pytest.raises(RuntimeError), db.transaction() as conn:
        rows.policy(conn, "q")
        raise RuntimeError
    assert count(db) == {"n": 1}


def test_a_block_within_a_block_is_part_of_it(dsn: str) -> None:
    db = Database(dsn, "exp")
    with pytest.raises(RuntimeError), db.transaction() as conn:
        with db.transaction() as inner:
            rows.policy(inner, "q")
        assert inner is conn
        raise RuntimeError
    assert count(db) == {"n": 0}
    db.close()


def test_what_a_guard_says_is_a_refusal(db: Database | Pool) -> None:
    with (
        pytest.raises(Refused, match="the database refuses: a policy version begins as registered"),
        db.transaction() as conn,
    ):
        rows.version(conn, 1, rows.policy(conn), status="production")
    assert count(db) == {"n": 0}


def test_a_user_without_rights_is_told_what_to_ask_for(db: Database | Pool) -> None:
    with (
        pytest.raises(Refused, match=r"permission denied (.|\n)*grant create, usage on schema exp"),
        db.transaction() as c,
    ):
        c.execute("create role poor; set local role poor; select * from exp.policies")


def test_a_lost_race_is_a_refusal_that_says_try_again(db: Database | Pool) -> None:
    with (
        pytest.raises(Refused, match=r"another process wrote the same (.|\n)*run the same command again"),
        db.transaction() as conn,
    ):
        rows.policy(conn)
        rows.policy(conn)


def test_our_own_mistakes_are_not_called_refusals(db: Database | Pool) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable), db.transaction() as conn:
        conn.execute("select * from nowhere")


def test_a_connection_lost_in_a_block_is_unreachable_and_the_next_block_reconnects(
    db: Database | Pool, dsn: str
) -> None:
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


def test_who_is_chosen_to_end_a_deadlock_is_told_to_type_it_again(dsn: str) -> None:
    dbs, meet, said = (Database(dsn, "exp"), Database(dsn, "exp")), threading.Barrier(2, timeout=60), list[str]()
    with dbs[0].transaction() as conn:
        for name in ("p", "q"):
            rows.policy(conn, name)

    def take(db: Database, first: str, second: str) -> None:
        try:
            with db.transaction() as conn:
                for name in (first, second):
                    conn.execute("select * from policies where policy_id = %s for update", (name,))
                    if name == first:
                        meet.wait()
        except Unreachable as error:
            said.append(str(error))

    pairs = zip(dbs, ("pq", "qp"), strict=True)
    threads = [threading.Thread(target=take, args=(db, *names)) for db, names in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for db in dbs:
        db.close()
    (told,) = said
    assert "another process changed the same at the same moment: deadlock detected" in told
    assert "run the same command again" in told


def test_times_are_utc_and_rows_are_dicts(dsn: str) -> None:
    with connect(dsn, "exp") as conn:
        row = conn.execute("select %s as moment, current_setting('timezone') as zone", (rows.START,)).fetchone()
    assert row == {"moment": rows.START, "zone": "UTC"}
    assert row["moment"].utcoffset().total_seconds() == 0


def test_close_without_a_connection_is_nothing(dsn: str) -> None:
    Database(dsn, "exp").close()


# ---- a pool ----


def test_idle_connections_that_died_are_replaced_before_anybody_notices(pool: Pool, dsn: str) -> None:
    with pool.transaction() as one, pool.transaction() as two:
        pids = [one.info.backend_pid, two.info.backend_pid]
    with psycopg.connect(dsn, autocommit=True) as other:
        for pid in pids:
            other.execute("select pg_terminate_backend(%s, 5000)", (pid,))
    for _ in range(4):
        assert count(pool) == {"n": 0}


def test_who_finds_no_free_connection_waits_and_then_is_told(impatient: Pool) -> None:
    with impatient.transaction(), impatient.transaction():
        began = time.monotonic()
        with pytest.raises(Unreachable, match="PostgreSQL does not answer"), impatient.transaction():
            pass
        assert 0.4 < time.monotonic() - began < 20
    impatient._patience_s = 30
    assert count(impatient) == {"n": 0}


def test_threads_share_few_connections(pool: Pool) -> None:
    seen: set[int] = set()

    def ask() -> None:
        for _ in range(20):
            with pool.transaction() as conn:
                seen.add(conn.info.backend_pid)
                conn.execute("select 1")

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert 1 <= len(seen) <= 2


def test_a_statement_that_takes_too_long_is_ended_and_the_connection_lives_on(pool: Pool) -> None:
    with pytest.raises(Unreachable, match="statement timeout"), pool.transaction() as conn:
        conn.execute("select pg_sleep(10)")
    assert count(pool) == {"n": 0}


def test_a_server_that_comes_back_is_found_again_without_delay(dsn: str) -> None:
    """However long it was away: the wait between attempts does not grow."""
    pool = Pool(dsn, "exp", size=2, patience_s=0.5)
    good, pool._pool.conninfo = pool._pool.conninfo, f"{dsn}_not_there"
    for _ in range(2):
        with pytest.raises(Unreachable), pool.transaction():
            pass
    time.sleep(2.5)  # attempts have gone on, and were given up
    pool._pool.conninfo = good
    found = None
    for _ in range(5):  # of half a second each: by tries, as a machine may stand still for longer
        with suppress(Unreachable):
            found = found or count(pool)
    pool.close()
    assert found == {"n": 0}
