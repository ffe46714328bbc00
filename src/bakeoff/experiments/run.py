"""The life of a test: open it, look at it, do what the evidence says. The caller owns the transaction."""

from datetime import datetime, timedelta

from bakeoff.errors import Refused, UsageError
from bakeoff.events import store as events
from bakeoff.experiments import needs, store
from bakeoff.experiments.analyze import analyze
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


def look(conn: store.Conn, task: Task, experiment: Experiment, now: datetime) -> tuple[Phase, Analysis, Advice]:
    """What the events of both arms up to `now` say, and what to do about it. Nothing is stored."""
    spec = experiment.spec
    if spec is None:
        raise UsageError("a default experiment is not monitored; there is nothing to compare")
    ident = experiment.experiment_id
    since = (experiment.started_at or now) - timedelta(seconds=1)
    phases = [phase for phase in store.phases(conn, ident) if phase.began_at <= now]
    arms = needs.arms(store.exposures(conn, ident), store.variants(conn, ident))
    logged = events.episodes(conn, task.name, since=since, until=now, experiment_id=ident)
    outcomes = needs.outcomes(task, needs.live(logged), arms=arms, now=now)
    analysis = analyze(spec, needs.metrics(task), outcomes, looked_at=now, exposed=needs.exposed(arms))
    return phases[-1], analysis, advise(spec, phases[-1], analysis, now, started_at=experiment.started_at)


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
