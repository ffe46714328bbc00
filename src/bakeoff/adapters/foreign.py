"""Tables that carry our names but that somebody else made: found before anything is done, described, never touched."""

import re
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from bakeoff.errors import Refused

Connection = psycopg.Connection[dict[str, Any]]
Columns = Mapping[str, Mapping[str, str]]
"""Table -> column -> type, as PostgreSQL writes it."""
_MADE = re.compile(r"^create\s+(?:table|view)\s+(?!if\s)(?:(\w+)\.)?(\w+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """One migration file."""

    package: str
    name: str
    text: str
    digest: str  # sha256 of the text, in hex

    def tables(self, schema: str) -> list[tuple[str, str]]:
        """(schema, name) of the tables and views that it makes; those that name no schema go to `schema`."""
        return [(own or schema, name) for own, name in _MADE.findall(self.text)]


def with_own_schema(scripts: Sequence[Script]) -> set[str]:
    """Packages whose tables all lie in a schema that the files name, whatever the setting says."""
    made: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for script in scripts:
        made[script.package] += _MADE.findall(script.text)
    return {package for package, tables in made.items() if tables and all(own for own, _ in tables)}


def refuse(conn: Connection, schema: str, missing: Sequence[Script], scripts: Sequence[Script]) -> None:
    """Raises Refused where `missing` would make tables that are there already, with the differences column by
    column. `scripts` are all files of the same packages, those that were applied before too."""
    wanted = {place: script.package for script in missing for place in script.tables(schema)}
    taken = {place: package for place, package in wanted.items() if exists(conn, *place)}
    if not taken:
        return
    theirs = {found: columns(conn, found) for found, _ in taken}
    concerned = [script for script in scripts if script.package in taken.values()]
    ours = _wanted_columns(conn, schema, concerned, sorted(theirs))
    names = [name if found == schema else f"{found}.{name}" for found, name in taken]
    tables = [
        _difference(f"{found}.{name}", theirs[found][name], ours.get(found, {}).get(name)) for found, name in taken
    ]
    place = next(iter(taken))[0]
    raise Refused(
        "\n".join([f"schema {place!r} already has tables that bakeoff did not make: {', '.join(names)}", *tables]),
        cure=_WAYS_ON if place == schema else f"a task of bakeoff keeps its own tables in {place!r}: rename yours",
    )


_WAYS_ON = """nothing was changed. The ways on:
  another schema for bakeoff, and yours stays as it is:
      set BAKEOFF_SCHEMA=bakeoff (or schema = "bakeoff" in bakeoff.toml), then bakeoff db migrate
  then your rows as history, by a query over your table:
      bakeoff events import --from-sql "select ... as event_type, ... as unit_id, ... from your.events"
  or by a view of yours that gives them these names, so that the query is kept where your tables are:
      create view your.for_bakeoff as select ...; bakeoff events import --from-sql "select * from your.for_bakeoff\""""


def exists(conn: Connection, schema: str, name: str) -> bool:
    """Whether there is a table, view or the like."""
    row = conn.execute(
        "select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s "
        "and c.relname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f')",
        (schema, name),
    ).fetchone()
    return row is not None


def columns(conn: Connection, schema: str) -> dict[str, dict[str, str]]:
    """Of every table and view of a schema, in their order."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    rows = conn.execute(
        "select c.relname, a.attname, format_type(a.atttypid, a.atttypmod) as kind, a.attnotnull "
        "from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped "
        "order by c.oid, a.attnum",
        (schema,),
    )
    for row in rows:
        found[row["relname"]][row["attname"]] = row["kind"] + (" not null" if row["attnotnull"] else "")
    return found


def _wanted_columns(conn: Connection, schema: str, scripts: Sequence[Script], taken: Sequence[str]) -> dict[str, Any]:
    """What the scripts would make, by schema: run aside, within the caller's transaction, and rolled back. Empty
    where this user may not do that: the names are told then, without the columns."""
    aside = f"bakeoff_aside_{uuid.uuid4().hex[:12]}"
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(sql.SQL("create schema {}").format(sql.Identifier(aside)))
            conn.execute(sql.SQL("set local search_path to {}, public").format(sql.Identifier(aside)))
            for place in taken:
                if place != schema:  # a schema that a script names itself: theirs steps aside until the rollback
                    away = sql.Identifier(f"{aside}_{taken.index(place)}")
                    conn.execute(sql.SQL("alter schema {} rename to {}").format(sql.Identifier(place), away))
            for script in scripts:
                conn.execute(script.text.encode())
            return {place: columns(conn, aside if place == schema else place) for place in taken}
    except psycopg.Error:
        return {}


def _difference(name: str, theirs: Mapping[str, str], ours: Mapping[str, str] | None) -> str:
    """A table of the columns that are not the same on both sides."""
    if ours is None:
        return f"  {name}"
    differing = [column for column in dict.fromkeys([*ours, *theirs]) if theirs.get(column) != ours.get(column)]
    same = len(set(ours) | set(theirs)) - len(differing)
    if not differing:
        return f"  {name}: the same {same} columns, but bakeoff's rules, indexes and history are not there"
    rows = [("column", "yours", "bakeoff's")]
    rows += [(column, theirs.get(column, "-"), ours.get(column, "-")) for column in differing]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ["    " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"  {name}: {same} columns are the same, {len(differing)} differ", *lines])
