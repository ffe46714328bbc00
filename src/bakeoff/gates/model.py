"""Gate (frozen rules), PairedRow (what is judged), Verdict and GateReport (what came out)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

from bakeoff.errors import UsageError
from bakeoff.fingerprint import digest
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


@dataclass(frozen=True, kw_only=True, slots=True)
class NonInferior:
    """The candidate may be worse than the incumbent by less than `margin`; proven by interval."""

    metric: str
    margin: float  # in the metric's unit, positive
    rows: RowSet = "all"  # 'neutral': proposed by neither compared policy
    not_below: bool = False  # the estimate itself must also be at least the incumbent's


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

    @property
    def digest(self) -> str:
        """sha256 over every rule and number."""
        rules = [{"kind": type(rule).__name__, **asdict(rule)} for rule in self.rules]
        return digest({**asdict(self), "rules": sorted(rules, key=lambda rule: str(rule["metric"]))})


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
    rows: RowSet
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


@dataclass(frozen=True, kw_only=True, slots=True)
class GateReport:
    """Everything that an approval signs. `digest` covers it without the numbers measured by a clock."""

    gate: str  # name
    gate_digest: str
    subject: Mapping[str, str]  # what was judged: digests of dataset, policy specs, replays
    rows: int
    neutral_rows: int
    units: int
    rows_digest: str  # of the rows as judged, without wall-clock columns
    verdict: Outcome
    verdicts: tuple[Verdict, ...]  # by the rules, then what is only shown
    wall_clock: tuple[Verdict, ...]  # budgets of measured time

    @property
    def digest(self) -> str:
        """sha256; a measured time moves it only when it crosses its budget."""
        body = self._body()
        body["wall_clock"] = [{"metric": v.metric, "outcome": v.outcome} for v in self.wall_clock]
        return digest(body)

    def all_verdicts(self) -> tuple[Verdict, ...]:
        return (*self.verdicts, *self.wall_clock)

    def missing_evidence(self) -> list[str]:
        """One sentence per inconclusive metric; empty when nothing is missing."""
        return [f"{v.metric}: {v.reason}" for v in self.all_verdicts() if v.outcome is Outcome.INCONCLUSIVE]

    def to_json(self) -> dict[str, Any]:
        """JSON values, with the digest."""
        return {**self._body(), "digest": self.digest}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "GateReport":
        """The report that `to_json` wrote. Raises UsageError if its content does not match its digest."""
        fields = {key: value for key, value in body.items() if key != "digest"}
        fields["verdict"] = Outcome(fields["verdict"])
        fields["verdicts"] = _verdicts(fields["verdicts"])
        fields["wall_clock"] = _verdicts(fields["wall_clock"])
        report = cls(**fields)
        if report.digest != body["digest"]:
            raise UsageError(
                f"gate report: its content has digest {report.digest}, but it says {body['digest']}",
                cure="it was changed after it was written; run `bakeoff gate` again",
            )
        return report

    def _body(self) -> dict[str, Any]:
        body = asdict(self)
        body["subject"] = dict(self.subject)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in body.items()}


def _verdicts(bodies: Sequence[Mapping[str, Any]]) -> tuple[Verdict, ...]:
    return tuple(Verdict(**{**body, "outcome": Outcome(body["outcome"])}) for body in bodies)
