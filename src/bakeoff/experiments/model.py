"""Experiment, variants, phases and exposures; what a test promises (ExperimentSpec), sees and advises."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from bakeoff.errors import UsageError
from bakeoff.fingerprint import canonical_json, digest

Arm = Literal["treated", "control"]
ARMS: tuple[Arm, Arm] = ("treated", "control")

HASH_VERSION = "hv1"
BASIS_POINTS = 10_000
MAX_TREATED_BP = 5_000  # control is an equal, disjoint range
MAX_FIRST_BP = 1_000  # at most 10 % of the unit hash space in the first phase


LEVELS = {"mean": None, "p50": 0.5, "p95": 0.95}


@dataclass(frozen=True, kw_only=True, slots=True)
class Guardrail:
    """A metric that must not be harmed. Harm rolls back at any time."""

    metric: str
    margin: float  # in the metric's unit, positive: how much worse is still acceptable when shipping
    direction: Literal["higher", "lower"]  # which way is better
    kind: Literal["ramp", "ship"] = "ship"
    """'ramp': known within a stage's dwell, so that no stage is left without it. 'ship': may mature later and is
    needed before shipping only, but then it must also be proven non-inferior."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """An absolute limit on the treated arm (latency, cost, fallback share).

    A quantile is watched by how many needs exceed the maximum: "p95 is at most 5 s" is "at most 5 % take longer"."""

    metric: str
    maximum: float  # in the metric's unit
    statistic: Literal["mean", "p50", "p95"] = "mean"

    @property
    def level(self) -> float | None:
        """Of the quantile, 0 to 1; None for the mean."""
        return LEVELS[self.statistic]

    @property
    def name(self) -> str:
        """What is watched: the metric itself, or the share of needs above the maximum."""
        return self.metric if self.level is None else f"{self.metric} over {self.maximum:g}"

    @property
    def limit(self) -> float:
        """What is watched must not be above it: the maximum, or for a quantile a share."""
        return self.maximum if self.level is None else 1 - self.level

    def __str__(self) -> str:
        return self.metric if self.level is None else f"{self.statistic} of {self.metric}"

    def tell(self, value: float) -> str:
        """A value of what is watched, in words."""
        return f"{value:.3g}" if self.level is None else f"{value:.1%} of needs above {self.maximum:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Counterweight:
    """A metric that must not fall while the primary rises: a win bought with it is no win (reward hacking). It holds
    the ramp and is shown; it rolls nothing back."""

    metric: str
    margin: float  # in the metric's unit, positive: how far it may look worse
    direction: Literal["higher", "lower"]  # which way is better


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
    cheaper: str | None = None  # for 'non_inferior': metric that must be proven lower than the control's ('cost')
    thresholds: tuple[Threshold, ...] = ()  # for 'thresholds'
    guardrails: tuple[Guardrail, ...] = ()
    budgets: tuple[Budget, ...] = ()
    counterweights: tuple[Counterweight, ...] = ()
    stages: tuple[int, ...] = (200, 500, 1000, 2500, 5000)  # treated share in basis points, rising
    dwell_hours: float = 24.0  # least time in a stage
    last_dwell_hours: float = 168.0  # least time in the last stage: one full week
    widened_by: Literal["monitor", "person"] = "monitor"  # who opens the next stage when the evidence says advance
    stale_hours: float = 168.0  # without an event for longer than this nothing goes forward
    minimum_units: int = 100  # matured units per arm before anything is decided
    unit_weeks: float = 4.0  # a unit's needs count that began within so many weeks of its first exposure
    cuped_weeks: float = 4.0  # weeks before a unit's exposure whose needs make comparisons sharper; 0: none
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
    def horizon(self) -> timedelta:
        """A unit's needs count that began within it, from its first exposure."""
        return timedelta(weeks=self.unit_weeks)

    @property
    def compared(self) -> tuple[str, ...]:
        """Metrics that the treated arm must not be worse in, the primary first: harm in one of them rolls back."""
        return tuple(dict.fromkeys([self.primary, *(guardrail.metric for guardrail in self.guardrails)]))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric (and share above a budget) that must be there, once each, the primary first."""
        names = [*self.compared, *(budget.name for budget in self.budgets)]
        names += [threshold.metric for threshold in self.thresholds]
        names += [counterweight.metric for counterweight in self.counterweights]
        return tuple(dict.fromkeys(names if self.cheaper is None else [*names, self.cheaper]))

    @property
    def needed_to_widen(self) -> tuple[str, ...]:
        """Of these, what must be computed before a stage is left; the others may mature later."""
        later = {guardrail.metric for guardrail in self.guardrails if guardrail.kind == "ship"}
        later |= {counterweight.metric for counterweight in self.counterweights}
        later |= {threshold.metric for threshold in self.thresholds}
        later -= {self.primary, *(budget.name for budget in self.budgets)}
        return tuple(name for name in self.metrics if name not in later and name != self.cheaper)

    @property
    def harm_tests(self) -> int:
        """K: how many metrics can roll back; each is watched at alpha / K."""
        return len(self.compared) + len(self.budgets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """An online test, a policy's default experiment, which serves everyone that no other takes, or the holdback after
    a promotion: a test whose treated arm is what everyone gets and whose control keeps what that replaced."""

    experiment_id: str  # also the salt of the assignment; never reused
    policy_id: str
    kind: Literal["default", "test", "holdback"]
    status: Literal["created", "running", "shipped", "rolled_back", "kept", "stopped"]
    name: str | None = None  # as people call it; None where it was made before names were kept
    spec: ExperimentSpec | None = None  # None for the default experiment, and where it cannot be read
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
    forced_variant_id: str | None = None  # where a person put this test unit


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
    forced: bool = False  # put there by hand: left out of the analysis


@dataclass(frozen=True, kw_only=True, slots=True)
class Forced:
    """A test unit (a colleague, an automated check), put into an arm by hand and left out of the analysis."""

    unit_id: str
    variant_id: str
    forced_by: str
    forced_at: datetime


Rule = Literal["dwell", "minimum_units"]
"""What a person may waive for one phase. Harm, an uneven split, the first phase of 10 % and shipping: never."""
RULES: tuple[Rule, Rule] = ("dwell", "minimum_units")


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiver:
    """A person lets a test widen before a rule would."""

    experiment_id: str
    phase_number: int  # for this one only
    rule: Rule
    signed_by: str
    reason: str
    given_at: datetime


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
    unadjusted: float | None = None  # the advantage without the weeks before; the same as `estimate` where not adjusted
    variance_cut: float | None = None  # share of the variance that the weeks before explain; None: not adjusted
    differed_before: bool = False  # the arms differed before the test, which a lottery should not do


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantileAnalysis:
    """A quantile of a metric over matured needs, for reports: an interval for this look alone, not for all looks."""

    metric: str
    level: float  # 0 to 1
    treated: float
    control: float
    lower: float | None  # of treated minus control, 95 %; None: too few needs
    upper: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """What is known at one look; everything that a monitor snapshot keeps."""

    spec_digest: str
    looked_at: datetime
    exposed: Mapping[str, int]  # units per arm
    matured: Mapping[str, int]  # units with a matured value of the primary metric, per arm
    in_two_arms: int  # units seen in both arms: left out, and counted
    srm_log_e: float  # natural log of the evidence against an even split
    srm_alarm: bool
    metrics: tuple[MetricAnalysis, ...]  # of the spec, then what is only shown and decides nothing
    fresh: Mapping[str, int] | None = None  # needs that began in the current phase, per arm
    forced: int = 0  # test units: left out, and counted
    unexposed: int = 0  # units with decisions of the test but without an exposure: left out, and counted
    last_event_at: datetime | None = None  # when the newest event of the test arrived
    adjustment: str = ""  # why the weeks before the test are not used; '' where they are
    quantiles: tuple[QuantileAnalysis, ...] = ()

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
        body["last_event_at"] = None if self.last_event_at is None else self.last_event_at.isoformat()
        for name in ("metrics", "quantiles"):
            body[name] = list(body[name])
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Analysis":
        """The analysis that `to_json` wrote."""
        metrics = tuple(
            MetricAnalysis(**{**metric, **{arm: _arm(metric[arm]) for arm in ARMS}}) for metric in body["metrics"]
        )
        newest = body.get("last_event_at")
        read = {
            "metrics": metrics,
            "quantiles": tuple(QuantileAnalysis(**found) for found in body.get("quantiles", ())),
            "looked_at": datetime.fromisoformat(body["looked_at"]),
            "last_event_at": None if newest is None else datetime.fromisoformat(newest),
        }
        return cls(**{**body, **read})


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What to do next, and why."""

    verdict: Literal["advance", "hold", "rollback", "ship", "keep"]
    reason: str  # for people who ship products
    next_treated_bp: int  # treated share after following the advice, in basis points
    missing_units: int | None  # matured units (both arms) that would probably settle it; None if unknown or settled
    waived: tuple[str, ...] = ()  # rules that a person set aside, and that would have held
    flags: tuple[str, ...] = ()  # what looks like a win bought dearly, in words

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "waived": list(self.waived), "flags": list(self.flags)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Advice":
        """The advice that `to_json` wrote."""
        lists = {name: tuple(body.get(name, ())) for name in ("waived", "flags")}
        return cls(**{**body, **lists})


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
        "counterweight margins must be positive": all(c.margin > 0 for c in spec.counterweights),
        "only hypothesis 'non_inferior' can ask for something cheaper": spec.cheaper is None
        or spec.hypothesis == "non_inferior",
        "a guardrail metric is named twice": not duplicates,
        "alpha must lie between 0 and 0.5": 0 < spec.alpha < 0.5,
        "planned_units and minimum_units must be at least 2": min(spec.planned_units, spec.minimum_units) >= 2,
        "horizon_units or horizon_weeks must say when to stop": spec.horizon_units is not None
        or spec.horizon_weeks is not None,
        "dwell times cannot be negative": min(spec.dwell_hours, spec.last_dwell_hours) >= 0,
        "stale_hours and unit_weeks must be positive": min(spec.stale_hours, spec.unit_weeks) > 0,
        "cuped_weeks cannot be negative (0 turns it off)": spec.cuped_weeks >= 0,
    }
    return [sentence for sentence, holds in checks.items() if not holds]
