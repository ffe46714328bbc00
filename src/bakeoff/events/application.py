"""The way in for an application's own transaction: its plan and our event are written together, or not at all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from psycopg import Connection, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from bakeoff.errors import UsageError
from bakeoff.events import store
from bakeoff.events.model import Decision, decision, outcome
from bakeoff.fingerprint import digest
from bakeoff.task import Request, Role, Task


def append(
    conn: Connection[Any],
    task: Task,
    *,
    event_id: str,
    event_type: str,
    unit_id: str,
    context: Mapping[str, str],
    occurred_at: datetime,
    payload: Mapping[str, Any],
    received_at: datetime,
    request: Request | None = None,
    assignment_probability: float | None = None,
    action_propensity: float | None = None,
    schema: str = "exp",
) -> bool:
    """Appends one event in the transaction that `conn` is in. True where it is new, False where the same event is
    there already. Nothing is committed: the application's own rows and this event become durable together.

    ::

        from bakeoff import events

        with psycopg.connect(dsn) as conn:                      # one transaction
            conn.execute("insert into app.accepted_plans (plan_id, plan) values (%s, %s)", (plan_id, Jsonb(plan)))
            events.append(
                conn, task, event_id=str(uuid4()), event_type="plan_accepted", unit_id=household,
                context=served.context, occurred_at=now, received_at=now,
                payload={"accepted_by": "user", "entries": plan},
            )

    conn: a psycopg connection of the application, whatever its search path and row factory, not in autocommit
    outside of a transaction. event_id: a uuid made once per event: the same again is one event. context: what
    `decide` returned, complete (`decision_id`, `experiment_id`, `variant_id`, `policy_version_id`).
    occurred_at, received_at: with time zone; `received_at` is now. schema: where bakeoff's tables lie.

    For a decision that the application made by itself, give `request` (the whole context that it decided on) and,
    where they are known, `assignment_probability` and `action_propensity` (above 0, up to 1); `event_id` is the
    decision's id, and the context's `decision_id` is the same.

    Raises UsageError for an unknown event type, a wrong payload, an incomplete context, an event from the future,
    an id that is taken by other content, and an outcome whose context is not its decision's."""
    role = next((kind.role for kind in task.event_types if kind.name == event_type), None)
    if role is not None and (role is Role.DECISION) == (request is None):
        raise UsageError(
            f"event {event_type} came {'without' if request is None else 'with'} a request",
            cure="a decision needs the request that it was made on, an outcome has none",
        )
    event: dict[str, Any] = {
        "event_id": event_id,
        "event_type": event_type,
        "unit_id": unit_id,
        "context": context,
        "occurred_at": occurred_at,
        "payload": payload,
    }
    if request is None:
        checked = outcome(task.event_types, task=task.name, **event)
        with _our_tables(conn, schema) as ours:
            return store.append_outcome(ours, checked, received_at=received_at)
    event |= {"assignment_probability": assignment_probability, "action_propensity": action_propensity}
    made = decision(task, request=request, **event)
    with _our_tables(conn, schema) as ours:
        return _append_decision(ours, made, received_at)


def _append_decision(conn: store.Conn, made: Decision, received_at: datetime) -> bool:
    if made.event_id != made.context.decision_id:
        raise UsageError(
            f"decision {made.context.decision_id} came as event {made.event_id}",
            cure="a decision's event_id is its decision_id",
        )
    inserted = store.append_decision(conn, made, received_at=received_at)
    if not inserted:
        store.check_same(conn, made.event_id, made.event_type, made.content_digest(digest(made.request)))
    return inserted


@contextmanager
def _our_tables(conn: Connection[Any], schema: str) -> Iterator[store.Conn]:
    """`conn` as the store wants it, for one append: our schema first on the search path of this transaction, rows
    as dicts. Both are put back."""
    if conn.autocommit and conn.info.transaction_status == TransactionStatus.IDLE:
        raise UsageError(
            "the connection commits every statement on its own",
            cure="append inside of a transaction: with conn.transaction(): ...",
        )
    factory, before = conn.row_factory, _search_path(conn)
    ours = sql.Identifier(schema).as_string(conn)
    conn.execute("select set_config('search_path', %s, true)", (f"{ours}, {before}" if before else ours,))
    conn.row_factory = dict_row
    try:
        yield conn
    finally:
        conn.row_factory = factory
        if conn.info.transaction_status == TransactionStatus.INTRANS:  # a failed one forgets the path by itself
            conn.execute("select set_config('search_path', %s, true)", (before,))


def _search_path(conn: Connection[Any]) -> str:
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("select current_setting('search_path') as path").fetchone()
    return str(row["path"]) if row else ""
