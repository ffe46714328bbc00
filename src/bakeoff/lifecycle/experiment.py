"""What it does to real people: the life of a test."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from bakeoff.errors import Refused, UsageError
from bakeoff.events import store as events
from bakeoff.experiments import history, needs
from bakeoff.experiments import run as test_run
from bakeoff.experiments import store as experiments
from bakeoff.experiments.check import check
from bakeoff.experiments.model import (
    Advice,
    Analysis,
    Arm,
    Experiment,
    ExperimentSpec,
    Forced,
    Rule,
    Snapshot,
    Waiver,
)
from bakeoff.experiments.plan import Outlook, outlook
from bakeoff.lifecycle.approve import check_approval
from bakeoff.lifecycle.deps import Deps
from bakeoff.lifecycle.promote import plan_back, promote
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.task import Episode, Task


def plan_experiment(
    deps: Deps, task: Task, spec: ExperimentSpec, *, weeks: float
) -> tuple[Outlook, history.Past | None]:
    """Before any traffic: what a test could show in `weeks`, from as many weeks of the log as there are up to that."""
    check(spec, needs.metrics(task))
    until = deps.clock()
    since = until - timedelta(weeks=weeks)
    compared = [metric for metric in needs.metrics(task) if metric.name in spec.compared]
    with deps.db.transaction() as conn:
        total = events.count_decisions(conn, task.name, since=since, until=until)
        with deps.progress.stage("reading the log") as move:

            def read() -> Iterator[Episode]:
                for done, episode in enumerate(events.episodes(conn, task.name, since=since, until=until), 1):
                    move(done, total)
                    yield episode

            past = history.read(task, compared, read(), until=until)
    return outlook(spec, () if past is None else past.histories, weeks=weeks), past


def create_experiment(
    deps: Deps, version: PolicyVersion, spec: ExperimentSpec, *, name: str, task: Task | None = None
) -> Experiment:
    """Stores a test and freezes its spec, without any traffic. With `task` the spec must fit what that measures."""
    if task is not None:
        check(spec, needs.metrics(task))
    with deps.db.transaction() as conn:
        return test_run.create_test(
            conn, version.policy_id, version.policy_version_id, spec, name=name, label=version.name, now=deps.clock()
        )


def start_experiment(
    deps: Deps, version: PolicyVersion, spec: ExperimentSpec | None, *, name: str, task: Task | None = None
) -> Experiment:
    """An approved version meets at most 10 % of the units, beside an equal concurrent control. Without a `spec` by the
    one that the test with this name was created with."""
    if spec is not None and task is not None:
        check(spec, needs.metrics(task))
    check_approval(deps, version.policy_version_id)
    with deps.db.transaction() as conn:
        policies.lock(conn, version.policy_id)  # nobody starts another one meanwhile, or moves what is the control
        policies.lock_word(conn, version.policy_version_id)  # or turns this version down
        spec = spec or _created(conn, version, name)
        return test_run.open_test(
            conn, version.policy_id, version.policy_version_id, spec, name=name, label=version.name, now=deps.clock()
        )


def _created(conn: experiments.Conn, version: PolicyVersion, name: str) -> ExperimentSpec:
    found = next((test for test in experiments.tests(conn, version.policy_id) if test.name == name), None)
    if found is None or found.spec is None:
        raise UsageError(
            f"no test {name!r} of {version.policy_id} was created",
            cure=f"bakeoff experiment start {version.name} --spec FILE creates and starts one",
        )
    return found.spec


def stop_experiment(deps: Deps, experiment: Experiment, *, reason: str, rolled_back: bool = False) -> Experiment:
    """A person ends a test before the evidence does, `rolled_back` because of harm that they saw; its units are served
    by the default experiment again from the next decision on. Needs no statistics."""
    if not reason.strip():
        raise UsageError("stopping a test needs a reason", cure='add --reason "what you saw"')
    status = "rolled_back" if rolled_back else "stopped"
    with deps.db.transaction() as conn:
        policies.lock(conn, experiment.policy_id)  # nobody widens it meanwhile
        experiments.end(conn, experiment.experiment_id, status=status, reason=reason, now=deps.clock())
        return experiments.find_experiment(conn, experiment.experiment_id)


def look(
    deps: Deps, task: Task, experiment: Experiment, *, now: datetime, afresh: bool = False
) -> tuple[Analysis, Advice]:
    """What `monitor` would store as evidence, without storing it."""
    with deps.db.transaction() as conn:
        return test_run.look(conn, task, experiment, now, afresh=afresh)[1:]


def monitor(deps: Deps, task: Task, experiment: Experiment, *, now: datetime, afresh: bool = False) -> Snapshot:
    """Events of both arms up to `now` -> estimates per variant -> advice, stored as evidence. The same moment
    again is the evidence that is there. `afresh`: by the whole log, not by what was folded before."""
    with deps.db.transaction() as conn:
        stored = experiments.snapshot_at(conn, experiment.experiment_id, now)
        if stored is not None:
            return stored
        phase, analysis, advice = test_run.look(conn, task, experiment, now, afresh=afresh)
        return experiments.insert_snapshot(conn, experiment.experiment_id, phase.number, analysis, advice, now=now)


def act_on(
    deps: Deps, experiment: Experiment, snapshot: Snapshot, *, now: datetime, by_hand: bool = False
) -> Experiment:
    """Carries out what the evidence says: the next phase, or the end of the test. Evidence about an earlier
    phase, or about a test that has ended, changes nothing. `by_hand`: a person widens (`ramp`). Shipping is not done
    here: it needs a person (`promote`). Harm does not: of a test it ends the test, of a holdback everyone goes back to
    what the held-back units kept."""
    with deps.db.transaction() as conn:
        policies.lock(conn, experiment.policy_id)  # of two who look at once only one widens
        after = test_run.act_on(conn, experiment.experiment_id, snapshot, now, by_hand=by_hand)
        if after.kind != "holdback" or after.status != "running" or snapshot.advice.verdict != "rollback":
            return after
        roles = {variant.role: variant for variant in experiments.variants(conn, after.experiment_id)}
        kept = policies.version_by_id(conn, roles["control"].policy_version_id)
    promote(deps, plan_back(deps, kept.name), signed_by="monitor", reason=f"holdback: {snapshot.advice.reason}")
    with deps.db.transaction() as conn:
        return experiments.find_experiment(conn, after.experiment_id)


def waive(
    deps: Deps, experiment: Experiment, rules: Sequence[Rule], *, signed_by: str, reason: str
) -> Sequence[Waiver]:
    """A person sets rules aside for the current phase; recorded for good. Raises UsageError without a name or a reason;
    the database refuses any other rule and any other phase."""
    if not signed_by.strip() or not reason.strip():
        raise UsageError("a waiver needs a name and a reason", cure='add --by "Your Name" --reason "..."')
    with deps.db.transaction() as conn:
        number = experiments.phases(conn, experiment.experiment_id)[-1].number
        given = [
            Waiver(
                experiment_id=experiment.experiment_id,
                phase_number=number,
                rule=rule,
                signed_by=signed_by,
                reason=reason,
                given_at=deps.clock(),
            )
            for rule in rules
        ]
        for waiver in given:
            experiments.insert_waiver(conn, waiver)
    return given


def ramp(deps: Deps, task: Task, experiment: Experiment, *, now: datetime) -> tuple[Experiment, Snapshot]:
    """A person widens a test where the evidence says advance (or rolls it back where that says so). Raises Refused
    where it says anything else; the look is kept."""
    snapshot = monitor(deps, task, experiment, now=now)
    after = act_on(deps, experiment, snapshot, now=now, by_hand=True)
    if snapshot.advice.verdict == "hold":
        raise Refused(
            f"the evidence says hold: {snapshot.advice.reason}",
            cure="bakeoff experiment status shows it; --waive dwell or --waive minimum_units, with --by and --reason, "
            "sets one of these two rules aside for this phase",
        )
    return after, snapshot


def force_variant(deps: Deps, experiment: Experiment, unit_id: str, arm: Arm, *, forced_by: str) -> Forced:
    """Puts a test unit (a colleague, an automated check) into an arm; it is marked and left out of the analysis.

    Raises UsageError without a name, or where it is in the other arm already; the database refuses a unit that has met
    the test by lot."""
    if not forced_by.strip():
        raise UsageError("forcing a unit needs a name", cure='add --by "Your Name"')
    with deps.db.transaction() as conn:
        roles = {variant.role: variant for variant in experiments.variants(conn, experiment.experiment_id)}
        found = experiments.insert_forced(conn, roles[arm], unit_id, forced_by=forced_by, now=deps.clock())
    if found.variant_id != roles[arm].variant_id:
        raise UsageError(f"unit {unit_id} was put into the other arm by {found.forced_by}, and stays there")
    return found
