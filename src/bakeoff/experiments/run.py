"""The life of a test: open it, look at it, do what the evidence says. The caller owns the transaction."""

from datetime import datetime, timedelta

from bakeoff.errors import Refused, UsageError
from bakeoff.events import store as events
from bakeoff.experiments import needs, outcomes, store
from bakeoff.experiments.analyze import analyze
from bakeoff.experiments.fold import fold
from bakeoff.experiments.model import Advice, Analysis, Experiment, ExperimentSpec, Phase, Snapshot
from bakeoff.experiments.ramp import advise
from bakeoff.task import Task

ENDS = {"rollback": "rolled_back", "keep": "kept", "ship": "shipped"}
"""Verdict -> the status that a test ends with."""


def open_test(
    conn: store.Conn,
    policy_id: str,
    policy_version_id: str,
    spec: ExperimentSpec,
    *,
    name: str,
    label: str,
    now: datetime,
) -> Experiment:
    """Two variants and a first phase; a test with this name that was opened before is returned as it is.

    `label` is what people call the version. Raises Refused where the version serves everyone already, or another
    test of the policy runs; the database refuses a version without approval and a first phase above 10 %."""
    incumbent = store.incumbent(conn, policy_id)
    experiment = store.insert_experiment(conn, policy_id=policy_id, kind="test", name=name, spec=spec, now=now)
    if experiment.status != "created":
        return experiment
    _check_startable(conn, policy_id, policy_version_id == incumbent, label)
    treated, control = (
        store.insert_variant(
            conn, experiment_id=experiment.experiment_id, name=role, role=role, policy_version_id=version
        )
        for role, version in (("treated", policy_version_id), ("control", incumbent))
    )
    store.insert_phase(
        conn,
        experiment_id=experiment.experiment_id,
        treated=treated,
        control=control,
        treated_bp=spec.stages[0],
        snapshot_id=None,
        now=now,
    )
    store.set_running(conn, experiment.experiment_id, now=now)
    return store.find_experiment(conn, experiment.experiment_id)


def _check_startable(conn: store.Conn, policy_id: str, is_incumbent: bool, label: str) -> None:
    if is_incumbent:
        raise Refused(f"{label} serves everyone already; a test compares another version with it")
    running = store.running_test(conn, policy_id)
    if running is not None:
        raise Refused(
            f"experiment {running.experiment_id} of {policy_id} is running; a policy has one test at a time",
            cure="bakeoff experiment status shows it, bakeoff experiment stop --reason ... ends it",
        )


def look(
    conn: store.Conn, task: Task, experiment: Experiment, now: datetime, *, afresh: bool = False
) -> tuple[Phase, Analysis, Advice]:
    """What the events of both arms say of needs that matured by `now`, and what to do about it. Of this only what is
    derived from the log is stored (see `fold`; `afresh`: from scratch)."""
    spec = experiment.spec
    if spec is None:
        raise UsageError("a default experiment is not monitored; there is nothing to compare")
    ident, every = experiment.experiment_id, needs.metrics(task)
    fold(conn, task, ident, spec, afresh=afresh)
    phases = [phase for phase in store.phases(conn, ident) if phase.began_at <= now]
    if not phases:
        raise UsageError(f"test {experiment.name} had not begun by {now.isoformat()}")
    cohort = outcomes.cohort(
        conn,
        ident,
        spec,
        every,
        now=now,
        phase_began=phases[-1].began_at,
        last_event_at=events.received(conn, ident, before=now).newest,
    )
    analysis = analyze(spec, every, cohort, looked_at=now, adjustment=unadjusted_because(conn, experiment))
    waived = [waiver.rule for waiver in store.waivers(conn, ident) if waiver.phase_number == phases[-1].number]
    advice = advise(spec, phases[-1], analysis, now, started_at=experiment.started_at, waived=waived)
    return phases[-1], analysis, advice


def unadjusted_because(conn: store.Conn, experiment: Experiment) -> str:
    """Why the weeks before a test must not sharpen it, or ''. Whoever met the same version in those weeks, or one that
    had to be rolled back, is not what a unit is without the test."""
    spec, begun = experiment.spec, experiment.started_at
    if spec is None or begun is None or not spec.cuped_weeks:
        return "" if spec is None or begun is None else "turned off in the spec (cuped_weeks)"
    for other in store.tests(conn, experiment.policy_id):
        started, ended = other.started_at, other.ended_at
        if other.experiment_id == experiment.experiment_id or started is None or started >= begun:
            continue
        if ended is not None and ended <= begun - timedelta(weeks=spec.cuped_weeks):
            continue
        if other.status == "rolled_back":
            return f"test {other.name} was rolled back in the weeks before"
        if store.treated(conn, other) == store.treated(conn, experiment):
            return f"test {other.name} tried the same version in the weeks before"
    return ""


def act_on(conn: store.Conn, experiment_id: str, snapshot: Snapshot, now: datetime) -> Experiment:
    """The next phase, or the end. Evidence about an earlier phase or an ended test changes nothing."""
    experiment, verdict = store.find_experiment(conn, experiment_id), snapshot.advice.verdict
    if experiment.status != "running":
        return experiment
    if verdict == "advance" and store.phases(conn, experiment_id)[-1].number == snapshot.phase_number:
        _widen(conn, experiment_id, snapshot, now)
    elif verdict in ENDS:
        store.end(conn, experiment_id, status=ENDS[verdict], reason=snapshot.advice.reason, now=now)
    return store.find_experiment(conn, experiment_id)


def _widen(conn: store.Conn, experiment_id: str, snapshot: Snapshot, now: datetime) -> None:
    roles = {variant.role: variant for variant in store.variants(conn, experiment_id)}
    store.insert_phase(
        conn,
        experiment_id=experiment_id,
        treated=roles["treated"],
        control=roles["control"],
        treated_bp=snapshot.advice.next_treated_bp,
        snapshot_id=snapshot.snapshot_id,
        now=now,
    )
