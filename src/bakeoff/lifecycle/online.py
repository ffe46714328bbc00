"""What it does to real people, and who gets it."""

from datetime import datetime

from bakeoff.errors import Refused, UsageError
from bakeoff.experiments import run as test_run
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import Advice, Analysis, Experiment, ExperimentSpec, Snapshot
from bakeoff.lifecycle.approve import check_approval
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies import approve as approvals
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion import apply as promotion
from bakeoff.promotion.model import PromotionPlan
from bakeoff.promotion.plan import plan_promotion, plan_rollback
from bakeoff.task import Task


def adopt(
    deps: Deps,
    version: PolicyVersion,
    *,
    signed_by: str,
    reason: str,
    explorer: PolicyVersion | None = None,
    explorer_bp: int = 0,
    last_resort: PolicyVersion | None = None,
    since: datetime | None = None,
) -> Experiment:
    """What a policy starts from: an approval of kind 'adopted' and the default experiment that serves it to
    everyone, with a share of explorer decisions (`explorer_bp`, basis points). `since`: for the application itself
    (`external_spec`), which answered before bakeoff came."""
    with deps.db.transaction() as conn:
        for each in (version, explorer):
            if each is not None and policies.live_approval(conn, each.policy_version_id) is None:
                past = since if each is version else None
                given = approvals.adopt(each, signed_by=signed_by, reason=reason, now=deps.clock(), covers_from=past)
                policies.insert_approval(conn, given)
                policies.set_status(conn, each, "approved")
                policies.set_status(conn, each, "production")
        if last_resort is not None:
            policies.set_last_resort(conn, version.policy_id, last_resort)
        return experiments.open_default(
            conn,
            policy_id=version.policy_id,
            incumbent=version.policy_version_id,
            explorer=explorer.policy_version_id if explorer else None,
            explorer_bp=explorer_bp,
            now=deps.clock(),
            began_at=since,
        )


def name_last_resort(deps: Deps, version: PolicyVersion) -> None:
    """The python version that answers for its policy when all else fails."""
    with deps.db.transaction() as conn:
        policies.set_last_resort(conn, version.policy_id, version)


def start_experiment(deps: Deps, version: PolicyVersion, spec: ExperimentSpec, *, name: str) -> Experiment:
    """An approved version meets at most 10 % of the units, beside an equal concurrent control."""
    check_approval(deps, version.policy_version_id)
    with deps.db.transaction() as conn:
        return test_run.open_test(
            conn, version.policy_id, version.policy_version_id, spec, name=name, label=version.name, now=deps.clock()
        )


def stop_experiment(deps: Deps, experiment: Experiment, *, reason: str) -> Experiment:
    """A person ends a test before the evidence does; its units are served by the default experiment again."""
    if not reason.strip():
        raise UsageError("stopping a test needs a reason", cure='add --reason "what you saw"')
    with deps.db.transaction() as conn:
        experiments.end(conn, experiment.experiment_id, status="stopped", reason=reason, now=deps.clock())
        return experiments.find_experiment(conn, experiment.experiment_id)


def look(deps: Deps, task: Task, experiment: Experiment, *, now: datetime) -> tuple[Analysis, Advice]:
    """What `monitor` would store, without storing it."""
    with deps.db.transaction() as conn:
        return test_run.look(conn, task, experiment, now)[1:]


def monitor(deps: Deps, task: Task, experiment: Experiment, *, now: datetime) -> Snapshot:
    """Events of both arms up to `now` -> estimates per variant -> advice, stored as evidence. The same moment
    again is the evidence that is there."""
    with deps.db.transaction() as conn:
        stored = experiments.snapshot_at(conn, experiment.experiment_id, now)
        if stored is not None:
            return stored
        phase, analysis, advice = test_run.look(conn, task, experiment, now)
        return experiments.insert_snapshot(conn, experiment.experiment_id, phase.number, analysis, advice, now=now)


def act_on(deps: Deps, experiment: Experiment, snapshot: Snapshot, *, now: datetime) -> Experiment:
    """Carries out what the evidence says: the next phase, or the end of the test. Evidence about an earlier
    phase, or about a test that has ended, changes nothing. Shipping is not done here: it needs a person
    (`promote`)."""
    with deps.db.transaction() as conn:
        return test_run.act_on(conn, experiment.experiment_id, snapshot, now)


def plan(deps: Deps, experiment: Experiment) -> PromotionPlan:
    """What a promotion of the test's treated version would do. Raises Refused without evidence."""
    with deps.db.transaction() as conn:
        roles = {variant.role: variant for variant in experiments.variants(conn, experiment.experiment_id)}
        latest = experiments.snapshots(conn, experiment.experiment_id)
        if not latest:
            raise Refused("nothing was monitored yet", cure="bakeoff experiment watch takes a snapshot")
        return plan_promotion(
            policies.version_by_id(conn, roles["treated"].policy_version_id),
            policies.version_by_id(conn, experiments.incumbent(conn, experiment.policy_id)),
            experiment_id=experiment.experiment_id,
            snapshot_id=latest[-1].snapshot_id,
            verdict=latest[-1].advice.verdict,
        )


def plan_back(deps: Deps, name: str) -> PromotionPlan:
    """What a rollback to an earlier production version would do."""
    with deps.db.transaction() as conn:
        version = policies.find_version(conn, name)
        incumbent = policies.version_by_id(conn, experiments.incumbent(conn, version.policy_id))
        return plan_rollback(version, incumbent)


def promote(deps: Deps, plan: PromotionPlan, *, signed_by: str, reason: str) -> None:
    """Carries out a plan: the database in one transaction, then the registry's alias, which follows it."""
    with deps.db.transaction() as conn:
        is_done = experiments.incumbent(conn, plan.policy_id) == plan.policy_version_id
    if plan.kind == "promotion" and not is_done:
        check_approval(deps, plan.policy_version_id)
    with deps.db.transaction() as conn:
        if experiments.incumbent(conn, plan.policy_id) != plan.policy_version_id:
            promotion.apply_database(conn, plan, signed_by=signed_by, reason=reason, now=deps.clock())
    promotion.apply_registry(deps.models, plan)
