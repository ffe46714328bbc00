"""Gate (frozen rules), PairedRow (what is judged), Verdict and GateReport (what came out)."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from bakeoff.errors import UsageError
from bakeoff.fingerprint import digest
from bakeoff.gates.findings import CalibrationCheck, Tier
from bakeoff.task import Metric

SCORE = "offline_eval_score"

STANDARD_METRICS: tuple[Metric, ...] = (
    Metric(
        name=SCORE,
        unit="score",
        direction="higher",
        low=0.0,
        high=1.0,
        meaning="declared weighted mean of the task's metrics, each scaled to 0..1 with 1 the best",
    ),
    Metric(
        name="latency_s",
        unit="s",
        direction="lower",
        low=0.0,
        high=None,
        meaning="wall-clock seconds per answer",
    ),
    Metric(
        name="cost",
        unit="currency per answer",
        direction="lower",
        low=0.0,
        high=None,
        meaning="tokens times the declared price",
    ),
)
"""Columns that every replay has, whatever the task; a task may declare its own version of any."""

RowSet = Literal["all", "neutral"]
"""'neutral': proposed by neither compared policy (design rule 6)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NonInferior:
    """The candidate may be worse than the incumbent by less than `margin`; proven by interval."""

    metric: str
    margin: float  # in the metric's unit, positive
    rows: RowSet = "all"
    not_below: bool = False  # the estimate itself must also be at least the incumbent's
    fallback: str | None = None  # the metric that decides, over all rows, where neutral rows are too few
    maximum_bias: float | None = None  # a predicted metric may decide for others while its bias is surely below this


@dataclass(frozen=True, kw_only=True, slots=True)
class Absolute:
    """A promise about the candidate alone, kept or broken on the rows replayed."""

    metric: str  # name of the rule
    column: str  # the metric that it reads
    statistic: Literal["mean", "p95"] = "mean"
    minimum: float | None = None  # in the column's unit
    maximum: float | None = None
    rows: RowSet = "all"
    wall_clock: bool = False  # measured time: judged, but its numbers stay out of the report's digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """Reported, never gated."""

    metric: str
    rows: RowSet = "all"


Rule = NonInferior | Absolute | Shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """Rules, frozen before anything is replayed."""

    name: str
    rules: tuple[Rule, ...]
    weights: Mapping[str, float] = field(default_factory=dict)  # of the metrics in offline_eval_score
    alpha: float = 0.05  # one-sided, per metric
    minimum_effective_units: float = 30.0  # fewer give no verdict but FAIL
    maximum_missing_share: float = 0.02  # of the rows, per side
    slices_per_gate: int | None = None  # sealed slices that are opened at once, 1 to 4; None: as many as are needed
    minimum_segment_units: float = 12.0  # effective units of a segment that is screened for harm; at least 5
    stress_requests: int = 3  # real requests that stress requests are made from; 0: none

    @property
    def digest(self) -> str:
        """sha256 over every rule and number."""
        rules = [{"kind": type(rule).__name__, **asdict(rule)} for rule in self.rules]
        return digest({**asdict(self), "rules": sorted(rules, key=lambda rule: str(rule["metric"]))})

    def non_inferior(self) -> tuple[NonInferior, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, NonInferior))

    def absolute(self) -> tuple[Absolute, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, Absolute))

    def clocked(self) -> frozenset[str]:
        """Columns of measured time: what depends on them stays out of digests."""
        return frozenset({"latency_s", *(rule.column for rule in self.absolute() if rule.wall_clock)})


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedRow:
    """One request answered by both policies. None: the metric does not apply, or has no value."""

    example_id: str
    unit_id: str
    neutral: bool  # the row's logged proposal came from neither compared policy
    candidate: Mapping[str, float | None]
    incumbent: Mapping[str, float | None]


