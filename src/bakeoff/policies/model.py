"""PolicyVersion and Approval."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bakeoff.fingerprint import digest, short
from bakeoff.inference.model import PolicySpec

NAMESPACE = uuid.UUID("0b0c3a2e-5d0e-5a53-8f9b-3f3c1f0e7a10")
Status = Literal["registered", "candidate", "approved", "production", "retired", "rejected"]


def policy_version_id(policy_id: str, fingerprint: str) -> str:
    """One policy and one spec fingerprint are one policy version (uuid v5)."""
    return str(uuid.uuid5(NAMESPACE, f"{policy_id}|{fingerprint}"))


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyVersion:
    """The numbered row that links a policy spec to experiments and serving."""

    policy_version_id: str
    policy_id: str
    version: int
    spec: PolicySpec
    fingerprint: str  # of the spec
    status: Status
    mlflow_model_name: str | None = None
    mlflow_model_version: str | None = None
    mlflow_run_id: str | None = None
    dataset_digest: str | None = None  # what the model was trained on
    config_defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As people type it: ``planner_policy/3``."""
        return f"{self.policy_id}/{self.version}"

    @property
    def is_external(self) -> bool:
        """Whether the application itself answers for it: what it did before bakeoff came."""
        return self.spec.engine == "logged"

    @property
    def what(self) -> str | None:
        """What answers, in a few words."""
        spec, model = self.spec, self.spec.model.base if self.spec.model else None
        if self.is_external:
            return f"the application itself ({spec.function_version})"
        if spec.function is not None:
            return spec.function
        if spec.remote is not None:
            model = f"{spec.remote.name} on {spec.remote.endpoint}"
        return model if spec.prompt is None else f"{model}, prompt {short(digest(spec.prompt))}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A named policy of a task."""

    policy_id: str
    task: str
    last_resort: str | None  # policy_version_id of the python version that answers when all else fails


@dataclass(frozen=True, kw_only=True, slots=True)
class Approval:
    """A person's signature on the digest of one gate report, or 'adopted' for what a policy starts from."""

    approval_id: str
    policy_version_id: str
    kind: Literal["signed", "adopted"]
    report_digest: str | None
    fingerprint: str  # of the spec that was judged
    signed_by: str
    note: str
    signed_at: datetime
    expires_at: datetime | None
    covers_from: datetime | None = None  # of what was there before bakeoff: it served from this moment on
    covers: Mapping[str, str] | None = None  # digests of what was judged, by name, see `cover`; None for adoptions

    def is_valid(self, now: datetime) -> bool:
        """Whether it opens the way to a new phase, as far as the calendar goes."""
        return self.expires_at is None or self.expires_at > now


@dataclass(frozen=True, kw_only=True, slots=True)
class Voided:
    """How the last approval of a version ended."""

    signed_by: str
    voided_at: datetime
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A person turned a version down after one gate report."""

    rejection_id: str
    policy_version_id: str
    report_digest: str
    rejected_by: str
    reason: str
    rejected_at: datetime
