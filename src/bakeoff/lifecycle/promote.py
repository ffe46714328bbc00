"""Who gets it: what a policy starts from, and what takes its place."""

from datetime import datetime

from bakeoff.errors import Refused
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import Experiment
from bakeoff.lifecycle.approve import check_approval
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies import approve as approvals
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion import apply as promotion
from bakeoff.promotion.model import PromotionPlan
from bakeoff.promotion.plan import plan_promotion, plan_rollback


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
