"""Many events at once: COPY into a temporary table, then one statement per kind. The caller owns the transaction."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosql
import orjson
import psycopg
from psycopg import Connection

from bakeoff.events.incoming import COLUMNS, Entry, Reader, Row
from bakeoff.events.model import SKEW, Wrong
from bakeoff.events.sources import Line
from bakeoff.task import RequestKey

queries = aiosql.from_path(Path(__file__).with_name("bulk.sql"), "psycopg")
Conn = Connection[dict[str, Any]]
FEW = 200
"""Up to so many live events travel with the statements; more are staged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """A row that did not get into the log."""

    line: Line
    reason: str  # the same for all of its kind
    detail: str
    row: Row | None = None  # what a mapping function made of the line; None where there is none


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """An event on its way into the log."""

    line: Line
    entry: Entry
    row: Row | None  # where a mapping function made it; else the line says it all


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A decision whose request the task has to build."""

    line: Line
    row: Row
    key: RequestKey
    is_mapped: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What became of a batch."""

    decisions: int = 0  # new in the log
    outcomes: int = 0
    already_there: int = 0
    rejects: tuple[Reject, ...] = ()
    stored: frozenset[str] = frozenset()  # ids of new outcomes, of `load_live` only

    def __add__(self, other: "Loaded") -> "Loaded":
        return Loaded(
            decisions=self.decisions + other.decisions,
            outcomes=self.outcomes + other.outcomes,
            already_there=self.already_there + other.already_there,
            rejects=self.rejects + other.rejects,
            stored=self.stored | other.stored,
        )


def check(reader: Reader, line: Line, row: Row, *, is_mapped: bool, request: Any = None) -> Ready | Waiting | Reject:
    """One row at the door. `is_mapped`: it is not the line itself. `request`: what the task built for it."""
    kept = row if is_mapped else None
    try:
        if not isinstance(row, Mapping):
            raise Wrong("not an object", f"the row is {type(row).__name__}, expected an object")
        key = reader.request_key(row) if request is None else None
        if key is not None:
            return Waiting(line=line, row=row, key=key, is_mapped=is_mapped)
        return Ready(line=line, entry=reader.entry(row, request), row=kept)
    except Wrong as error:
        return Reject(line=line, reason=error.reason, detail=str(error), row=kept)


def build_requests(conn: Conn, reader: Reader, waiting: Sequence[Waiting]) -> list[Ready | Reject]:
    """Asks the task for the requests of a batch at once. Where that fails, the batch is halved until the culprit stands
    alone."""
    if not waiting:
        return []
    try:
        with conn.transaction():
            built = list(reader.task.requests(conn, [each.key for each in waiting]))
            if len(built) != len(waiting):
                raise ValueError(f"the task gave {len(built)} requests for {len(waiting)} keys")
    except Exception as error:  # a task's own code, on a stranger's keys
        if len(waiting) == 1:
            return [_unbuilt(waiting[0], f"{type(error).__name__}: {error}")]
        middle = len(waiting) // 2
        return build_requests(conn, reader, waiting[:middle]) + build_requests(conn, reader, waiting[middle:])
    return [
        _unbuilt(each, "the task knows no such request") if request is None else _built(reader, each, request)
        for each, request in zip(waiting, built, strict=True)
    ]


def _built(reader: Reader, waiting: Waiting, request: Any) -> Ready | Reject:
    done = check(reader, waiting.line, waiting.row, is_mapped=waiting.is_mapped, request=request)
    assert not isinstance(done, Waiting)  # only without a request
    return done


def _unbuilt(waiting: Waiting, why: str) -> Reject:
    key, row = waiting.key, waiting.row if waiting.is_mapped else None
    detail = f"no request of unit {key.unit_id}, need {key.need_id}, as of {key.as_of.isoformat()}: {why}"
    return Reject(line=waiting.line, reason="the request cannot be built", detail=detail, row=row)


def load(conn: Conn, reader: Reader, ready: Sequence[Ready]) -> Loaded:
    """Puts a batch of history into the log. Where the database refuses a row, the batch is halved until it stands
    alone."""
    return _halving(conn, ready, lambda part: _load(conn, reader, part))


def load_live(conn: Conn, reader: Reader, ready: Sequence[Ready]) -> Loaded:
    """Puts outcomes into the log as they happen, like `load`, and says which were new."""
    return _halving(conn, ready, lambda part: (_load_few if len(part) <= FEW else _load_live)(conn, reader, part))


def _halving(conn: Conn, ready: Sequence[Ready], put: Callable[[Sequence[Ready]], Loaded]) -> Loaded:
    if not ready:
        return Loaded()
    try:
        with conn.transaction():
            return put(ready)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        if len(ready) == 1:
            return Loaded(rejects=(_reject(ready[0], "the database refuses", str(error)),))
    middle = len(ready) // 2
    return _halving(conn, ready[:middle], put) + _halving(conn, ready[middle:], put)


def _load(conn: Conn, reader: Reader, ready: Sequence[Ready]) -> Loaded:
    queries.stage(conn)
    _copy_requests(conn, ready)
    _copy_events(conn, ready)
    task, how = reader.task, {"task": reader.task.name, "received_at": reader.now, "origin": "backfill"}
    decisions = sum(each.entry.is_decision for each in ready)
    new_decisions = 0
    if decisions:
        queries.add_requests(conn, task=task.name, request_version=task.request_version)
        new_decisions = queries.add_events(conn, **how, decisions=True)
    rejects = _misfits(conn, task.name, ready) if decisions < len(ready) else []
    new_outcomes = 0
    if decisions < len(ready):
        new_outcomes = queries.add_events(conn, **how, decisions=False)
    known, taken = _known(conn, ready, len(ready) - len(rejects) - new_decisions - new_outcomes)
    rejects += taken
    return Loaded(decisions=new_decisions, outcomes=new_outcomes, already_there=known, rejects=tuple(rejects))


