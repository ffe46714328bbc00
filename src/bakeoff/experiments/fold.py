"""fold: the log of a test -> what each of its needs came to. Incremental: only needs with events that arrived since
the last time are read again. The result depends on the events alone, not on when or in what order they arrived.

Arrival is stamped by whoever writes, before it commits. So what arrived lately is read again each time, and what
arrived before is counted: if there is more of it than there was, somebody wrote late, and all is folded anew."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from tempfile import TemporaryFile

from bakeoff.events import store as events
from bakeoff.experiments import outcomes
from bakeoff.experiments.model import ExperimentSpec
from bakeoff.experiments.needs import NeedOutcome, is_live, measure, metrics, shape
from bakeoff.task import Metric, Task

OVERLAP = timedelta(minutes=10)
"""How long a writer may take from the stamp of arrival to its commit without a fold from scratch."""
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def fold(conn: outcomes.Conn, task: Task, experiment_id: str, spec: ExperimentSpec, *, afresh: bool = False) -> None:
    """Brings what is derived of a test up to its log. `afresh`: from scratch, with the same result."""
    outcomes.lock(conn, experiment_id)
    known = outcomes.fold(conn, experiment_id)
    seen = events.received(conn, experiment_id, before=known.received_until if known else _NEVER)
    since = known.received_until if known else None
    if afresh or known is None or known.shape != shape(task) or known.counted != seen.before:
        outcomes.forget(conn, experiment_id)
        since = None
    until = _NEVER if seen.newest is None else seen.newest - OVERLAP
    counted = events.received(conn, experiment_id, before=until).before  # before the needs are read: see above
    _fold_needs(conn, task, experiment_id, since)
    if spec.cuped_weeks:
        _fold_baselines(conn, task, experiment_id, timedelta(weeks=spec.cuped_weeks))
    names = [metric.name for metric in metrics(task)]
    outcomes.put_fold(
        conn, experiment_id, outcomes.Fold(shape=shape(task), metrics=names, received_until=until, counted=counted)
    )


def _fold_needs(conn: outcomes.Conn, task: Task, experiment_id: str, since: datetime | None) -> None:
    measured = measure(task)
    keys: list[tuple[str, str]] = []
    with TemporaryFile() as rows:  # the connection reads first and writes then
        for one in events.needs_changed(conn, task.name, experiment_id, since=since):
            if since is not None:
                keys.append((one.unit_id, one.need_id))
            if is_live(one):
                rows.write(outcomes.need_row(experiment_id, measured(one)))
        outcomes.remove_needs(conn, experiment_id, keys)
        outcomes.put_needs(conn, rows)


def _fold_baselines(conn: outcomes.Conn, task: Task, experiment_id: str, reach: timedelta) -> None:
    """Once per unit: what was known of it when it met the test never changes."""
    every, measured = metrics(task), measure(task)
    past = ((moment, measured(one)) for moment, one in events.needs_before(conn, task.name, experiment_id, reach=reach))
    with TemporaryFile() as rows:
        for unit_id, found in groupby(past, key=lambda pair: pair[1].unit_id):
            rows.write(outcomes.baseline_row(experiment_id, _baseline(every, unit_id, list(found))))
        outcomes.put_baselines(conn, experiment_id, rows)


def _baseline(every: Sequence[Metric], unit_id: str, past: Sequence[tuple[datetime, NeedOutcome]]) -> outcomes.Baseline:
    """The sums of needs whose window had closed when the unit met the test; in the order of the needs, so that they
    are added up in one order."""
    sums, needs = [], []
    for place, metric in enumerate(every):
        window = timedelta(hours=metric.matures_hours)
        closed = (one.measured[place] for moment, one in past if one.began_at + window <= moment)
        values = [value for value in closed if value is not None]
        sums.append(sum(values, 0.0))
        needs.append(len(values))
    return outcomes.Baseline(unit_id=unit_id, sums=sums, needs=needs)
