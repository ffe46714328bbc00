"""The log in PostgreSQL. The caller owns the transaction: a product can write its plan and our event atomically."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection
from psycopg.types.json import Json, Jsonb

from bakeoff.errors import UsageError
from bakeoff.events.canonical import canonical_bytes, loads
from bakeoff.events.model import SKEW, Decision, Outcome, check_future
from bakeoff.fingerprint import digest_bytes
from bakeoff.task import Episode, LoggedEvent, Role

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]


def append_decision(conn: Conn, decision: Decision, *, received_at: datetime) -> bool:
    """Appends a decision with its request; False where this decision is in the log already (a retry that lost
    the race: the stored answer counts). Raises UsageError for a decision from the future."""
    check_future(decision.occurred_at, received_at=received_at)
    body = canonical_bytes(decision.request)
    request_digest = digest_bytes(body)
    inserted = queries.insert_decision(
        conn,
        **_columns(decision, received_at),
        content_digest=decision.content_digest(request_digest),
        need_id=decision.need_id,
        request_digest=request_digest,
        request_version=decision.request_version,
        body=Json(body, dumps=bytes),
        served_policy_version_id=decision.served_policy_version_id,
        assignment_probability=decision.assignment_probability,
        action_propensity=decision.action_propensity,
    )
    return bool(inserted)


def append_outcome(conn: Conn, outcome: Outcome, *, received_at: datetime) -> bool:
    """Appends an outcome; False where the same event is there already. Raises UsageError where the id is taken
    by other content, where the context is not that of the decision, or where its time cannot be."""
    check_future(outcome.occurred_at, received_at=received_at)
    decision = queries.decision_by_id(conn, decision_id=outcome.context.decision_id)
    if decision is not None:
        _same_context(decision, outcome)
        _not_before(decision, outcome)
    inserted = queries.insert_outcome(
        conn,
        **_columns(outcome, received_at),
        content_digest=outcome.content_digest,
        role=outcome.role.value,
    )
    if not inserted:
        check_same(conn, outcome.event_id, outcome.event_type, outcome.content_digest)
    return bool(inserted)


def check_same(conn: Conn, event_id: str, event_type: str, content_digest: str) -> None:
    """Raises UsageError where the event with this id has other content."""
    stored = queries.event_by_id(conn, event_id=event_id)
    if stored is None or stored["content_digest"] != content_digest:
        is_there = f"{stored['event_type']} {stored['content_digest']}" if stored else "as another decision"
        raise UsageError(
            f"event {event_id} exists with other content ({is_there}, now {event_type} {content_digest})",
            cure="give each event an id of its own; a correction is a new event",
        )


def find_decision(conn: Conn, decision_id: str) -> dict[str, Any] | None:
    """The decision's row with its request, or None."""
    row: dict[str, Any] | None = queries.decision_by_id(conn, decision_id=decision_id)
    return row


def outcomes_of(conn: Conn, decision_id: str) -> list[dict[str, Any]]:
    return list(queries.outcomes_of(conn, decision_id=decision_id))


def decision_of_event(conn: Conn, event_id: str) -> str | None:
    """The decision that an event belongs to; None for an unknown event."""
    found = queries.event_decision(conn, event_id=event_id)
    return None if found is None else str(found)


def decisions_of_unit(conn: Conn, unit_id: str) -> list[dict[str, Any]]:
    """What was ever decided for a unit, oldest first, without requests and answers."""
    return [dict(row) for row in queries.decisions_of_unit(conn, unit_id=unit_id)]


def episodes(
    conn: Conn, task: str, *, since: datetime, until: datetime, experiment_id: str | None = None
) -> Iterator[Episode]:
    """Needs whose decisions lie in [since, until), with what was known of them before `until`; by the time of their
    first decision, then its id. `experiment_id` limits them to one experiment.

    A stream: while it is read, the connection does nothing else."""
    for episode, _ in stored_episodes(conn, task, since=since, until=until, experiment_id=experiment_id):
        yield episode


def stored_episodes(
    conn: Conn,
    task: str,
    *,
    since: datetime,
    until: datetime,
    experiment_id: str | None = None,
    decision_ids: list[str] | None = None,
) -> Iterator[tuple[Episode, bytes]]:
    """`episodes`, each with the text of its request as it was digested; with `decision_ids` only of the needs that
    one of these belongs to.

    By COPY, so that the server goes on working while we do; in a savepoint, so that a reader may stop early."""
    window = {"task": task, "since": since, "until": until}
    window |= {"experiment_id": experiment_id, "decision_ids": decision_ids}
    query = f"copy ({queries.needs.sql.rstrip(';')}) to stdout (format binary)"
    with conn.transaction(), conn.cursor() as cursor, cursor.copy(query, window) as copy:
        copy.set_types(("text", "text", "text", "bytea", "bytea"))
        for unit_id, need_id, request_digest, body, told in copy.rows():
            yield _episode(unit_id, need_id, request_digest, body, loads(told)), body


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """How much of an experiment has arrived."""

    before: int  # events that arrived before the moment asked for
    newest: datetime | None  # when the newest of all arrived; None where there is none


