"""The log in PostgreSQL. The caller owns the transaction: a product can write its plan and our event atomically."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection
from psycopg.types.json import Json, Jsonb

from bakeoff.errors import UsageError
from bakeoff.events.model import Decision, Outcome
from bakeoff.fingerprint import canonical_json, digest
from bakeoff.task import Episode, LoggedEvent, Role

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]


def append_decision(conn: Conn, decision: Decision, *, received_at: datetime) -> bool:
    """Appends a decision with its request; False where this decision is in the log already (a retry that lost
    the race: the stored answer counts)."""
    inserted = queries.insert_decision(
        conn,
        **_columns(decision, received_at),
        content_digest=digest(decision.payload),
        need_id=decision.need_id,
        request_digest=digest(decision.request),
        request_version=decision.request_version,
        body=Json(decision.request, dumps=canonical_json),
        served_policy_version_id=decision.served_policy_version_id,
        assignment_probability=decision.assignment_probability,
        action_propensity=decision.action_propensity,
    )
    return bool(inserted)


def append_outcome(conn: Conn, outcome: Outcome, *, received_at: datetime) -> bool:
    """Appends an outcome; False where the same event is there already. Raises UsageError where the id is taken
    by other content, or where the context is not that of the decision."""
    decision = queries.decision_by_id(conn, decision_id=outcome.context.decision_id)
    if decision is not None:
        _same_context(decision, outcome)
    inserted = queries.insert_outcome(
        conn,
        **_columns(outcome, received_at),
        content_digest=outcome.content_digest,
        role=outcome.role.value,
    )
    if not inserted:
        stored = queries.event_by_id(conn, event_id=outcome.event_id)
        if stored["content_digest"] != outcome.content_digest:
            raise UsageError(
                f"event {outcome.event_id} exists with other content ({stored['event_type']} "
                f"{stored['content_digest']}, now {outcome.event_type} {outcome.content_digest})",
                cure="give each event an id of its own; a correction is a new event",
            )
    return bool(inserted)


def find_decision(conn: Conn, decision_id: str) -> dict[str, Any] | None:
    """The decision's row with its request, or None."""
    row: dict[str, Any] | None = queries.decision_by_id(conn, decision_id=decision_id)
    return row


def outcomes_of(conn: Conn, decision_id: str) -> list[dict[str, Any]]:
    return list(queries.outcomes_of(conn, decision_id=decision_id))


def episodes(
    conn: Conn, task: str, *, since: datetime, until: datetime, experiment_id: str | None = None
) -> Iterator[Episode]:
    """Needs whose decisions lie in [since, until), with what was known of them before `until`; ordered by unit
    and need. `experiment_id` limits them to one experiment."""
    window = {"task": task, "since": since, "until": until, "experiment_id": experiment_id}
    known: defaultdict[str, list[LoggedEvent]] = defaultdict(list)
    for row in queries.outcomes(conn, **window):
        known[str(row["decision_id"])].append(_logged(row))
    rows: Iterable[dict[str, Any]] = queries.decisions(conn, **window)
    for (unit_id, need_id), group in groupby(rows, key=lambda row: (row["unit_id"], row["need_id"])):
        decisions = sorted(group, key=lambda row: (row["occurred_at"], str(row["event_id"])))
        outcomes = [event for row in decisions for event in known[str(row["decision_id"])]]
        yield Episode(
            need_id=need_id,
            unit_id=unit_id,
            request=decisions[0]["request"],
            request_digest=decisions[0]["request_digest"],
            decisions=tuple(_logged(row) for row in decisions),
            outcomes=tuple(sorted(outcomes, key=lambda event: (event.occurred_at, event.event_id))),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LogSummary:
    """How much is in the log of one task."""

    events: int
    decisions: int
    units: int
    first_at: datetime | None
    last_at: datetime | None


def summarize(conn: Conn, task: str) -> LogSummary:
    return LogSummary(**queries.count_events(conn, task=task))


def _columns(event: Decision | Outcome, received_at: datetime) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "task": event.task,
        "unit_id": event.unit_id,
        **event.context.as_dict(),
        "origin": event.origin,
        "occurred_at": event.occurred_at,
        "received_at": received_at,
        "payload": Jsonb(dict(event.payload)),
    }


def _same_context(decision: Mapping[str, Any], outcome: Outcome) -> None:
    for name, sent in [*outcome.context.as_dict().items(), ("unit_id", outcome.unit_id), ("task", outcome.task)]:
        if str(decision[name]) != sent:
            raise UsageError(
                f"event {outcome.event_id} says {name} {sent}, but decision {outcome.context.decision_id} "
                f"was made with {decision[name]}",
                cure="send back the `context` that decide returned for this decision",
            )


def _logged(row: Mapping[str, Any]) -> LoggedEvent:
    return LoggedEvent(
        event_id=str(row["event_id"]),
        event_type=row["event_type"],
        role=Role(row["role"]),
        unit_id=row["unit_id"],
        decision_id=str(row["decision_id"]),
        occurred_at=row["occurred_at"],
        experiment_id=str(row["experiment_id"]),
        variant_id=str(row["variant_id"]),
        policy_version_id=str(row["policy_version_id"]),
        served_policy_version_id=None
        if row["served_policy_version_id"] is None
        else str(row["served_policy_version_id"]),
        payload=row["payload"],
        origin=row["origin"],
        assignment_probability=row["assignment_probability"],
        action_propensity=row["action_propensity"],
    )
