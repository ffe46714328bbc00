"""PromotionPlan and its stages: decided first, printed by `--explain`, then applied. What a registry must say."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bakeoff.experiments.model import ExperimentSpec
from bakeoff.policies.model import PolicyVersion

MAX_HOLDBACK_BP = 2_000
"""At most so many basis points of the unit hash space keep the old version."""
HOLDBACK_BP = 500
HOLDBACK_WEEKS = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordPromotion:
    """Write who promoted what on which evidence."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EndExperiment:
    """End a test or holdback whose arms are no longer what they were; its units meet the default experiment again."""

    experiment_id: str
    status: Literal["shipped", "rolled_back", "kept", "stopped"]
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenHoldback:
    """A share of the units keeps the version that is replaced, beside as many that get the new one and are watched."""

    name: str
    spec: ExperimentSpec
    bp: int  # basis points of the unit hash space, 1 to MAX_HOLDBACK_BP, for each of the two arms
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
class FollowRegistry:
    """Let the registry's alias, tags and stage say what our table says by then. No part of the transaction."""

    text: str


Stage = RecordPromotion | EndExperiment | OpenHoldback | MoveDefault | SetStatus | FollowRegistry


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """What became of a plan."""

    applied: bool  # False: somebody had done it before
    by: str  # who did it: the caller, or whoever came first
    at: datetime | None  # when; None for what a policy started from
    reason: str
    registry_away: str | None = None  # why the registry does not say so yet; None: it does
    followed: tuple["Drift", ...] = ()  # what was moved in the registry


# ---- what a registry must say ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A version with a registered model, and whether it serves everyone."""

    version: PolicyVersion
    serves: bool


Key = Literal["alias", "tag", "stage"]
"""The alias `production` of a model; the tag `stage` of a model version; MLflow's own field `stage`, deprecated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """One place where the registry does not say what our table says."""

    model: str
    model_version: str
    key: Key
    found: str | None
    expected: str | None  # alias: model version it must point at, None for nowhere

    @property
    def place(self) -> str:
        """In words."""
        if self.key == "alias":
            return f"alias production of {self.model}"
        what = "tag stage" if self.key == "tag" else "field stage"
        return f"{what} of {self.model}/{self.model_version}"