def received(conn: Conn, experiment_id: str, *, before: datetime) -> Received:
    return Received(**queries.received(conn, experiment_id=experiment_id, before=before))


def needs_changed(conn: Conn, task: str, experiment_id: str, *, since: datetime | None) -> Iterator[Episode]:
    """Needs of an experiment with an event that arrived since a moment (None: all of them), each whole, in no order.

    A stream: while it is read, the connection does nothing else."""
    which = queries.decisions_of if since is None else queries.decisions_changed
    window = {"task": task, "experiment_id": experiment_id} | ({} if since is None else {"since": since})
    for _, episode in _told_needs(conn, which.sql, window):
        yield episode


def needs_before(conn: Conn, task: str, experiment_id: str, *, reach: timedelta) -> Iterator[tuple[datetime, Episode]]:
    """What units did in the stretch `reach` before they met a test, as far as it was known then, with that moment; of
    units whose past nobody has looked at. By unit and need; a stream as above."""
    window = {"task": task, "experiment_id": experiment_id, "reach": reach}
    return _told_needs(
        conn, queries.decisions_before.sql, window, 'order by n.unit_id collate "C", n.need_id collate "C"'
    )


def _told_needs(
    conn: Conn, which: str, window: Mapping[str, Any], order: str = ""
) -> Iterator[tuple[datetime, Episode]]:
    needs = f"with needs as ({which.rstrip(';')}) {queries.told_needs.sql.rstrip(';')} {order}"
    query = f"copy ({needs}) to stdout (format binary)"
    with conn.transaction(), conn.cursor() as cursor, cursor.copy(query, window) as copy:
        copy.set_types(("text", "text", "text", "timestamptz", "bytea", "bytea"))
        for unit_id, need_id, request_digest, known_at, body, told in copy.rows():
            yield known_at, _episode(unit_id, need_id, request_digest, body, loads(told))


def count_decisions(conn: Conn, task: str, *, since: datetime, until: datetime) -> int:
    """In [since, until)."""
    return int(queries.count_decisions(conn, task=task, since=since, until=until))


def _episode(unit_id: str, need_id: str, request_digest: str, body: bytes, told: list[list[Any]]) -> Episode:
    known = [_told(unit_id, *values) for values in told]
    decisions = tuple(event for event in known if event.role is Role.DECISION)
    variants = {event.decision_id: event.variant_id for event in decisions}
    return Episode(
        need_id=need_id,
        unit_id=unit_id,
        request=loads(body),
        request_digest=request_digest,
        decisions=decisions,
        outcomes=tuple(
            event
            for event in known
            if event.role is not Role.DECISION and variants[event.decision_id] == event.variant_id
        ),
    )


_ROLES = {role.value: role for role in Role}


def _told(unit_id: str, event_id: str, event_type: str, role: str, *more: Any) -> LoggedEvent:
    """One event as the query `needs` writes it."""
    decision_id, experiment_id, variant_id, assigned, served, occurred_at, origin, probability, propensity, said = more
    return LoggedEvent(
        event_id=event_id,
        event_type=event_type,
        role=_ROLES[role],
        unit_id=unit_id,
        decision_id=decision_id,
        occurred_at=datetime.fromisoformat(occurred_at).astimezone(UTC),
        experiment_id=experiment_id,
        variant_id=variant_id,
        policy_version_id=assigned,
        served_policy_version_id=served,
        payload=said,
        origin=origin,
        assignment_probability=probability,
        action_propensity=propensity,
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
        "payload": Jsonb(event.payload, dumps=canonical_bytes),
    }


def _same_context(decision: Mapping[str, Any], outcome: Outcome) -> None:
    for name, sent in [*outcome.context.as_dict().items(), ("unit_id", outcome.unit_id), ("task", outcome.task)]:
        if str(decision[name]) != sent:
            raise UsageError(
                f"event {outcome.event_id} says {name} {sent}, but decision {outcome.context.decision_id} "
                f"was made with {decision[name]}",
                cure="send back the `context` that decide returned for this decision",
            )


def _not_before(decision: Mapping[str, Any], outcome: Outcome) -> None:
    if decision["occurred_at"] - outcome.occurred_at > SKEW:
        raise UsageError(
            f"event {outcome.event_id} says it happened at {outcome.occurred_at.isoformat()}, before its decision "
            f"{outcome.context.decision_id}, made at {decision['occurred_at'].isoformat()}",
            cure=f"clocks may differ by {SKEW.seconds // 60} minutes; set the clock of the machine that sent it",
        )
