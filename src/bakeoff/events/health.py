"""What is wrong with a log: counts and examples for ``bakeoff doctor``. Reads only; pure SQL, nothing is loaded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection

from bakeoff.events.model import SKEW
from bakeoff.task import Role, Task

queries = aiosql.from_path(Path(__file__).with_name("health.sql"), "psycopg")
Conn = Connection[dict[str, Any]]
PATIENCE = timedelta(days=7)
"""How long an outcome may wait for its decision."""
NEWEST_EVENTS, SOME_REQUESTS = 20_000, 1_000
METADATA = "events without experiment, variant or policy version"
_MINUTES = SKEW.seconds // 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked for."""

    name: str  # for people; always the same
    count: int  # 0: all is well
    examples: tuple[str, ...]  # event ids, digests or names, at most three (types and fields: all)
    what_to_do: str
    is_wrong: bool = True  # False: tolerated, worth knowing


def examine(conn: Conn, task: Task, now: datetime) -> tuple[Finding, ...]:
    """Everything that is looked for in the log of `task`, in a fixed order, found or not. `now` is UTC.

    Where the table of events is not bakeoff's own (a view over another) and lacks what every event must name, that
    is the only finding: the other questions cannot be asked."""
    lacking = _metadata(conn)
    if lacking.count and not lacking.examples:
        return (lacking,)
    return (lacking, *_contexts(conn, task, now), *_types(conn, task), *_clocks(conn, task), *_requests(conn, task))


def _metadata(conn: Conn) -> Finding:
    suspects = list(queries.may_lack_metadata(conn))
    missing = [row["name"] for row in suspects if row["is_missing"]]
    row: Mapping[str, Any] = {"count": 0, "examples": None}
    if missing:
        row = {"count": len(missing), "examples": None}
    elif suspects:
        row = queries.null_metadata(conn)
    lost = f"; the table has no {', '.join(missing)}" if missing else ""
    return _finding(
        METADATA,
        row,
        "no such event can be learnt from or compared: bring the log in with `bakeoff events import`, which refuses "
        f"rows without a context, into bakeoff's own table{lost}",
    )


def _contexts(conn: Conn, task: Task, now: datetime) -> Iterator[Finding]:
    yield _finding(
        "outcomes whose context is not their decision's",
        queries.other_context(conn, task=task.name),
        "they came before their decision and join no episode; send back the `context` that decide returned",
    )
    yield _finding(
        f"outcomes without a decision after {PATIENCE.days} days",
        queries.without_decision(conn, task=task.name, before=now - PATIENCE),
        "their decision was never logged: does the application lose some, or send ids of its own?",
    )
    yield _finding(
        "decisions of a test without an exposure",
        queries.without_exposure(conn, task=task.name),
        "they were written past `decide`, so the test does not see their units; log decisions through decide",
    )


def _types(conn: Conn, task: Task) -> Iterator[Finding]:
    kinds = {kind.name: kind for kind in task.event_types}
    strange = [row for row in queries.event_types(conn, task=task.name) if _role(kinds, row) != row["role"]]
    yield Finding(
        name="events of types that the task does not declare",
        count=sum(row["count"] for row in strange),
        examples=tuple(f"{row['event_type']} ({row['role']}): {row['count']}" for row in strange),
        what_to_do="declare the type in the task's event_types, or stop logging it; nobody reads it",
    )
    fields = [
        row
        for row in queries.payload_fields(conn, task=task.name, sample=NEWEST_EVENTS)
        if row["event_type"] in kinds and row["field"] not in kinds[row["event_type"]].fields | _written(kinds, row)
    ]
    yield Finding(
        name=f"payload fields that no event type declares (newest {NEWEST_EVENTS} events)",
        count=sum(row["count"] for row in fields),
        examples=tuple(f"{row['event_type']}.{row['field']}: {row['count']}" for row in fields),
        what_to_do="they are kept; declare them in the payload's TypedDict, and a wrong type is refused at the door",
        is_wrong=False,
    )


def _role(kinds: Mapping[str, Any], row: Mapping[str, Any]) -> str | None:
    kind = kinds.get(row["event_type"])
    return None if kind is None else str(kind.role.value)


DECIDED = frozenset((
    "answer", "raw_answer", "parsed_answer", "probabilities", "violations", "repaired", "fallback_reason", "served_by",
    "spec_fingerprint", "prompt_tokens", "completion_tokens", "model_steps", "latency_s", "cost",
))  # fmt: skip
"""Fields that `serving.decide` writes into every decision, whatever the task."""


def _written(kinds: Mapping[str, Any], row: Mapping[str, Any]) -> frozenset[str]:
    return DECIDED if kinds[row["event_type"]].role is Role.DECISION else frozenset()


def _clocks(conn: Conn, task: Task) -> Iterator[Finding]:
    clock = f"tolerated up to {_MINUTES} minutes, refused beyond; set the clocks of the machines by NTP"
    yield _finding(
        "events from the future", queries.from_the_future(conn, task=task.name), clock, is_wrong=False
    )  # fmt: skip
    yield _finding(
        "outcomes before their decision", queries.before_decision(conn, task=task.name), clock, is_wrong=False
    )  # fmt: skip


def _requests(conn: Conn, task: Task) -> Iterator[Finding]:
    yield _finding(
        f"requests whose digest is not their body's (a sample of {SOME_REQUESTS})",
        queries.other_digest(conn, task=task.name, sample=SOME_REQUESTS),
        "they were written past bakeoff; what was learnt from them is not what a policy saw",
    )


def _finding(name: str, row: Mapping[str, Any], what_to_do: str, *, is_wrong: bool = True) -> Finding:
    examples: Sequence[str] = row["examples"] or ()
    return Finding(
        name=name, count=row["count"], examples=tuple(examples), what_to_do=what_to_do, is_wrong=is_wrong
    )  # fmt: skip
