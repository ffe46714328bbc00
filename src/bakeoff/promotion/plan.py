"""Decide first: pure, from facts to stages."""

from bakeoff.errors import Refused
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion.model import (
    MoveDefault,
    PromotionPlan,
    RecordPromotion,
    RetireModel,
    SetAlias,
    SetStatus,
    Stage,
)


def plan_promotion(
    version: PolicyVersion, incumbent: PolicyVersion, *, experiment_id: str, snapshot_id: str, verdict: str
) -> PromotionPlan:
    """Raises Refused unless the latest monitor snapshot says ship."""
    if verdict != "ship":
        raise Refused(
            f"the latest evidence on {version.name} says {verdict!r}; a promotion needs 'ship'",
            cure="bakeoff experiment status shows what is missing",
        )
    return _plan("promotion", version, incumbent, experiment_id=experiment_id, snapshot_id=snapshot_id)


def plan_rollback(version: PolicyVersion, incumbent: PolicyVersion) -> PromotionPlan:
    """Back to a version that was in production. Raises Refused for any other."""
    if version.status != "retired":
        raise Refused(f"{version.name} is {version.status}; a rollback goes back to a retired version")
    return _plan("rollback", version, incumbent, experiment_id=None, snapshot_id=None)


def _plan(
    kind: str, version: PolicyVersion, incumbent: PolicyVersion, *, experiment_id: str | None, snapshot_id: str | None
) -> PromotionPlan:
    stages: list[Stage] = [
        RecordPromotion(text=f"record the {kind} of {version.name}, which replaces {incumbent.name}"),
        MoveDefault(text=f"serve {version.name} to everyone in the default experiment"),
        SetStatus(
            policy_version_id=incumbent.policy_version_id, status="retired", text=f"{incumbent.name} becomes retired"
        ),
        SetStatus(
            policy_version_id=version.policy_version_id, status="production", text=f"{version.name} becomes production"
        ),
    ]
    if version.mlflow_model_name and version.mlflow_model_version:
        stages.append(
            SetAlias(
                model_name=version.mlflow_model_name,
                model_version=version.mlflow_model_version,
                text=f"alias production -> {version.mlflow_model_name}/{version.mlflow_model_version}",
            )
        )
    if incumbent.mlflow_model_name and incumbent.mlflow_model_version:
        stages.append(
            RetireModel(
                model_name=incumbent.mlflow_model_name,
                model_version=incumbent.mlflow_model_version,
                text=f"tag {incumbent.mlflow_model_name}/{incumbent.mlflow_model_version} stage=retired",
            )
        )
    return PromotionPlan(
        kind="promotion" if kind == "promotion" else "rollback",
        policy_id=version.policy_id,
        policy_version_id=version.policy_version_id,
        replaces=incumbent.policy_version_id,
        experiment_id=experiment_id,
        snapshot_id=snapshot_id,
        stages=tuple(stages),
    )
