"""PostgreSQL: connections, the transaction that callers own, and plain SQL migrations."""

import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from bakeoff.adapters import foreign
from bakeoff.adapters.foreign import Script
from bakeoff.errors import Refused, Unreachable, UsageError

Connection = psycopg.Connection[dict[str, Any]]
SCHEMA_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
"""What a search path reads back as it was written: PostgreSQL folds other names, and our tables would miss it."""
LEDGER = "bakeoff_migrations"


def connect(dsn: str, schema: str) -> Connection:
    """A connection whose search path starts with `schema`; rows are dicts, nothing is committed on its own.

    Raises Unreachable."""
    try:
        conn = psycopg.connect(dsn, row_factory=dict_row, options=_options(schema))
    except psycopg.OperationalError as error:
        raise _away(error) from error
    return conn


def _options(schema: str) -> str:
    if not SCHEMA_NAME.fullmatch(schema):
        raise UsageError(
            f"schema name {schema!r}; expected lower-case letters, digits and underscores",
            cure="set BAKEOFF_SCHEMA=exp",
        )
    return f"-c search_path={schema},public -c timezone=UTC"


def _away(error: psycopg.OperationalError) -> Unreachable:
    return Unreachable(
        f"PostgreSQL does not answer: {error}",
        cure="start it, or set BAKEOFF_DATABASE_URL=postgresql://user:password@host/database",
    )


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
        with _in_our_words(self.schema), self._conn.transaction():
            yield self._conn

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()


class Pool:
    """The same port for a process that serves: threads take connections in turns, at most `size` at once. A connection
    that died while it lay idle (the server was restarted) is replaced before anybody notices; one that dies in
    the middle of a transaction is the caller's to repeat."""

    def __init__(
        self, dsn: str, schema: str, *, size: int = 10, patience_s: float = 3.0, statement_s: float = 30.0
    ) -> None:
        """`patience_s`: how long a caller waits for a connection, busy or lost, before Unreachable. `statement_s`:
        when PostgreSQL gives up on a statement. Connections are opened at first use."""
        limits = f" -c statement_timeout={round(statement_s * 1000)} -c idle_in_transaction_session_timeout=60000"
        options = _options(schema) + limits
        keepalive = {"connect_timeout": 3, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
        self.dsn, self.schema, self.size, self._patience_s = dsn, schema, size, patience_s
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            dsn,
            connection_class=psycopg.Connection[dict[str, Any]],
            kwargs={"row_factory": dict_row, "options": options, "autocommit": True, **keepalive},
            min_size=1,
            max_size=size,
            timeout=patience_s,
            reconnect_timeout=2.0,  # then it gives up, and the next caller begins anew, without a grown delay
            open=False,
        )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commits when the block ends, rolls back when it raises. Raises Unreachable where no connection is to be had
        for `patience_s`, and where one is lost within the block: then nobody knows whether it was committed."""
        with _in_our_words(self.schema), ExitStack() as block:
            self._pool.open()  # which is nothing where it is open
            yield self._begin(block)

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """Each statement is a transaction of its own: no round trips for BEGIN and COMMIT. Raises Unreachable as
        `transaction` does, and where the connection had died before."""
        with _in_our_words(self.schema):
            self._pool.open()
            with self._pool.connection() as conn:
                yield conn

    def _begin(self, block: ExitStack) -> Connection:
        """A connection within a transaction. BEGIN itself is the check whether the connection is alive, so that a
        living one costs no further round trip."""
        ends = time.monotonic() + self._patience_s
        while True:
            conn = self._pool.getconn(timeout=max(ends - time.monotonic(), 0.001))
            with ExitStack() as begun:
                begun.callback(self._pool.putconn, conn)  # which throws a dead one away and opens another
                try:
                    begun.enter_context(conn.transaction())
                except psycopg.OperationalError:
                    continue
                block.push(begun.pop_all())
                return conn

    def close(self) -> None:
        self._pool.close()


@contextmanager
def _in_our_words(schema: str) -> Iterator[None]:
    """What PostgreSQL refuses, as errors that say who has to act."""
    try:
        yield
    except psycopg.errors.RaiseException as error:
        raise Refused(error.diag.message_primary or str(error)) from error
    except psycopg.errors.UniqueViolation as error:
        raise Refused(
            f"another process wrote the same at the same moment ({error.diag.constraint_name})",
            cure="run the same command again",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise Refused(
            f"PostgreSQL refuses this user: {error.diag.message_primary}", cure=_rights(error, schema)
        ) from error
    except PoolTimeout as error:
        raise _away(error) from error
    except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
        raise Unreachable(
            f"another process changed the same at the same moment: {error.diag.message_primary}",
            cure="run the same command again",
        ) from error
    except (
        psycopg.OperationalError,
        psycopg.errors.ReadOnlySqlTransaction,
    ) as error:  # read-only: a stand-by took over
        raise Unreachable(f"PostgreSQL: {error}", cure="is the server still running?") from error
    except psycopg.DatabaseError as error:
        if (error.sqlstate or "").startswith("BK"):
            raise Refused(f"the database refuses: {error.diag.message_primary}") from error
        raise


def _rights(error: psycopg.errors.InsufficientPrivilege, schema: str) -> str:
    """What a user lacks: the right to sign, to write, or to make tables."""
    message = str(error.diag.message_primary)
    if any(message.endswith(f"table {name}") for name in ("approvals", "rejections", "waivers")):
        return "only the approver signs: set BAKEOFF_DATABASE_URL to a user who is a member of that role"
    if "for table" in message:
        return "who owns the tables types: bakeoff db roles --writer NAME --approver NAME (again after db migrate)"
    return (
        f"who owns the database types: grant create, usage on schema {schema} to the user of "
        "BAKEOFF_DATABASE_URL (where the schema is not there yet: grant create on database ...)"
    )


# ---- migrations -------------------------------------------------------------------------------------------------


def migrate(conn: Connection, schema: str, folders: Mapping[str, Path]) -> list[str]:
    """Applies what is missing of each package's ``*.sql`` files, in order, in the caller's transaction.

    `folders` maps a package name to its folder. Returns the names applied. Refuses to run where an applied
    file has changed since, or where tables of the same names were made by somebody else."""
    conn.execute("select pg_advisory_xact_lock(hashtext('bakeoff migrations'))")
    scripts = _scripts(folders)
    missing, alone = _missing(_ledger(conn, schema), scripts), foreign.with_own_schema(scripts)
    here = [script for script in missing if script.package not in alone or not _is_elsewhere(conn, schema, script)]
    foreign.refuse(conn, schema, here, scripts)
    if not _has_schema(conn, schema):  # asking for it where it is there needs rights that nobody else needs
        conn.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    conn.execute(
        f"create table if not exists {LEDGER} (package text, name text, digest text not null, "
        "applied_at timestamptz not null, primary key (package, name))"
    )
    for script in missing:
        if script in here:
            _apply(conn, script)
        row = (script.package, script.name, script.digest, datetime.now(UTC))
        conn.execute(f"insert into {LEDGER} values (%s, %s, %s, %s)", row)
    return [f"{script.package}/{script.name}" for script in here]


def pending(conn: Connection, folders: Mapping[str, Path]) -> list[str]:
    """Names of the migrations that `migrate` would apply. Changes nothing."""
    row = conn.execute("select current_schema() as name").fetchone()
    done = _ledger(conn, str(row["name"]) if row else "")
    return [
        f"{script.package}/{script.name}" for script in _scripts(folders) if (script.package, script.name) not in done
    ]


def task_schemas(conn: Connection, folders: Mapping[str, Path]) -> list[str]:
    """Schemas that tasks' migrations name themselves, whatever the setting says, where they are there."""
    named = {own for script in _scripts(folders) for own, _ in script.tables("") if own}
    return sorted(name for name in named if _has_schema(conn, name))


