"""Plain SQL migrations: each once, unchanged, and never over somebody else's tables."""

import re
import threading
from pathlib import Path

import pytest

from bakeoff.adapters import postgres
from bakeoff.errors import Refused
from bakeoff.plugins import migration_folders

OURS = [f"bakeoff/{path.name}" for path in sorted(migration_folders()["bakeoff"].glob("*.sql"))]


def test_a_second_run_applies_nothing(conn: postgres.Connection) -> None:
    assert postgres.migrate(conn, "exp", migration_folders()) == []


def test_another_schema_name_works(conn: postgres.Connection) -> None:
    conn.execute("create schema bakeoff; set search_path to bakeoff")
    applied = postgres.migrate(conn, "bakeoff", {"bakeoff": migration_folders()["bakeoff"]})
    assert applied == OURS
    assert conn.execute("select to_regclass('bakeoff.events') is not null as made").fetchone() == {"made": True}


def test_a_table_of_somebody_else_is_never_touched(conn: postgres.Connection) -> None:
    conn.execute("create schema theirs; create table theirs.events (id int); set search_path to theirs")
    with pytest.raises(Refused, match="did not make"):
        postgres.migrate(conn, "theirs", migration_folders())


def test_a_changed_migration_is_refused(conn: postgres.Connection, tmp_path: Path) -> None:
    script = tmp_path / "0001_x.sql"
    script.write_text("create table x (id int);")
    postgres.migrate(conn, "exp", {"other": tmp_path})
    script.write_text("create table x (id int, name text);")
    with pytest.raises(Refused, match="changed after"):
        postgres.migrate(conn, "exp", {"other": tmp_path})


@pytest.mark.parametrize("name", ["policies", "requests", "experiments"])
def test_any_table_of_ours_that_is_there_is_named(conn: postgres.Connection, name: str) -> None:
    conn.execute(f"create schema theirs; create table theirs.{name} (id int); set search_path to theirs")
    with pytest.raises(Refused, match=rf"did not make: {name}(.|\n)*BAKEOFF_SCHEMA"):
        postgres.migrate(conn, "theirs", migration_folders())


def test_tables_of_other_tools_do_not_matter(conn: postgres.Connection) -> None:
    """A schema that an application migrates with a tool of its own, and its ledger."""
    conn.execute(
        "create schema theirs; create table theirs.schema_migrations (version text); set search_path to theirs"
    )
    assert postgres.migrate(conn, "theirs", {"bakeoff": migration_folders()["bakeoff"]})


def test_two_processes_that_migrate_at_once_apply_each_file_once(dsn: str) -> None:
    applied: list[list[str]] = []

    def run() -> None:
        with postgres.connect(dsn, "fresh") as conn, conn.transaction():
            applied.append(postgres.migrate(conn, "fresh", {"bakeoff": migration_folders()["bakeoff"]}))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(applied) == [[], OURS]


# ---- tables that somebody else made ----


def test_the_columns_that_differ_are_told_on_both_sides_and_nothing_is_changed(conn: postgres.Connection) -> None:
    conn.execute(
        "create schema theirs; create table theirs.events (event_id bigint not null, payload jsonb not null, who text);"
        "set search_path to theirs"
    )
    before = conn.execute("select count(*) as n from pg_class").fetchone()
    with pytest.raises(Refused) as refused:
        postgres.migrate(conn, "theirs", migration_folders())
    said = str(refused.value)
    assert "schema 'theirs' already has tables that bakeoff did not make: events" in said
    assert "theirs.events: 1 columns are the same" in said
    assert re.search(r"event_id +bigint not null +uuid not null\n", said)
    assert re.search(r"who +text +-\n", said)
    assert re.search(r"unit_id +- +text not null\n", said)
    assert not re.search(r"\n +payload ", said), "the same on both sides"
    assert "set BAKEOFF_SCHEMA=bakeoff" in said
    assert "events import --from-sql" in said
    assert "create view" in said
    assert conn.execute("select count(*) as n from pg_class").fetchone() == before
    assert conn.execute("show search_path").fetchone() == {"search_path": "theirs"}


def test_a_view_of_our_name_is_somebody_elses_too(conn: postgres.Connection) -> None:
    conn.execute("create schema theirs; create view theirs.policies as select 1 as n; set search_path to theirs")
    with pytest.raises(Refused, match=r"theirs.policies(.|\n)*n +integer +-"):
        postgres.migrate(conn, "theirs", migration_folders())


def test_a_later_migration_meets_a_table_that_somebody_made_meanwhile(
    conn: postgres.Connection, tmp_path: Path
) -> None:
    (tmp_path / "0001_a.sql").write_text("create table alpha (id int);")
    postgres.migrate(conn, "exp", {"other": tmp_path})
    conn.execute("create table exp.beta (id text)")
    (tmp_path / "0002_b.sql").write_text("create table beta (id int primary key, a int);")
    with pytest.raises(Refused, match=r"did not make: beta(.|\n)*id +text +integer not null(.|\n)*a +- +integer"):
        postgres.migrate(conn, "exp", {"other": tmp_path})


def test_a_task_with_a_schema_of_its_own_meets_an_applications_schema_of_that_name(
    conn: postgres.Connection, tmp_path: Path
) -> None:
    (tmp_path / "0001_a.sql").write_text("create schema if not exists shop;\ncreate table shop.orders (id uuid);")
    conn.execute("create schema shop; create table shop.orders (id int)")
    with pytest.raises(Refused, match=r"did not make: shop.orders(.|\n)*id +integer +uuid(.|\n)*rename yours"):
        postgres.migrate(conn, "exp", {"shop": tmp_path})
    assert postgres.pending(conn, {"shop": tmp_path}) == ["shop/0001_a.sql"]


def test_a_tasks_own_tables_are_made_once_for_two_schemas_of_bakeoff(conn: postgres.Connection) -> None:
    """The template was migrated as 'exp'; the planner's tables are there, and bakeoff made them."""
    conn.execute("create schema other; set search_path to other")
    assert postgres.migrate(conn, "other", migration_folders()) == OURS
    assert postgres.pending(conn, migration_folders()) == []
    assert postgres.migrate(conn, "other", migration_folders()) == []


def test_without_the_right_to_look_aside_the_names_are_told(conn: postgres.Connection) -> None:
    conn.execute(
        "create schema theirs; create table theirs.events (id int); create role narrow;"
        "grant usage, create on schema theirs to narrow; grant select on theirs.events to narrow;"
        "set search_path to theirs; set local role narrow"
    )
    with pytest.raises(Refused, match=r"did not make: events\n  theirs.events\n"):
        postgres.migrate(conn, "theirs", {"bakeoff": migration_folders()["bakeoff"]})


def test_a_schema_that_an_administrator_made_is_enough(conn: postgres.Connection, tmp_path: Path) -> None:
    """The application's user may not create schemas, as is usual at work."""
    (tmp_path / "0001_a.sql").write_text("create table alpha (id int);")
    conn.execute(
        "create schema bakeoff; create role tenant; grant usage, create on schema bakeoff to tenant;"
        "set search_path to bakeoff; set local role tenant"
    )
    assert postgres.migrate(conn, "bakeoff", {"other": tmp_path}) == ["other/0001_a.sql"]


def test_what_cannot_be_made_twice_is_a_refusal(conn: postgres.Connection) -> None:
    conn.execute("create schema theirs; create function theirs.refuse_change() returns int return 1")
    conn.execute("set search_path to theirs")
    with pytest.raises(Refused, match="would make something that is there already"):
        postgres.migrate(conn, "theirs", {"bakeoff": migration_folders()["bakeoff"]})