class Outcome(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    SHOWN = "SHOWN"  # not gated


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one rule says, with its evidence. Numbers are in the metric's unit; None where not known."""

    metric: str
    kind: Literal["non_inferior", "absolute", "shown"]
    rows: Literal["all", "neutral", "anchored"]  # 'anchored': proposed by one of the two, only shown
    outcome: Outcome
    reason: str  # for people who ship products
    estimate: float | None  # absolute: the candidate's value; else its advantage, positive = better
    lower: float | None  # one-sided bound of the estimate at the gate's alpha
    upper: float | None
    margin: float | None  # non_inferior only
    minimum: float | None  # absolute only
    maximum: float | None
    candidate: float | None  # mean (absolute: the statistic) of the candidate's values
    incumbent: float | None  # over the same rows
    pairs: int  # rows with a value on both sides (absolute: on the candidate's)
    units: int
    effective_units: float
    missing_candidate: float  # share of applicable rows where only the candidate has no value
    missing_incumbent: float
    detectable: float | None  # advantage or loss that these rows would show with probability .8
    units_needed: int | None  # effective units in all that would probably settle it; None if settled or unknown
    fallback: str | None = None  # the metric that this verdict rests on, over all rows; None: on its own
    noise: float | None = None  # of a remote engine: how far the mean may move from one run to the next


LATER: Mapping[str, Any] = {"anchored": [], "calibrations": [], "tier": None, "attempt": None}
"""Fields that reports did not always have, with what stands for their absence: left out of the JSON where it says
nothing more, so that older reports keep their digests."""
LATER_OF_VERDICT: Mapping[str, Any] = {"fallback": None, "noise": None}


@dataclass(frozen=True, kw_only=True, slots=True)
class GateReport:
    """Everything that an approval signs. `digest` covers it without what a clock measured, and without `attempt`,
    which the store knows: the same judgement again is the same report."""

    gate: str  # name
    gate_digest: str
    subject: Mapping[str, str]  # what was judged: digests of dataset, policy specs, replays; the slices that were read
    rows: int
    neutral_rows: int
    units: int
    rows_digest: str  # of the rows as judged, without wall-clock columns
    verdict: Outcome  # PASS only where the rules and, after them, the stricter tests say so
    verdicts: tuple[Verdict, ...]  # by the rules, then what is only shown
    wall_clock: tuple[Verdict, ...]  # budgets of measured time
    anchored: tuple[Verdict, ...] = ()  # metrics of neutral rows over the other rows: shown, never gated
    calibrations: tuple[CalibrationCheck, ...] = ()  # of the metrics that are predicted
    tier: Tier | None = None  # the stricter tests; None: the rules did not pass, so they were not run
    attempt: int | None = None  # how many reports there were on the slices that were read, with this one

    @property
    def digest(self) -> str:
        """sha256; a measured time moves it only when it crosses its budget."""
        body = self._body()
        body.pop("attempt", None)
        body["wall_clock"] = [{"metric": v.metric, "outcome": v.outcome} for v in self.wall_clock]
        if self.tier is not None:
            body["tier"] = self.tier.logical()
        return digest(body)

    def all_verdicts(self) -> tuple[Verdict, ...]:
        return (*self.verdicts, *self.wall_clock)

    def missing_evidence(self) -> list[str]:
        """One sentence per inconclusive metric; empty when nothing is missing."""
        return [f"{v.metric}: {v.reason}" for v in self.all_verdicts() if v.outcome is Outcome.INCONCLUSIVE]

    def because(self) -> str:
        """The reasons behind the verdict, metrics with the same reason together."""
        reasons: dict[str, list[str]] = {}
        for verdict in self.all_verdicts():
            if verdict.outcome is self.verdict:
                reasons.setdefault(verdict.reason, []).append(verdict.metric)
        said = [f"{', '.join(metrics)}: {reason}" for reason, metrics in reasons.items()]
        beyond = self.tier.reasons if self.tier is not None and self.tier.verdict == self.verdict else ()
        return "; ".join([*said, *beyond])

    def to_json(self) -> dict[str, Any]:
        """JSON values, with the digest."""
        return {**self._body(), "digest": self.digest}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "GateReport":
        """The report that `to_json` wrote, today or before. Raises UsageError if its content does not match its
        digest, or is no report at all."""
        cure = "it was changed after it was written; run `bakeoff gate` again"
        try:
            report = _REPORT.validate_python({key: value for key, value in body.items() if key != "digest"})
        except ValidationError as error:
            raise UsageError(
                f"gate report: its content is none ({error.error_count()} wrong fields)", cure=cure
            ) from error
        if report.digest != body.get("digest"):
            raise UsageError(
                f"gate report: its content has digest {report.digest}, but it says {body.get('digest')}", cure=cure
            )
        return report

    def _body(self) -> dict[str, Any]:
        body = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        body["subject"] = dict(self.subject)
        for name in ("verdicts", "wall_clock", "anchored"):
            body[name] = [_without(LATER_OF_VERDICT, verdict) for verdict in body[name]]
        return _without(LATER, body)


def overall(outcomes: Iterable[Outcome]) -> Outcome:
    """FAIL if any fails; else INCONCLUSIVE if any is, or if nothing was judged; else PASS."""
    judged = {outcome for outcome in outcomes if outcome is not Outcome.SHOWN}
    if Outcome.FAIL in judged:
        return Outcome.FAIL
    return Outcome.PASS if judged == {Outcome.PASS} else Outcome.INCONCLUSIVE


def _without(absent: Mapping[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in absent or value != absent[key]}


_REPORT = TypeAdapter(GateReport)