def _scripts(folders: Mapping[str, Path]) -> list[Script]:
    found = []
    for package, folder in folders.items():
        for path in sorted(folder.glob("*.sql")):
            text = path.read_text(encoding="utf-8")
            content = hashlib.sha256(text.encode()).hexdigest()
            found.append(Script(package=package, name=path.name, text=text, digest=content))
    return found


def _ledger(conn: Connection, schema: str) -> dict[tuple[str, str], str]:
    """What was applied to a schema, with the digest of each file."""
    if not foreign.exists(conn, schema, LEDGER):
        return {}
    rows = conn.execute(sql.SQL("select * from {}").format(sql.Identifier(schema, LEDGER)))
    return {(row["package"], row["name"]): row["digest"] for row in rows}


def _missing(done: Mapping[tuple[str, str], str], scripts: Sequence[Script]) -> list[Script]:
    """Raises Refused for a file that is not what was applied."""
    for script in scripts:
        if done.get((script.package, script.name), script.digest) != script.digest:
            raise Refused(
                f"migration {script.package}/{script.name} was changed after it was applied",
                cure="restore the file and put the change into a new one",
            )
    return [script for script in scripts if (script.package, script.name) not in done]


def _is_elsewhere(conn: Connection, schema: str, script: Script) -> bool:
    """Whether bakeoff made the same tables already when it migrated another schema of this database: a task's own
    tables are there once, whatever bakeoff's schema is called."""
    rows = conn.execute(
        "select n.nspname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where c.relname = %s and c.relkind = 'r' and n.nspname <> %s "
        "and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')",
        (LEDGER, schema),
    ).fetchall()
    known = (script.package, script.name)
    return any(_ledger(conn, row["name"]).get(known) == script.digest for row in rows)


def _has_schema(conn: Connection, schema: str) -> bool:
    return conn.execute("select 1 from pg_namespace where nspname = %s", (schema,)).fetchone() is not None


def _apply(conn: Connection, script: Script) -> None:
    try:
        conn.execute(script.text.encode())
    except (psycopg.errors.DuplicateTable, psycopg.errors.DuplicateFunction, psycopg.errors.DuplicateObject) as error:
        raise Refused(
            f"migration {script.package}/{script.name} would make something that is there already: "
            f"{error.diag.message_primary}",
            cure="use another schema: set BAKEOFF_SCHEMA=bakeoff and run the command again",
        ) from error
