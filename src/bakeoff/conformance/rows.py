"""Rows to check a task on, out of a file: what an application has before anything is in the log."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bakeoff.errors import UsageError
from bakeoff.events import sources
from bakeoff.fingerprint import digest
from bakeoff.task import Episode, EventType, LoggedEvent, Request, RequestKey, Role, Task

BARE = "request"
"""Origin of a decision that stands for a request alone: nothing is known of the answer and of what came of it."""
_EXPECTED = (
    "expected an object: a request, or an event as `bakeoff events import` takes it, with event_type, unit_id, "
    "decision_id, occurred_at, payload, and request or request_key"
)
_LOOK_ON = 20_000  # lines after the last decision that is wanted, for what people did with it

Mapped = Callable[[Mapping[str, Any]], Iterable[Mapping[str, Any]]]
"""A line of an application's own log -> events."""
Build = Callable[[Sequence[RequestKey]], Sequence[Request | None]]
"""Keys -> requests out of the application's tables."""
Placed = tuple[str, Any]
"""Where a row comes from, for messages; the row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decided:
    """A decision of the file, with the request or how to get it."""

    event: LoggedEvent
    need_id: str
    request: Request | RequestKey


def read_rows(
    task: Task, file: Path, *, most: int, mapped: Mapped | None = None, build: Build | None = None
) -> list[Episode]:
    """Episodes of the first `most` decisions of a file (.jsonl, .jsonl.gz, .parquet) of requests or events; with
    `mapped` of an application's own lines. Several decisions of one need stay apart: each is a row of its own here.
    Raises UsageError that names the line."""
    return episodes_of(task, _placed(file, mapped), most=most, build=build)


def _placed(file: Path, mapped: Mapped | None) -> Iterator[Placed]:
    for line in sources.open_file(file).lines(skip=0):
        place = f"{file.name}:{line.number}"
        try:
            row = line.read()
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{place} is no JSON: {error}", cure=_EXPECTED) from error
        if not isinstance(row, Mapping):
            raise UsageError(f"{place} is a {type(row).__name__}", cure=_EXPECTED)
        if mapped is None:
            yield place, row
            continue
        try:
            yield from [(place, event) for event in mapped(row)]
        except Exception as error:
            raise UsageError(
                f"{place}: the mapping raised {type(error).__name__}: {error}",
                cure="let it give nothing for lines that are no event",
            ) from error


def episodes_of(
    task: Task, rows: Iterable[Placed], *, most: int | None = None, build: Build | None = None
) -> list[Episode]:
    """Episodes of (place, row) pairs, in the order of their decisions. Raises UsageError."""
    kinds = {kind.name: kind for kind in task.event_types}
    decided: dict[str, _Decided] = {}
    outcomes: dict[str, list[LoggedEvent]] = {}
    after = 0
    for place, row in rows:
        full = most is not None and len(decided) >= most
        after += full
        if after > _LOOK_ON:
            break
        if "event_type" not in row:
            if not full:
                decided[place] = _Decided(event=_bare(task, place), need_id="", request=row)
            continue
        event = _event(kinds, place, row)
        ident = str(event.decision_id)
        if event.role is not Role.DECISION:
            outcomes.setdefault(ident, []).append(event)
        elif not full:
            need = str(row.get("need_id") or "")
            decided.setdefault(ident, _Decided(event=event, need_id=need, request=_request(place, row)))
    return _episodes(decided, outcomes, build)


def _episodes(
    decided: Mapping[str, _Decided], outcomes: Mapping[str, Sequence[LoggedEvent]], build: Build | None
) -> list[Episode]:
    keys = [each.request for each in decided.values() if isinstance(each.request, RequestKey)]
    if keys and build is None:
        raise UsageError(
            "the file names requests by request_key", cure="they are built from tables, which are not at hand here"
        )
    built = dict(zip(keys, build(keys), strict=True)) if build is not None and keys else {}
    found = []
    for ident, each in decided.items():
        request = built[each.request] if isinstance(each.request, RequestKey) else each.request
        if request is None:
            raise UsageError(
                f"the task built no request for {each.request}",
                cure="see why Task.requests gives None for this key: are the application's tables in this database?",
            )
        found.append(_episode(each, request, outcomes.get(ident, ())))
    return found


def _request(place: str, row: Mapping[str, Any]) -> Request | RequestKey:
    found, key = row.get("request"), row.get("request_key")
    if isinstance(found, Mapping):
        return found
    if not isinstance(key, Mapping) or not {"unit_id", "need_id", "as_of"} <= set(key):
        raise UsageError(
            f"{place} is a decision without its request",
            cure='put in "request", or "request_key": {"unit_id", "need_id", "as_of"}',
        )
    return RequestKey(unit_id=str(key["unit_id"]), need_id=str(key["need_id"]), as_of=_moment(place, key["as_of"]))


def _moment(place: str, value: object) -> datetime:
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise UsageError(f"{place}: {value!r} is no moment", cure="expected for instance 2025-01-06T08:00Z") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _bare(task: Task, place: str) -> LoggedEvent:
    kind = next((kind.name for kind in task.event_types if kind.role is Role.DECISION), "decided")
    return _logged(kind, Role.DECISION, place, place, datetime(2000, 1, 1, tzinfo=UTC), {}, BARE)


def _event(kinds: Mapping[str, EventType], place: str, row: Mapping[str, Any]) -> LoggedEvent:
    kind = kinds.get(str(row["event_type"]))
    if kind is None:
        raise UsageError(
            f"{place} has the unknown event type {row['event_type']!r}", cure=f"known: {', '.join(sorted(kinds))}"
        )
    missing = [name for name in ("unit_id", "decision_id", "occurred_at", "payload") if name not in row]
    if missing:
        raise UsageError(f"{place} lacks {', '.join(missing)}", cure=_EXPECTED)
    at = _moment(place, row["occurred_at"])
    return _logged(kind.name, kind.role, str(row["decision_id"]), str(row["unit_id"]), at, row["payload"], "backfill",
                   event_id=str(row.get("event_id") or place))  # fmt: skip


def _logged(
    event_type: str, role: Role, decision_id: str, unit_id: str, at: datetime, payload: Mapping[str, Any], origin: str,
    event_id: str | None = None,
) -> LoggedEvent:  # fmt: skip
    return LoggedEvent(
        event_id=event_id or decision_id,
        event_type=event_type,
        role=role,
        unit_id=unit_id,
        decision_id=decision_id,
        occurred_at=at,
        experiment_id="",
        variant_id="",
        policy_version_id="",
        served_policy_version_id=None,
        payload=payload,
        origin=origin,
    )


def _episode(decided: _Decided, request: Request, outcomes: Sequence[LoggedEvent]) -> Episode:
    return Episode(
        need_id=decided.need_id,
        unit_id=decided.event.unit_id,
        request=request,
        request_digest=digest(request),
        decisions=(decided.event,),
        outcomes=tuple(sorted(outcomes, key=lambda event: (event.occurred_at, event.event_id))),
    )


def bare(task: Task, place: str, request: Request) -> Episode:
    """A row of which nothing but the request is known; `place` stands for its decision id."""
    return _episode(_Decided(event=_bare(task, place), need_id="", request=request), request, ())


def is_bare(row: Episode) -> bool:
    """Whether nothing but the request is known."""
    return row.decision.origin == BARE
