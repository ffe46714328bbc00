"""Two roles for one database: the writer may do everything but sign, the approver may read and sign.

Triggers and keys guard against mistakes of everybody. They guard against people too once nobody works as the owner of
the tables (who can change the tables themselves) or as superuser (who can do anything)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from bakeoff.adapters.postgres import LEDGER
from bakeoff.errors import Refused, UsageError

Connection = psycopg.Connection[dict[str, Any]]
SIGNED = ("approvals", "rejections", "waivers")
"""A person's word: only the approver writes it, and nobody changes it."""
CLOSED = ("policy_status_moves", LEDGER)
"""Rules and history of the schema itself: the owner's."""
EVIDENCE = (
    "gate_reports", "monitor_snapshots", "open_slices", "phases", "promotions", "tuned_hyperparameters", "variants",
)  # fmt: skip
"""What the writer adds to and never changes; no erasure of a person reaches them, since they name nobody."""
KEPT = ("api_keys", "datasets", "experiments", "imports", "policies", "policy_versions", "replays")
"""What the writer moves on and never removes."""
FUNCTION = "void_approval"


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """Names of the two roles in PostgreSQL."""

    writer: str
    approver: str


def statements(conn: Connection, schema: str, roles: Roles, others: Sequence[str]) -> list[str]:
    """SQL that makes the roles where they are missing and gives them their rights on the tables that are there; the
    same again changes nothing. `others` are schemas of tasks. Raises UsageError and Refused for roles that cannot
    be told apart, or that would stand above the rules."""
    _check(conn, schema, roles)
    written = [*_created(conn, roles), *_closed(schema, roles), *_granted(conn, schema, roles)]
    for other in others:
        written += _task_schema(other, roles)
    return [statement.as_string(conn) for statement in written]


def _check(conn: Connection, schema: str, roles: Roles) -> None:
    if roles.writer == roles.approver:
        raise UsageError(
            f"{roles.writer} would be writer and approver at once, so nothing would be separate",
            cure="give two names; a person who is both is a member of both roles",
        )
    if not _tables(conn, schema):
        raise UsageError(f"schema {schema!r} has no tables yet", cure="bakeoff db migrate")
    for name in (roles.writer, roles.approver):
        row = conn.execute(
            "select r.rolsuper or pg_has_role(r.oid, c.relowner, 'member') as above from pg_roles r, pg_class c "
            "join pg_namespace n on n.oid = c.relnamespace "
            "where r.rolname = %s and n.nspname = %s and c.relname = 'approvals'",
            (name, schema),
        ).fetchone()
        if row is not None and row["above"]:
            raise Refused(
                f"{name} owns the tables or is superuser, so no rule binds it",
                cure="name roles that are neither; they are made where they are missing",
            )


def _tables(conn: Connection, schema: str) -> list[str]:
    rows = conn.execute(
        "select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relkind in ('r', 'p') order by c.relname collate \"C\"",
        (schema,),
    )
    return [str(row["name"]) for row in rows]


def _created(conn: Connection, roles: Roles) -> Iterator[sql.Composed]:
    for name in (roles.writer, roles.approver):
        if conn.execute("select 1 from pg_roles where rolname = %s", (name,)).fetchone() is None:
            yield sql.SQL("create role {} nologin").format(sql.Identifier(name))


def _both(roles: Roles) -> sql.Composed:
    return sql.SQL(", ").join([sql.Identifier(roles.writer), sql.Identifier(roles.approver)])


def _closed(schema: str, roles: Roles) -> Iterator[sql.Composed]:
    """Back to nothing, then what both may: read."""
    place, both = sql.Identifier(schema), _both(roles)
    yield sql.SQL("revoke all on all tables in schema {} from {}").format(place, both)
    yield sql.SQL("revoke create on schema {} from {}").format(place, both)
    yield sql.SQL("grant usage on schema {} to {}").format(place, both)
    yield sql.SQL("grant select on all tables in schema {} to {}").format(place, both)
    yield sql.SQL("grant execute on function {} to {}").format(sql.Identifier(schema, FUNCTION), both)


def _granted(conn: Connection, schema: str, roles: Roles) -> Iterator[sql.Composed]:
    tables = _tables(conn, schema)
    signed = [name for name in tables if name in SIGNED]
    rights = {
        "insert": [name for name in tables if name in EVIDENCE],
        "insert, update": [name for name in tables if name in KEPT],
        "insert, update, delete": [name for name in tables if name not in (*SIGNED, *CLOSED, *EVIDENCE, *KEPT)],
    }
    for right, names in rights.items():
        yield _grant(right, schema, names, roles.writer)
    yield _grant("insert", schema, signed, roles.approver)


def _grant(right: str, schema: str, tables: Sequence[str], role: str) -> sql.Composed:
    named = sql.SQL(", ").join([sql.Identifier(schema, name) for name in tables])
    return sql.SQL("grant {} on {} to {}").format(sql.SQL(right), named, sql.Identifier(role))


def _task_schema(schema: str, roles: Roles) -> Iterator[sql.Composed]:
    """A task's own tables: the application's data, which requests are built from."""
    place, writer = sql.Identifier(schema), sql.Identifier(roles.writer)
    yield sql.SQL("grant usage on schema {} to {}").format(place, writer)
    yield sql.SQL("grant select, insert, update, delete on all tables in schema {} to {}").format(place, writer)
