"""Plain SQL migrations: each once, unchanged, and never over somebody else's tables."""

import threading
from pathlib import Path

import pytest

from bakeoff.adapters import postgres
from bakeoff.errors import Refused
from bakeoff.plugins import migration_folders


def test_a_second_run_applies_nothing(conn: postgres.Connection) -> None:
    assert postgres.migrate(conn, "exp", migration_folders()) == []


def test_another_schema_name_works(conn: postgres.Connection) -> None:
    conn.execute("create schema bakeoff; set search_path to bakeoff")
    applied = postgres.migrate(conn, "bakeoff", {"bakeoff": migration_folders()["bakeoff"]})
    assert applied == ["bakeoff/0001_loop.sql"]
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
    assert sorted(applied) == [[], ["bakeoff/0001_loop.sql"]]
