"""Experiment, variants, phases and exposures; what a test promises (ExperimentSpec), sees and advises."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from bakeoff.errors import UsageError
from bakeoff.fingerprint import canonical_json, digest

Arm = Literal["treated", "control"]
ARMS: tuple[Arm, Arm] = ("treated", "control")

HASH_VERSION = "hv1"
BASIS_POINTS = 10_000
MAX_TREATED_BP = 5_000  # control is an equal, disjoint range
MAX_FIRST_BP = 1_000  # at most 10 % of the unit hash space in the first phase


@dataclass(frozen=True, kw_only=True, slots=True)
class Guardrail:
    """A metric that must not be harmed. Harm rolls back at any time."""

    metric: str
    margin: float  # in the metric's unit, positive: how much worse is still acceptable when shipping
    direction: Literal["higher", "lower"]  # which way is better
    kind: Literal["ramp", "ship"] = "ship"  # 'ship': must also be proven non-inferior before shipping


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """An absolute limit on the treated arm's mean (latency, cost, fallback share)."""

    metric: str
    maximum: float  # in the metric's unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """What the treated arm itself must reach, for hypothesis 'thresholds'."""

    metric: str
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentSpec:
    """Frozen when the experiment is created. Checked when made: raises UsageError."""

    hypothesis: Literal["superiority", "non_inferior", "thresholds"]
    primary: str  # metric that decides
    primary_direction: Literal["higher", "lower"] = "higher"
    primary_margin: float | None = None  # for 'non_inferior': in the metric's unit, positive
    minimum_effect: float | None = None  # smallest gain worth having; used for planning only
    thresholds: tuple[Threshold, ...] = ()  # for 'thresholds'
    guardrails: tuple[Guardrail, ...] = ()
    budgets: tuple[Budget, ...] = ()
    stages: tuple[int, ...] = (200, 500, 1000, 2500, 5000)  # treated share in basis points, rising
    dwell_hours: float = 24.0  # least time in a stage
    last_dwell_hours: float = 168.0  # least time in the last stage: one full week
    minimum_units: int = 100  # matured units per arm before anything is decided
    horizon_units: int | None = None  # matured units (both arms) after which it ends without a win
    horizon_weeks: float | None = None  # time after which it ends without a win
    alpha: float = 0.05  # for harm over the whole family and all looks; and for shipping
    planned_units: int = 2000  # N*: matured units (both arms) where intervals are tightest

    def __post_init__(self) -> None:
        wrong = _problems(self)
        if wrong:
            raise UsageError(f"experiment spec: {'; '.join(wrong)}")

    @property
    def digest(self) -> str:
        """sha256 of `to_json`."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """JSON values; `bakeoff.experiments.load.parse_spec` reads them back."""
        plain: dict[str, Any] = json.loads(canonical_json(asdict(self)))
        return plain

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that must be there, once each, the primary first."""
        names = [self.primary]
        names += [guardrail.metric for guardrail in self.guardrails]
        names += [budget.metric for budget in self.budgets]
        names += [threshold.metric for threshold in self.thresholds]
        return tuple(dict.fromkeys(names))

    @property
    def harm_tests(self) -> int:
        """K: how many metrics can roll back; each is watched at alpha / K."""
        compared = {self.primary} | {guardrail.metric for guardrail in self.guardrails}
        return len(compared) + len(self.budgets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """An online test, or a policy's default experiment, which serves everyone that no test takes."""

    experiment_id: str  # also the salt of the assignment; never reused
    policy_id: str
    kind: Literal["default", "test"]
    status: Literal["created", "running", "shipped", "rolled_back", "kept", "stopped"]
    spec: ExperimentSpec | None = None  # None for the default experiment
    spec_digest: str = ""
    reason: str | None = None  # why it ended
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """An arm that points at a policy version."""

    variant_id: str
    experiment_id: str
    name: str
    role: Literal["treated", "control", "incumbent", "explorer"]  # the last two in a default experiment
    policy_version_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A stretch of constant allocation."""

    experiment_id: str
    number: int  # from 1
    treated_bp: int  # treated share of the unit hash space, in basis points; the control has as much again
    began_at: datetime  # with time zone
    treated_variant_id: str | None = None  # default experiment: its explorer
    control_variant_id: str = ""  # default experiment: its incumbent


@dataclass(frozen=True, kw_only=True, slots=True)
class InForce:
    """A running experiment as one decision meets it."""

    phase: Phase  # the latest
    variants: Mapping[str, Variant]  # by id
    met_variant_id: str | None  # where this unit was exposed before
    met_probability: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Where a unit belongs, by hash alone."""

    arm: Arm
    bucket: int  # inclusion bucket, 0..9999; included below twice the treated share
    assignment_probability: float  # of this arm, over units


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionAssignment:
    """Where one decision of a default experiment belongs, by hash of its key."""

    variant: Literal["incumbent", "explorer"]
    bucket: int  # 0..9999
    assignment_probability: float  # of this variant, over decisions


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """A unit first met a variant."""

    experiment_id: str
    phase: int  # its number
    unit_id: str
    variant_id: str
    policy_version_id: str
    bucket: int
    assignment_probability: float
    hash_version: str
    occurred_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class NeedOutcome:
    """One need (the planner: a household's week) of an exposed unit."""

    unit_id: str
    arm: Arm
    exposed_at: datetime  # the unit's first exposure
    matured: bool  # its outcome window has closed, and it lies within the unit's fixed horizon
    values: Mapping[str, float | None]  # None: not applicable


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmEstimate:
    """One arm's mean per need."""

    value: float
    se: float | None  # at unit level; None where it cannot be known
    units: int
    needs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricAnalysis:
    """One metric. Differences are advantages of the treated arm: positive = better in either direction."""

    metric: str
    state: Literal["computed", "burn_in", "missing"]  # burn_in: too few matured units per arm to decide
    reason: str  # in words; empty when computed
    direction: Literal["higher", "lower"]
    treated: ArmEstimate | None
    control: ArmEstimate | None
    estimate: float | None  # advantage of treated over control
    se: float | None
    lower: float | None  # two-sided confidence sequence at alpha: to be shown
    upper: float | None
    proven_above: float | None  # one-sided at alpha: the advantage is above this, at every look
    harm_below: float | None  # one-sided at alpha / K: the advantage is below this; harm if negative
    treated_above: float | None  # one-sided at alpha / K: the treated arm's own value is above this
    treated_floor: float | None  # one-sided at alpha: the treated arm's own value is above this
    treated_ceiling: float | None  # one-sided at alpha: the treated arm's own value is below this
    missing: float  # share of matured needs without a value, the worse arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """What is known at one look; everything that a monitor snapshot keeps."""

    spec_digest: str
    looked_at: datetime
    exposed: Mapping[str, int]  # units per arm
    matured: Mapping[str, int]  # units with at least one matured need, per arm
    in_two_arms: int  # units seen in both arms: left out, and counted
    srm_log_e: float  # natural log of the evidence against an even split
    srm_alarm: bool
    metrics: tuple[MetricAnalysis, ...]  # of the spec, then what is only shown and decides nothing

    @property
    def units(self) -> int:
        """Matured units of both arms."""
        return sum(self.matured.values())

    def of(self, metric: str) -> MetricAnalysis | None:
        return next((found for found in self.metrics if found.metric == metric), None)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        body = asdict(self)
        body["looked_at"] = self.looked_at.isoformat()
        body["metrics"] = list(body["metrics"])
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Analysis":
        """The analysis that `to_json` wrote."""
        metrics = tuple(
            MetricAnalysis(**{**metric, **{arm: _arm(metric[arm]) for arm in ARMS}}) for metric in body["metrics"]
        )
        looked_at = datetime.fromisoformat(body["looked_at"])
        return cls(**{**body, "metrics": metrics, "looked_at": looked_at})


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What to do next, and why."""

    verdict: Literal["advance", "hold", "rollback", "ship", "keep"]
    reason: str  # for people who ship products
    next_treated_bp: int  # treated share after following the advice, in basis points
    missing_units: int | None  # matured units (both arms) that would probably settle it; None if unknown or settled

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What the monitor saw at one moment and what it advised: evidence, append-only."""

    snapshot_id: str
    experiment_id: str
    phase_number: int
    analysis: Analysis
    advice: Advice
    taken_at: datetime


def _arm(body: Mapping[str, Any] | None) -> ArmEstimate | None:
    return None if body is None else ArmEstimate(**body)


def _problems(spec: ExperimentSpec) -> list[str]:
    rising = all(a < b for a, b in zip(spec.stages, spec.stages[1:], strict=False))
    duplicates = len({guardrail.metric for guardrail in spec.guardrails}) < len(spec.guardrails)
    checks = {
        "stages must rise, and there must be at least one": bool(spec.stages) and rising,
        f"the first stage is at most {MAX_FIRST_BP} basis points (10 %)": bool(spec.stages)
        and 0 < spec.stages[0] <= MAX_FIRST_BP,
        f"the last stage is at most {MAX_TREATED_BP} basis points, the control needs as much": bool(spec.stages)
        and spec.stages[-1] <= MAX_TREATED_BP,
        "hypothesis 'non_inferior' needs a positive primary_margin": spec.hypothesis != "non_inferior"
        or (spec.primary_margin is not None and spec.primary_margin > 0),
        "hypothesis 'thresholds' needs at least one threshold": spec.hypothesis != "thresholds"
        or bool(spec.thresholds),
        "a threshold needs a minimum, a maximum or both": all(
            t.minimum is not None or t.maximum is not None for t in spec.thresholds
        ),
        "guardrail margins must be positive": all(g.margin > 0 for g in spec.guardrails),
        "a guardrail metric is named twice": not duplicates,
        "alpha must lie between 0 and 0.5": 0 < spec.alpha < 0.5,
        "planned_units and minimum_units must be at least 2": min(spec.planned_units, spec.minimum_units) >= 2,
        "horizon_units or horizon_weeks must say when to stop": spec.horizon_units is not None
        or spec.horizon_weeks is not None,
        "dwell times cannot be negative": min(spec.dwell_hours, spec.last_dwell_hours) >= 0,
    }
    return [sentence for sentence, holds in checks.items() if not holds]
