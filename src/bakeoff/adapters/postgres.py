"""PostgreSQL: connections, the transaction that callers own, and plain SQL migrations."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from bakeoff.errors import Refused, Unreachable, UsageError

Connection = psycopg.Connection[dict[str, Any]]
SCHEMA_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
"""What a search path reads back as it was written: PostgreSQL folds other names, and our tables would miss it."""
LEDGER = "bakeoff_migrations"


def connect(dsn: str, schema: str) -> Connection:
    """A connection whose search path starts with `schema`; rows are dicts, nothing is committed on its own.

    Raises Unreachable."""
    if not SCHEMA_NAME.fullmatch(schema):
        raise UsageError(
            f"schema name {schema!r}; expected lower-case letters, digits and underscores",
            cure="set BAKEOFF_SCHEMA=exp",
        )
    try:
        conn = psycopg.connect(dsn, row_factory=dict_row, options=f"-c search_path={schema},public -c timezone=UTC")
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"PostgreSQL does not answer: {error}",
            cure="start it, or set BAKEOFF_DATABASE_URL=postgresql://user:password@host/database",
        ) from error
    return conn


class Database:
    """The port that `lifecycle` asks for transactions. One connection, opened at first use."""

    def __init__(self, dsn: str, schema: str) -> None:
        self.dsn = dsn
        self.schema = schema
        self._conn: Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commits when the block ends, rolls back when it raises. Reopens a connection that was lost before."""
        if self._conn is None or self._conn.closed:
            self._conn = connect(self.dsn, self.schema)
        try:
            with self._conn.transaction():
                yield self._conn
        except psycopg.errors.RaiseException as error:
            raise Refused(error.diag.message_primary or str(error)) from error
        except psycopg.errors.UniqueViolation as error:
            raise Refused(
                f"another process wrote the same at the same moment ({error.diag.constraint_name})",
                cure="run the same command again",
            ) from error
        except psycopg.OperationalError as error:
            raise Unreachable(f"PostgreSQL: {error}", cure="is the server still running?") from error
        except psycopg.DatabaseError as error:
            if (error.sqlstate or "").startswith("BK"):
                raise Refused(f"the database refuses: {error.diag.message_primary}") from error
            raise

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()


# ---- migrations -------------------------------------------------------------------------------------------------


def migrate(conn: Connection, schema: str, folders: Mapping[str, Path]) -> list[str]:
    """Applies what is missing of each package's ``*.sql`` files, in order, in the caller's transaction.

    `folders` maps a package name to its folder. Returns the names applied. Refuses to run where an applied
    file has changed since, or where tables of the same names were made by somebody else."""
    conn.execute("select pg_advisory_xact_lock(hashtext('bakeoff migrations'))")
    conn.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
    _refuse_foreign_tables(conn, schema, folders)
    conn.execute(
        f"create table if not exists {LEDGER} (package text, name text, digest text not null, "
        "applied_at timestamptz not null, primary key (package, name))"
    )
    done = {(row["package"], row["name"]): row["digest"] for row in conn.execute(f"select * from {LEDGER}")}
    applied = []
    for package, folder in folders.items():
        for path in sorted(folder.glob("*.sql")):
            if _apply(conn, package, path, done):
                applied.append(f"{package}/{path.name}")
    return applied


def pending(conn: Connection, folders: Mapping[str, Path]) -> list[str]:
    """Names of the migrations that `migrate` would apply. Changes nothing."""
    done: set[tuple[str, str]] = set()
    here = "select from information_schema.tables where table_schema = current_schema() and table_name = %s"
    if conn.execute(here, (LEDGER,)).fetchone() is not None:
        done = {(row["package"], row["name"]) for row in conn.execute(f"select package, name from {LEDGER}")}
    wanted = [(package, path.name) for package, folder in folders.items() for path in sorted(folder.glob("*.sql"))]
    return [f"{package}/{name}" for package, name in wanted if (package, name) not in done]


def _apply(conn: Connection, package: str, path: Path, done: Mapping[tuple[str, str], str]) -> bool:
    text = path.read_text(encoding="utf-8")
    content = hashlib.sha256(text.encode()).hexdigest()
    known = done.get((package, path.name))
    if known == content:
        return False
    if known is not None:
        raise Refused(
            f"migration {package}/{path.name} was changed after it was applied",
            cure="restore the file and put the change into a new one",
        )
    conn.execute(text.encode())
    conn.execute(f"insert into {LEDGER} values (%s, %s, %s, %s)", (package, path.name, content, datetime.now(UTC)))
    return True


def _refuse_foreign_tables(conn: Connection, schema: str, folders: Mapping[str, Path]) -> None:
    rows = conn.execute(
        "select table_name from information_schema.tables where table_schema = %s", (schema,)
    ).fetchall()
    tables = {row["table_name"] for row in rows}
    scripts = [path.read_text(encoding="utf-8") for folder in folders.values() for path in folder.glob("*.sql")]
    ours = {name for text in scripts for name in re.findall(r"^create table (\w+) ", text, re.MULTILINE)}
    foreign = sorted(tables & ours)
    if foreign and LEDGER not in tables:
        raise Refused(
            f"schema {schema!r} already has tables that bakeoff did not make: {', '.join(foreign)}",
            cure="use another schema: set BAKEOFF_SCHEMA=bakeoff and run the command again",
        )
