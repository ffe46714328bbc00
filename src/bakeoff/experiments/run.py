"""The life of a test: open it, look at it, do what the evidence says. The caller owns the transaction."""

from dataclasses import replace
from datetime import datetime, timedelta

from bakeoff.errors import Refused, UsageError
from bakeoff.events import store as events
from bakeoff.experiments import needs, outcomes, store
from bakeoff.experiments.analyze import analyze, quantiles
from bakeoff.experiments.fold import fold
from bakeoff.experiments.model import Advice, Analysis, Experiment, ExperimentSpec, Phase, Snapshot, Variant
from bakeoff.experiments.ramp import advise
from bakeoff.task import Task

IN_QUANTILES = ("latency_s", "cost")
"""Shown by median and 95th percentile too: a mean hides the slow and the dear."""
ENDS = {"rollback": "rolled_back", "keep": "kept", "ship": "shipped"}
"""Verdict -> the status that a test ends with."""


def create_test(
    conn: store.Conn,
    policy_id: str,
    policy_version_id: str,
    spec: ExperimentSpec,
    *,
    name: str,
    label: str,
    now: datetime,
) -> Experiment:
    """A test with its two variants and no traffic; one with this name that is there already is returned as it is.

    `label` is what people call the version. Raises UsageError for a name that stands for another spec or version,
    Refused where the version serves everyone already."""
    incumbent = store.incumbent(conn, policy_id)
    experiment = store.insert_experiment(conn, policy_id=policy_id, kind="test", name=name, spec=spec, now=now)
    if not store.variants(conn, experiment.experiment_id):
        if policy_version_id == incumbent:
            raise Refused(f"{label} serves everyone already; a test compares another version with it")
        for role, version in (("treated", policy_version_id), ("control", incumbent)):
            store.insert_variant(
                conn, experiment_id=experiment.experiment_id, name=role, role=role, policy_version_id=version
            )
    if store.treated(conn, experiment) != policy_version_id:
        raise UsageError(
            f"test {name!r} of {policy_id} tries another version than {label}",
            cure="give the new one another name: --name ...",
        )
    return experiment


def begin_test(conn: store.Conn, experiment: Experiment, *, now: datetime) -> Experiment:
    """The first phase of a test that was created; one that has begun is returned as it is.

    Raises Refused where another test of the policy runs or its control no longer serves everyone; the database
    refuses a version without approval and a first phase above 10 %."""
    spec, ident = experiment.spec, experiment.experiment_id
    if experiment.status != "created" or spec is None:
        return experiment
    roles = {variant.role: variant for variant in store.variants(conn, ident)}
    _check_startable(conn, experiment, roles["control"])
    store.insert_phase(
        conn,
        experiment_id=ident,
        treated=roles["treated"],
        control=roles["control"],
        treated_bp=spec.stages[0],
        snapshot_id=None,
        now=now,
    )
    store.set_running(conn, ident, now=now)
    return store.find_experiment(conn, ident)


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
    """`create_test` and `begin_test` at once."""
    created = create_test(conn, policy_id, policy_version_id, spec, name=name, label=label, now=now)
    return begin_test(conn, created, now=now)


def _check_startable(conn: store.Conn, experiment: Experiment, control: Variant) -> None:
    policy_id = experiment.policy_id
    running = store.running_test(conn, policy_id)
    if running is not None:
        raise Refused(
            f"test {running.name or running.experiment_id} of {policy_id} is running; a policy has one test at a time",
            cure="bakeoff experiment status shows it, bakeoff experiment stop --reason ... ends it",
        )
    if store.incumbent(conn, policy_id) != control.policy_version_id:
        raise Refused(
            f"test {experiment.name} was created with a control that no longer serves everyone",
            cure="create another one, under a name of its own: bakeoff experiment create ... --name ...",
        )


def look(
    conn: store.Conn, task: Task, experiment: Experiment, now: datetime, *, afresh: bool = False
) -> tuple[Phase, Analysis, Advice]:
    """What the events of both arms say of needs that matured by `now`, and what to do about it. Of this only what is
    derived from the log is stored (see `fold`; `afresh`: from scratch)."""
    spec = experiment.spec
    if spec is None and experiment.kind != "default":
        raise UsageError(
            f"the spec of test {experiment.name or experiment.experiment_id} cannot be read: another version of "
            "bakeoff wrote it",
            cure="look with that version, or end the test: bakeoff experiment stop --reason ...",
        )
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
    analysis = replace(
        analysis,
        quantiles=tuple(
            found
            for name in IN_QUANTILES
            for found in quantiles(name, outcomes.need_values(conn, ident, spec, every, name, now=now))
        ),
    )
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


def act_on(
    conn: store.Conn, experiment_id: str, snapshot: Snapshot, now: datetime, *, by_hand: bool = False
) -> Experiment:
    """The next phase, or the end. Evidence about an earlier phase or an ended test changes nothing; where the spec says
    that a person widens, `by_hand` says that one does. A holdback that shows harm goes on: to end it alone would give
    everyone what harms, so whoever acts on it goes back to its control first (`lifecycle.act_on`)."""
    experiment, verdict = store.find_experiment(conn, experiment_id), snapshot.advice.verdict
    if experiment.status != "running" or experiment.spec is None:
        return experiment
    is_current = store.phases(conn, experiment_id)[-1].number == snapshot.phase_number
    if verdict == "advance" and is_current and (by_hand or experiment.spec.widened_by == "monitor"):
        _widen(conn, experiment_id, snapshot, now)
    elif verdict in ENDS and not (experiment.kind == "holdback" and verdict == "rollback"):
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
