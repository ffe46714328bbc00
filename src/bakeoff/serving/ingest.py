"""Outcomes as they happen: rows of an application -> events, many at once, each with a receipt."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol, TypeVar

from bakeoff.events import bulk
from bakeoff.events.bulk import Conn, Ready, Reject
from bakeoff.events.incoming import Reader, Row
from bakeoff.events.sources import Line
from bakeoff.experiments import contexts
from bakeoff.serving.model import Receipt
from bakeoff.task import Role, Task

_MAY_BE_STALE = ("unknown variant", "it did not serve then")
Checked = Ready | Reject
T = TypeVar("T")


class Within(Protocol):
    """Runs a block in a transaction."""

    def __call__(self, block: Callable[[Conn], T]) -> T: ...


class Ingest:
    """Knows the variants of each task, and looks again when a row names one that it does not know."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: dict[str, Reader] = {}

    def reader(self, within: Within, task: Task, now: datetime, *, afresh: bool = False) -> Reader:
        with self._lock:
            found = None if afresh else self._readers.get(task.name)
        if found is None:
            found = within(lambda conn: contexts.reader(conn, task, None, now=now))
            with self._lock:
                self._readers[task.name] = found
        return replace(found, now=now)

    def check(self, within: Within, task: Task, rows: Sequence[Row], now: datetime) -> tuple[Reader, list[Checked]]:
        """Each row at the door, in their order. Raises Unreachable."""
        reader = self.reader(within, task, now)
        checked = [_check(reader, number, row) for number, row in enumerate(rows)]
        if any(isinstance(each, Reject) and each.reason in _MAY_BE_STALE for each in checked):
            reader = self.reader(within, task, now, afresh=True)
            checked = [
                _check(reader, number, rows[number])
                if isinstance(each, Reject) and each.reason in _MAY_BE_STALE
                else each
                for number, each in enumerate(checked)
            ]
        return reader, checked


def _check(reader: Reader, number: int, row: Any) -> Checked:
    line = Line(number=number, text=None, values=None)
    kind = reader.kinds.get(str(row.get("event_type"))) if isinstance(row, Mapping) else None
    if kind is not None and kind.role is Role.DECISION:
        detail = f"{kind.name} is a decision, which `decide` logs by itself"
        return Reject(line=line, reason="a decision", detail=detail)
    done = bulk.check(reader, line, row, is_mapped=False)
    assert not isinstance(done, bulk.Waiting)  # only decisions wait for a request
    return done


def store(conn: Conn, reader: Reader, rows: Sequence[Row], checked: Sequence[Checked]) -> list[Receipt]:
    """Puts what passed the door into the log; the caller's transaction makes all of it durable at once."""
    ready = [each for each in checked if isinstance(each, Ready)]
    loaded = bulk.load_live(conn, reader, ready)
    refused = {each.line.number: each for each in (*checked, *loaded.rejects) if isinstance(each, Reject)}
    fresh, receipts = set(loaded.stored), []
    for number, (row, each) in enumerate(zip(rows, checked, strict=True)):
        if number in refused:
            receipts.append(_refused(row, refused[number]))
            continue
        assert isinstance(each, Ready)
        ident = each.entry.event_id
        receipts.append(Receipt(event_id=ident, status="stored" if ident in fresh else "known"))
        fresh.discard(ident)  # the same event twice in one batch is one
    return receipts


def _refused(row: Any, reject: Reject) -> Receipt:
    sent = row.get("event_id") if isinstance(row, Mapping) else None
    detail, _, cure = reject.detail.partition("\n  ")  # as BakeoffError spells itself
    reason, cure = f"{reject.reason}: {detail}", cure or _CURES.get(reject.reason, "")
    return Receipt(event_id=str(sent or ""), status="refused", reason=reason, cure=cure or None)


_CURES = {
    "a decision": "an application that decides by itself logs with bakeoff.events.append",
    "the context of another decision": "send back the `context` that decide returned for this decision",
    "before its decision": "set the clock of the machine that sent it",
    "other content under the same id": "give each event an id of its own; a correction is a new event",
}
