"""PromotionPlan and its stages: decided first, printed by `--explain`, then applied."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordPromotion:
    """Write who promoted what on which evidence."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MoveDefault:
    """Let the default experiment serve the version to everyone."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetStatus:
    """Move a policy version's status."""

    policy_version_id: str
    status: Literal["production", "retired"]
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAlias:
    """Point the registry's alias `production` (and tag stage=production) at the model version."""

    model_name: str
    model_version: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RetireModel:
    """Tag the replaced model version stage=retired in the registry."""

    model_name: str
    model_version: str
    text: str


Stage = RecordPromotion | MoveDefault | SetStatus | SetAlias | RetireModel


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionPlan:
    """What a promotion or rollback will do, in order."""

    kind: Literal["promotion", "rollback"]
    policy_id: str
    policy_version_id: str
    replaces: str | None
    experiment_id: str | None
    snapshot_id: str | None
    stages: tuple[Stage, ...]
