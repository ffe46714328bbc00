"""Bulk import: rows of a source -> the log, in batches that are each one transaction with its own progress. A
process that was killed at any point goes on where the last batch ended; what cannot be taken goes to a file."""

import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from psycopg.types.json import Jsonb

from bakeoff.errors import Refused, UsageError
from bakeoff.events import bulk
from bakeoff.events.bulk import Conn, Ready, Reject, Waiting
from bakeoff.events.canonical import canonical_bytes
from bakeoff.events.incoming import Reader, Row
from bakeoff.events.model import NAMESPACE
from bakeoff.events.sources import Line, Source, as_text
from bakeoff.fingerprint import canonical_json

BATCH_ROWS, BATCH_BYTES = 5_000, 32 << 20
_PATIENCE_S, _PATIENCE_STEPS = 3.0, 15
Transaction = Callable[[], AbstractContextManager[Conn]]
Move = Callable[[int, int], None]
Mapped = Callable[[Mapping[str, Any]], Iterable[Row]]
"""An application's own line -> rows as `incoming` describes them; none where the line is no event."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """What became of the rows so far."""

    lines: int = 0  # read
    decisions: int = 0  # new in the log
    outcomes: int = 0
    already_there: int = 0  # with the same content
    no_event: int = 0  # lines of which the mapping function made nothing
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    unknown_fields: Counter[str] = field(default_factory=Counter)  # 'event type.field' -> events; kept, not declared

    def to_json(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("lines", "decisions", "outcomes", "already_there", "no_event")}
        counters = {name: dict(sorted(getattr(self, name).items())) for name in ("rejected", "unknown_fields")}
        return plain | counters

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Tally":
        values: dict[str, Any] = {
            name: Counter(value) if isinstance(value, Mapping) else value for name, value in body.items()
        }
        return cls(**values)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in Tally.__slots__})


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """How an import ended."""

    source: str
    counts: Tally  # of the whole source, whoever read it
    resumed_at: int  # lines that an earlier run had dealt with
    finished_before: datetime | None  # this very source was imported already, so nothing was done
    rejects: Path | None  # None: no row was refused, or an earlier run's file is not there
    examples: tuple[Reject, ...]  # the first few of this run


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ledger:
    """Where an import stands."""

    import_id: str | None  # None: not kept (a query, or a dry run)
    position: int = 0
    rejects_bytes: int = 0
    counts: Tally = field(default_factory=Tally)
    finished_at: datetime | None = None


def run(
    transaction: Transaction,
    reader: Reader,
    source: Source,
    *,
    rejects: Path,
    mapped: tuple[str, Mapped] | None = None,
    batch_rows: int = BATCH_ROWS,
    dry_run: bool = False,
    again: bool = False,
    on_move: Move | None = None,
) -> Report:
    """Imports a source. The same content with the same mapping function and default version is one import.

    `rejects`: where refused rows go, as JSON lines. `mapped`: name and function that makes rows of an application's
    own lines. `again` reads a source anew that was imported before: rows that are there are found. `dry_run` keeps
    nothing. `on_move` gets how much of the source was read (done, total).

    Raises Refused where another process is importing the same."""
    name, function = mapped or (None, None)
    if dry_run or not source.can_resume:
        fresh = _Ledger(import_id=None)
        return _run(transaction, reader, source, fresh, None if dry_run else rejects, function, batch_rows, on_move)
    settings = {"policy": reader.default.version if reader.default else None, "map": name}
    known = canonical_json([reader.task.name, source.digest, settings])
    ident = str(uuid.uuid5(NAMESPACE, f"import|{known}"))
    with _held(transaction, ident, source.name):
        ledger = _open(transaction, reader, source, ident, settings, again)
        if ledger.finished_at is not None:
            is_there = rejects if rejects.exists() else None
            return _report(source, ledger, is_there, finished_before=ledger.finished_at)
        report = _run(transaction, reader, source, ledger, rejects, function, batch_rows, on_move)
        with transaction() as conn:
            bulk.queries.finish_import(conn, import_id=ident, finished_at=reader.now)
    return report


@contextmanager
def _held(transaction: Transaction, ident: str, name: str) -> Iterator[None]:
    """One process at a time. The lock belongs to the session: PostgreSQL takes it from a process that was killed."""
    for _ in range(_PATIENCE_STEPS):  # PostgreSQL needs a moment to notice that a process is gone
        with transaction() as conn:
            locked = conn.execute("select pg_try_advisory_lock(hashtext(%s)) as ok", (ident,)).fetchone()
        if locked is not None and locked["ok"]:
            break
        time.sleep(_PATIENCE_S / _PATIENCE_STEPS)
    else:
        raise Refused(f"another process is importing {name}", cure="wait for it, or end it")
    try:
        yield
    finally:
        with suppress(Exception), transaction() as conn:  # a lost connection has let go of it already
            conn.execute("select pg_advisory_unlock(hashtext(%s))", (ident,))


def _run(
    transaction: Transaction,
    reader: Reader,
    source: Source,
    ledger: _Ledger,
    rejects: Path | None,
    mapped: Mapped | None,
    batch_rows: int,
    on_move: Move | None,
) -> Report:
    """`rejects` None: a dry run."""
    resumed_at, examples = ledger.position, list[Reject]()
    with _RejectFile(rejects, length=ledger.rejects_bytes) as file:
        for batch in _ahead(_batches(reader, source.lines(skip=ledger.position), mapped, batch_rows)):
            ledger, refused = _batch(transaction, reader, batch, ledger, file)
            examples += refused[: 5 - len(examples)]
            if on_move is not None and source.total:
                on_move(source.done, source.total)
    return _report(source, ledger, rejects, resumed_at=resumed_at, examples=examples)


def _report(
    source: Source,
    ledger: _Ledger,
    rejects: Path | None,
    *,
    resumed_at: int = 0,
    examples: Sequence[Reject] = (),
    finished_before: datetime | None = None,
) -> Report:
    return Report(
        source=source.name,
        counts=ledger.counts,
        resumed_at=resumed_at,
        finished_before=finished_before,
        rejects=rejects if ledger.rejects_bytes else None,
        examples=tuple(examples),
    )


def _open(
    transaction: Transaction,
    reader: Reader,
    source: Source,
    ident: str,
    settings: Mapping[str, object],
    again: bool,
) -> _Ledger:
    with transaction() as conn:
        bulk.queries.open_import(
            conn,
            import_id=ident,
            task=reader.task.name,
            source=source.name,
            source_digest=source.digest,
            settings=Jsonb(settings),
            started_at=reader.now,
        )
        row = bulk.queries.find_import(conn, import_id=ident)
        if again and row["finished_at"] is not None:
            bulk.queries.restart_import(conn, import_id=ident, started_at=reader.now)
            row = bulk.queries.find_import(conn, import_id=ident)
    return _Ledger(
        import_id=ident,
        position=row["position"],
        rejects_bytes=row["rejects_bytes"],
        counts=Tally.from_json(row["counts"]),
        finished_at=row["finished_at"],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    """Lines that were read and checked."""

    lines: int
    last: int  # number of the last line
    checked: list[Ready | Waiting | Reject]
    no_event: int


def _batches(reader: Reader, lines: Iterator[Line], mapped: Mapped | None, rows: int) -> Iterator[_Batch]:
    checked: list[Ready | Waiting | Reject] = []
    count = no_event = size = 0
    number = None
    for line in lines:
        found = _check(reader, line, mapped)
        checked += found
        count, no_event, number, size = count + 1, no_event + (not found), line.number, size + line.size
        if count >= rows or size >= BATCH_BYTES:
            yield _Batch(lines=count, last=number, checked=checked, no_event=no_event)
            checked, count, no_event, size, number = [], 0, 0, 0, None
    if number is not None:
        yield _Batch(lines=count, last=number, checked=checked, no_event=no_event)


@contextmanager
def _taking_turns() -> Iterator[None]:
    """Python's threads change places every 5 ms; a COPY that waits so long for each of its blocks is slower than
    without a second thread."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """The same batches; the next one is read and checked while the database works on the one before."""
    with ThreadPoolExecutor(max_workers=1) as reads, _taking_turns():
        coming = reads.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reads.submit(next, batches, None)
            yield batch


def _batch(
    transaction: Transaction, reader: Reader, batch: _Batch, ledger: _Ledger, file: "_RejectFile"
) -> tuple[_Ledger, list[Reject]]:
    """One batch in one transaction: events, progress and counts together. Refused rows are on disk before it
    commits; what a killed process wrote beyond the committed length is cut off by the next."""
    with transaction() as conn, conn.transaction(force_rollback=file.is_dry):
        _still_ours(conn, ledger)
        ready, refused = _settle(conn, reader, batch.checked)
        loaded = bulk.load(conn, reader, ready)
        refused = sorted([*refused, *loaded.rejects], key=lambda reject: reject.line.number)
        counts = ledger.counts + Tally(
            lines=batch.lines,
            decisions=loaded.decisions,
            outcomes=loaded.outcomes,
            already_there=loaded.already_there,
            no_event=batch.no_event,
            rejected=Counter(reject.reason for reject in refused),
            unknown_fields=_undeclared(ready),
        )
        moved = _Ledger(
            import_id=ledger.import_id,
            position=batch.last,
            rejects_bytes=file.write(refused),
            counts=counts,
        )
        if moved.import_id is not None:
            bulk.queries.advance_import(
                conn,
                import_id=moved.import_id,
                position=moved.position,
                rejects_bytes=moved.rejects_bytes,
                counts=Jsonb(counts.to_json()),
            )
    return moved, refused


def _still_ours(conn: Conn, ledger: _Ledger) -> None:
    if ledger.import_id is not None:
        stands = bulk.queries.lock_import(conn, import_id=ledger.import_id)
        if stands["position"] != ledger.position:
            raise Refused("another process went on with this import", cure="wait for it, or end it")


def _check(reader: Reader, line: Line, mapped: Mapped | None) -> list[Ready | Waiting | Reject]:
    try:
        row = line.read()
    except (ValueError, RecursionError) as error:
        return [Reject(line=line, reason="not JSON", detail=str(error))]
    if mapped is None:
        return [bulk.check(reader, line, row, is_mapped=False)]
    try:
        rows = list(mapped(row))
    except Exception as error:  # an application's own code, on its own line
        detail = f"{type(error).__name__}: {error}"
        return [Reject(line=line, reason="the mapping function failed", detail=detail)]
    return [bulk.check(reader, line, each, is_mapped=True) for each in rows]


def _settle(
    conn: Conn, reader: Reader, checked: Sequence[Ready | Waiting | Reject]
) -> tuple[list[Ready], list[Reject]]:
    """With the requests that the task has to build; the order of the file stays."""
    built = iter(bulk.build_requests(conn, reader, [each for each in checked if isinstance(each, Waiting)]))
    done = [next(built) if isinstance(each, Waiting) else each for each in checked]
    ready = [each for each in done if isinstance(each, Ready)]
    return ready, [each for each in done if isinstance(each, Reject)]


def _undeclared(ready: Iterable[Ready]) -> Counter[str]:
    return Counter(f"{each.entry.event_type}.{name}" for each in ready for name in each.entry.undeclared)


_BEGINS = b'{"line":'


class _RejectFile:
    """Refused rows as JSON lines: {"line", "reason", "detail", "row" or "text", "event"}. None as path: nowhere."""

    def __init__(self, path: Path | None, *, length: int) -> None:
        self._path = path
        self._length = length
        self.is_dry = path is None

    def __enter__(self) -> "_RejectFile":
        if self._path is not None and (self._length or self._path.exists()):
            with self._path.open("ab+") as file:
                self._length = min(self._length, file.tell())
                file.seek(0)
                if file.read(len(_BEGINS)) not in (b"", _BEGINS):
                    raise UsageError(f"{self._path} is no file of rejects", cure="--rejects names another file")
                file.truncate(self._length)
        return self

    def __exit__(self, *_: object) -> None:
        if self._path is not None and not self._length:
            self._path.unlink(missing_ok=True)

    def write(self, rejects: Sequence[Reject]) -> int:
        """Appends, durably; returns the length of the file."""
        text = b"".join(_spelt(reject) for reject in rejects)
        if text and self._path is not None:
            with self._path.open("ab") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        self._length += len(text)
        return self._length


def _spelt(reject: Reject) -> bytes:
    head = {"line": reject.line.number, "reason": reject.reason, "detail": reject.detail}
    parts = [b'"%b":%b' % (name.encode(), orjson.dumps(_valid(value))) for name, value in head.items()]
    as_it_was = as_text(reject.line)
    if as_it_was is not None:
        parts.append(b'"row":' + as_it_was)
    else:
        text = (reject.line.text or b"").decode("utf-8", "backslashreplace")
        parts.append(b'"text":' + orjson.dumps(_valid(text)))
    if reject.row is not None:
        parts.append(b'"event":' + _event(reject.row))
    return b"{" + b",".join(parts) + b"}\n"


def _event(row: Row) -> bytes:
    try:
        return canonical_bytes(row)
    except (TypeError, ValueError, RecursionError):
        return orjson.dumps(_valid(repr(row)))


def _valid(value: object) -> object:
    """Without half characters, which orjson refuses."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