def _load_live(conn: Conn, reader: Reader, ready: Sequence[Ready]) -> Loaded:
    task = reader.task.name
    queries.stage(conn)
    _copy_events(conn, ready)
    rejects = _misfits(conn, task, ready)
    how = {"task": task, "received_at": reader.now, "origin": "live", "decisions": False}
    added = conn.execute(f"{queries.add_events.sql.rstrip(';')} returning event_id".encode(), how)
    stored = frozenset(str(row["event_id"]) for row in added)
    known, taken = _known(conn, ready, len(ready) - len(rejects) - len(stored))
    rejects += taken
    return Loaded(outcomes=len(stored), already_there=known, rejects=tuple(rejects), stored=stored)


def _load_few(conn: Conn, reader: Reader, ready: Sequence[Ready]) -> Loaded:
    """The same without a stage: the rows travel with each statement."""
    task, rows = reader.task.name, _as_json(ready)
    off = {row["place"]: row for row in _with_few(conn, queries.misfits, rows, task=task, skew=SKEW)}
    rejects = [_misfit(ready[place], row) for place, row in off.items()]
    fit = [each for place, each in enumerate(ready) if place not in off]
    if not fit:
        return Loaded(rejects=tuple(rejects))
    rows = _as_json(fit) if off else rows
    how = {"task": task, "received_at": reader.now, "origin": "live", "decisions": False}
    stored = frozenset(
        str(row["event_id"]) for row in _with_few(conn, queries.add_events, rows, "returning event_id", **how)
    )
    known = len(fit) - len(stored)
    taken = [_is_taken(fit, row) for row in _with_few(conn, queries.other_content, rows)] if known else []
    return Loaded(outcomes=len(stored), already_there=known - len(taken), rejects=(*rejects, *taken), stored=stored)


def _with_few(conn: Conn, statement: Any, rows: bytes, more: str = "", **how: Any) -> list[dict[str, Any]]:
    query = f"{queries.few.sql.rstrip(';')} {statement.sql.rstrip(';')} {more}"
    return conn.execute(query.encode(), {"rows": rows.decode(), **how}).fetchall()


def _as_json(ready: Sequence[Ready]) -> bytes:
    """The rows out of COPY's text format."""
    rows = []
    for place, each in enumerate(ready):
        *values, payload = (_read(value) for value in each.entry.columns.split(b"\t"))
        row = {name: None if value is None else value.decode() for name, value in zip(COLUMNS, values, strict=False)}
        rows.append({"place": place, **row, "payload": orjson.Fragment(payload or b"null")})
    return orjson.dumps(rows)


_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_MEANT = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}


def _read(value: bytes) -> bytes | None:
    if b"\\" not in value:
        return value
    return None if value == b"\\N" else _ESCAPED.sub(lambda found: _MEANT.get(found[1], found[1]), value)


def _known(conn: Conn, ready: Sequence[Ready], left: int) -> tuple[int, list[Reject]]:
    """Of `left` rows that were not new: how many are in the log already, and which have other content than there."""
    taken = _taken(conn, ready) if left else []
    return left - len(taken), taken


def _copy_requests(conn: Conn, ready: Sequence[Ready]) -> None:
    bodies = {each.entry.request_digest: each.entry.request for each in ready if each.entry.request is not None}
    rows = [b"%b\t%b\n" % (str(digest).encode(), body) for digest, body in bodies.items()]
    with conn.cursor() as cursor, cursor.copy("copy staged_requests from stdin") as copy:
        copy.write(b"".join(rows))


def _copy_events(conn: Conn, ready: Sequence[Ready]) -> None:
    rows = [b"%d\t%b\n" % (place, each.entry.columns) for place, each in enumerate(ready)]
    columns = ", ".join(("place", *COLUMNS))
    with conn.cursor() as cursor, cursor.copy(f"copy staged_events ({columns}) from stdin".encode()) as copy:
        copy.write(b"".join(rows))


def _misfits(conn: Conn, task: str, ready: Sequence[Ready]) -> list[Reject]:
    """Outcomes that are not about the decision that they name; they leave the stage."""
    found = {row["place"]: row for row in queries.misfits(conn, task=task, skew=SKEW)}
    if found:
        queries.unstage(conn, places=list(found))
    return [_misfit(ready[place], row) for place, row in found.items()]


def _misfit(each: Ready, row: Mapping[str, Any]) -> Reject:
    if row["too_early"]:
        said_at, decided_at = row["occurred_at"].isoformat(), row["decided_at"].isoformat()
        return _reject(each, "before its decision", f"it says {said_at}, its decision was made at {decided_at}")
    said = {**each.entry.context, "unit_id": each.entry.unit_id}
    differs = [f"{name} {value}, not {row[name]}" for name, value in said.items() if str(row[name]) != value]
    of = f"decision {row['decision_id']} was made with another context: the row says "
    return _reject(each, "the context of another decision", of + ("; ".join(differs) or "another task"))


def _taken(conn: Conn, ready: Sequence[Ready]) -> list[Reject]:
    return [_is_taken(ready, row) for row in queries.other_content(conn)]


def _is_taken(ready: Sequence[Ready], row: Mapping[str, Any]) -> Reject:
    detail = f"event {row['event_id']} is in the log as {row['theirs']}, the row is {row['ours']}"
    return _reject(ready[row["place"]], "other content under the same id", detail)


def _reject(each: Ready, reason: str, detail: str) -> Reject:
    return Reject(line=each.line, reason=reason, detail=detail, row=each.row)
