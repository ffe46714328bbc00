"""Decide first: pure, from facts to stages."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from bakeoff.errors import Refused, UsageError
from bakeoff.experiments.model import BASIS_POINTS, MAX_FIRST_BP, Experiment, ExperimentSpec
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion.model import (
    HOLDBACK_WEEKS,
    MAX_HOLDBACK_BP,
    EndExperiment,
    FollowRegistry,
    MoveDefault,
    OpenHoldback,
    PromotionPlan,
    RecordPromotion,
    SetStatus,
    Stage,
)

_HOURS_A_WEEK = 168.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Holdback:
    """How many units keep the old version, for how long, and how the two are compared."""

    bp: int  # basis points of the unit hash space, for each arm
    spec: ExperimentSpec


def holdback_bp(share: float) -> int:
    """Basis points of a share from 0 (none) to 0.2. Raises UsageError for any other."""
    bp = round(share * BASIS_POINTS) if math.isfinite(share) else -1
    if not 0 <= bp <= MAX_HOLDBACK_BP or (share > 0 and bp == 0):
        most = MAX_HOLDBACK_BP / BASIS_POINTS
        raise UsageError(
            f"holdback {share:g}; expected a share of the units from 0 (none) to {most:g}",
            cure="--holdback 0.05 lets 5 % of the units keep the old version",
        )
    return bp


def make_holdback(test: ExperimentSpec, bp: int, weeks: float = HOLDBACK_WEEKS) -> Holdback:
    """Watches what the test watched, with its metrics, guardrails and alpha, for `weeks`. It is over then, and not
    before: what a holdback is for (that a win lasts) is known last. Raises UsageError for less."""
    if weeks <= 0:
        raise UsageError(f"a holdback of {weeks:g} weeks", cure="--holdback-weeks 4, or --holdback 0 for none")
    spec = replace(
        test,
        # One stage. The rule of 10 % for first traffic is not for what has served everyone before.
        stages=(min(bp, MAX_FIRST_BP),),
        dwell_hours=0.0,
        last_dwell_hours=weeks * _HOURS_A_WEEK,
        horizon_weeks=weeks,
        horizon_units=None,
        widened_by="monitor",
    )
    return Holdback(bp=bp, spec=spec)


def plan_promotion(
    version: PolicyVersion,
    incumbent: PolicyVersion,
    *,
    experiment_id: str,
    snapshot_id: str,
    verdict: str,
    compared_with: PolicyVersion | None = None,
    holdback: Holdback | None = None,
    running: tuple[Experiment, ...] = (),
) -> PromotionPlan:
    """`compared_with`: the control of the test (default: the incumbent); `running`: the policy's test and holdback that
    are on. Raises Refused unless the latest monitor snapshot says ship, where the test compared the version with one
    that serves no longer, and while another test runs: its control is what would be replaced."""
    if verdict != "ship":
        raise Refused(
            f"the latest evidence on {version.name} says {verdict!r}; a promotion needs 'ship'",
            cure="bakeoff experiment status shows what is missing",
        )
    if compared_with is not None and compared_with.policy_version_id != incumbent.policy_version_id:
        raise Refused(
            f"the test compared {version.name} with {compared_with.name}, but {incumbent.name} serves by now",
            cure=f"compare the two: bakeoff experiment start {version.name} --spec FILE --name ANOTHER",
        )
    other = next((e for e in running if e.kind == "test" and e.experiment_id != experiment_id), None)
    if other is not None:
        raise Refused(
            f"test {other.name or other.experiment_id} is running with {incumbent.name} as its control, which would be "
            "replaced under it",
            cure='wait for its end, or end it: bakeoff experiment stop --reason "..."',
        )
    ends = tuple(_shipped(version, each) for each in running)
    stages = _stages("promotion", version, incumbent, ends=ends, holdback=holdback)
    return PromotionPlan(
        kind="promotion",
        policy_id=version.policy_id,
        policy_version_id=version.policy_version_id,
        replaces=incumbent.policy_version_id,
        experiment_id=experiment_id,
        snapshot_id=snapshot_id,
        stages=tuple(stages),
    )


def plan_rollback(
    version: PolicyVersion, incumbent: PolicyVersion, *, running: tuple[Experiment, ...] = ()
) -> PromotionPlan:
    """Back to a version that was in production. Raises Refused for any other."""
    if version.status != "retired":
        raise Refused(f"{version.name} is {version.status}; a rollback goes back to a retired version")
    ends = tuple(_rolled_back(version, incumbent, each) for each in running)
    return PromotionPlan(
        kind="rollback",
        policy_id=version.policy_id,
        policy_version_id=version.policy_version_id,
        replaces=incumbent.policy_version_id,
        experiment_id=None,
        snapshot_id=None,
        stages=tuple(_stages("rollback", version, incumbent, ends=ends, holdback=None)),
    )


def serves_already(kind: Literal["promotion", "rollback"], version: PolicyVersion) -> PromotionPlan:
    """Nothing is left to do."""
    return PromotionPlan(
        kind=kind,
        policy_id=version.policy_id,
        policy_version_id=version.policy_version_id,
        replaces=None,
        experiment_id=None,
        snapshot_id=None,
        stages=(),
    )


def _shipped(version: PolicyVersion, running: Experiment) -> EndExperiment:
    """The test that was won, where nobody has ended it yet, or the holdback of the promotion before."""
    won = running.kind == "test"
    name = running.name or running.experiment_id
    return EndExperiment(
        experiment_id=running.experiment_id,
        status="shipped" if won else "kept",
        reason=f"{version.name} is promoted" if won else f"{version.name} takes the place of what it watched",
        text=f"end {running.kind} {name}" + ("" if won else ": what it keeps is two promotions old"),
    )


def _rolled_back(version: PolicyVersion, incumbent: PolicyVersion, running: Experiment) -> EndExperiment:
    held = running.kind == "holdback"
    why = "what it watches" if held else "its control"
    return EndExperiment(
        experiment_id=running.experiment_id,
        status="rolled_back" if held else "stopped",
        reason=f"{incumbent.name}, {why}, is rolled back to {version.name}",
        text=f"end {running.kind} {running.name or running.experiment_id}: {why} is {incumbent.name}",
    )


def _stages(
    kind: Literal["promotion", "rollback"],
    version: PolicyVersion,
    incumbent: PolicyVersion,
    *,
    ends: tuple[EndExperiment, ...],
    holdback: Holdback | None,
) -> Iterator[Stage]:
    yield RecordPromotion(text=f"record the {kind} of {version.name}, which replaces {incumbent.name}")
    yield from ends
    if holdback is not None:  # before the default moves: the old version's traffic goes on, it does not begin anew
        yield OpenHoldback(
            name=f"holdback-{version.version}",
            spec=holdback.spec,
            bp=holdback.bp,
            text=_held(version, incumbent, holdback),
        )
        yield MoveDefault(text=f"serve {version.name} to everyone else in the default experiment")
    else:
        yield MoveDefault(text=f"serve {version.name} to everyone in the default experiment")
    yield SetStatus(
        policy_version_id=incumbent.policy_version_id, status="retired", text=f"{incumbent.name} becomes retired"
    )
    yield SetStatus(
        policy_version_id=version.policy_version_id, status="production", text=f"{version.name} becomes production"
    )
    yield from (FollowRegistry(text=text) for text in _registry(version, incumbent))


def _held(version: PolicyVersion, incumbent: PolicyVersion, holdback: Holdback) -> str:
    share, weeks = holdback.bp / 100, holdback.spec.horizon_weeks or HOLDBACK_WEEKS
    own = "; your application answers for those that keep it: decide(..., own=...)" if incumbent.is_external else ""
    return (
        f"let {share:g} % of the units keep {incumbent.name} for {weeks:g} weeks, beside {share:g} % that get "
        f"{version.name} and are compared with them{own}"
    )


def _registry(version: PolicyVersion, incumbent: PolicyVersion) -> Iterator[str]:
    """What follows in the registry, in words; `registry.drifts` says it in values."""
    new, old = version.mlflow_model_name, incumbent.mlflow_model_name
    if new is not None:
        yield f"alias production -> {new}/{version.mlflow_model_version}, tag stage=production"
    if old is not None and old != new:
        yield f"remove alias production of {old}: what serves then is no model of that name"
    if old is not None:
        yield f"tag {old}/{incumbent.mlflow_model_version} stage=retired"
