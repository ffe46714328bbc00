"""Who gets it: what a policy starts from, and what takes its place."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bakeoff.errors import Refused, Unreachable, UsageError
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import Experiment
from bakeoff.lifecycle.approve import check_approval
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies import approve as approvals
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion import apply as promotion
from bakeoff.promotion import registry
from bakeoff.promotion.model import HOLDBACK_BP, HOLDBACK_WEEKS, Carried, Drift, PromotionPlan, Registered
from bakeoff.promotion.plan import Holdback, make_holdback, plan_promotion, plan_rollback, serves_already


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
        policies.lock(conn, version.policy_id)  # of two who adopt at once the second finds what the first made
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


def plan(
    deps: Deps, experiment: Experiment, *, holdback_bp: int = HOLDBACK_BP, holdback_weeks: float = HOLDBACK_WEEKS
) -> PromotionPlan:
    """What a promotion of the test's treated version would do; `holdback_bp` basis points of the units keep what it
    replaces for a while (0: none). Nothing, where somebody was quicker. Raises Refused without evidence."""
    with deps.db.transaction() as conn:
        roles = {variant.role: variant for variant in experiments.variants(conn, experiment.experiment_id)}
        version = policies.version_by_id(conn, roles["treated"].policy_version_id)
        incumbent = policies.version_by_id(conn, experiments.incumbent(conn, experiment.policy_id))
        if incumbent.policy_version_id == version.policy_version_id:
            return serves_already("promotion", version)
        latest = experiments.last_snapshot(conn, experiment.experiment_id)
        if latest is None:
            raise Refused("nothing was monitored yet", cure="bakeoff experiment watch takes a snapshot")
        return plan_promotion(
            version,
            incumbent,
            experiment_id=experiment.experiment_id,
            snapshot_id=latest.snapshot_id,
            verdict=latest.advice.verdict,
            compared_with=policies.version_by_id(conn, roles["control"].policy_version_id),
            holdback=_holdback(conn, experiment, incumbent, holdback_bp, holdback_weeks) if holdback_bp else None,
            running=experiments.running(conn, experiment.policy_id),
        )


def _holdback(
    conn: experiments.Conn, experiment: Experiment, incumbent: PolicyVersion, bp: int, weeks: float
) -> Holdback:
    """Raises Refused where the old version cannot go on, or nobody knows what to compare."""
    if experiment.spec is None:
        raise Refused(
            f"the spec of test {experiment.name} cannot be read, so nothing says what a holdback would compare",
            cure="--holdback 0 promotes without one",
        )
    if policies.live_approval(conn, incumbent.policy_version_id) is None:
        raise Refused(
            f"the approval of {incumbent.name} is void, so no unit may keep it",
            cure="--holdback 0 promotes without a holdback",
        )
    return make_holdback(experiment.spec, bp, weeks)


def plan_back(deps: Deps, name: str) -> PromotionPlan:
    """What a rollback to an earlier production version would do: nothing, where somebody was quicker. It needs neither
    statistics nor the registry."""
    with deps.db.transaction() as conn:
        version = policies.find_version(conn, name)
        incumbent = policies.version_by_id(conn, experiments.incumbent(conn, version.policy_id))
        if incumbent.policy_version_id == version.policy_version_id:
            return serves_already("rollback", version)
        return plan_rollback(version, incumbent, running=experiments.running(conn, version.policy_id))


def promote(deps: Deps, plan: PromotionPlan, *, signed_by: str, reason: str) -> Carried:
    """Carries out a plan: the database in one transaction, then the registry, which follows it.

    A registry that is away stops nothing: people are served by what the database says, and the same command, any later
    promotion or `bakeoff doctor --repair` lets it follow. Raises Refused where the plan's evidence or approval no
    longer holds, and where somebody else has moved the default since the plan was made."""
    with deps.db.transaction() as conn:
        is_done = experiments.incumbent(conn, plan.policy_id) == plan.policy_version_id
    if plan.kind == "promotion" and not is_done:
        check_approval(deps, plan.policy_version_id)
    with deps.db.transaction() as conn:
        now = deps.clock()
        applied = promotion.apply_database(conn, plan, signed_by=signed_by, reason=reason, now=now)
        carried = _carried(conn, plan.policy_id, applied=applied)
    return _followed(deps, carried)


def already(deps: Deps, name: str, *, follow: bool = True) -> Carried | None:
    """Who moved the version with this name to everyone, where it serves everyone now; else None. With `follow` the
    registry is put right too, which is all that a crash or an outage can have left undone."""
    with deps.db.transaction() as conn:
        version = policies.find_version(conn, name)
        if not experiments.is_served(conn, version.policy_id):
            return None
        if experiments.incumbent(conn, version.policy_id) != version.policy_version_id:
            return None
        carried = _carried(conn, version.policy_id, applied=False)
    return _followed(deps, carried) if follow else carried


def _carried(conn: experiments.Conn, policy_id: str, *, applied: bool) -> Carried:
    last = promotion.last_promotion(conn, policy_id)
    if last is None:  # what the policy started from
        found = policies.live_approval(conn, experiments.incumbent(conn, policy_id))
        by, reason = ("", "") if found is None else (found.signed_by, found.note)
        return Carried(applied=applied, by=by, at=None if found is None else found.signed_at, reason=reason)
    return Carried(applied=applied, by=last["signed_by"], at=last["promoted_at"], reason=last["reason"])


def _followed(deps: Deps, carried: Carried) -> Carried:
    moved, away = follow_registry(deps)
    return replace(carried, registry_away=away, followed=moved)


def follow_registry(deps: Deps) -> tuple[tuple[Drift, ...], str | None]:
    """Lets the registry say what our tables say: what was moved, and why something could not be (None: nothing)."""
    with deps.db.transaction() as conn:
        known = promotion.registered(conn)
    moved: list[Drift] = []
    unknown: str | None = None
    for mine in _by_model(known):
        try:
            moved += registry.follow(deps.models, mine)
        except Unreachable as error:
            return tuple(moved), str(error).splitlines()[0]
        except UsageError as error:  # a model that somebody removed holds up no other
            unknown = str(error).splitlines()[0]
    return tuple(moved), unknown


def _by_model(known: Sequence[Registered]) -> list[list[Registered]]:
    names = sorted({str(each.version.mlflow_model_name) for each in known})
    return [[each for each in known if each.version.mlflow_model_name == name] for name in names]
