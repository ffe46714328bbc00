"""What happened: decisions, outcomes, history."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bakeoff.events import importing
from bakeoff.events import model as event_model
from bakeoff.events import store as events
from bakeoff.events.sources import Source
from bakeoff.experiments import contexts
from bakeoff.lifecycle.deps import Deps
from bakeoff.serving import decide as serving
from bakeoff.serving.model import Own
from bakeoff.task import Served, Task


def decide(
    deps: Deps,
    task: Task,
    policy_id: str,
    *,
    key: str,
    unit_id: str,
    request: Mapping[str, Any],
    at: datetime,
    own: Own | None = None,
) -> Served:
    """request -> variant -> policy -> validated decision -> event. See `serving.decide`."""
    return serving.decide(
        deps.db, deps.engines, task, policy_id, key=key, unit_id=unit_id, request=request, at=at, own=own
    )


def log_outcome(
    deps: Deps,
    task: Task,
    *,
    event_id: str,
    event_type: str,
    unit_id: str,
    context: Mapping[str, str],
    at: datetime,
    payload: Mapping[str, Any],
) -> bool:
    """What people did with a decision -> event. False where it is in the log already."""
    outcome = event_model.outcome(
        task.event_types,
        task=task.name,
        event_id=event_id,
        event_type=event_type,
        unit_id=unit_id,
        context=context,
        occurred_at=at,
        payload=payload,
    )
    with deps.db.transaction() as conn:
        return events.append_outcome(conn, outcome, received_at=deps.clock())


def import_events(
    deps: Deps, task: Task, source: Source, *, policy_version: str | None, **how: Any
) -> importing.Report:
    """History in a file or behind a query -> events of origin 'backfill': learnt from, left out of tests. Rows
    without a context belong to `policy_version`, an adopted application; `how` as in `importing.run`."""
    with deps.db.transaction() as conn:
        reader = contexts.reader(conn, task, policy_version, now=deps.clock())
    with deps.progress.stage(f"import {source.name}") as move:
        return importing.run(deps.db.transaction, reader, source, on_move=move, **how)
