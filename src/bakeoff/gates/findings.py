"""What a report says beyond its rules: whether predictions may be trusted, and what the stricter tests found."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationCheck:
    """How far a predicted metric lies from what people did on held-out rows, in its unit."""

    metric: str
    bias: float  # mean of predicted minus actual
    bias_se: float | None  # clustered by unit; None where there were too few
    bound: float | None  # |bias| + t * bias_se at the gate's alpha: the bias is surely not beyond; None: unknown
    maximum: float | None  # what the gate allows; None: no rule asks
    rows: int
    units: int

    @property
    def holds(self) -> bool:
        """Whether the prediction may decide for another metric."""
        return self.bound is not None and self.maximum is not None and self.bound <= self.maximum


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentMetric:
    """One metric in one segment: the candidate's advantage, positive = better."""

    metric: str
    estimate: float
    upper: float | None  # one-sided bound at the gate's alpha, before Holm's correction; None: unbounded
    p_harm: float  # one-sided p-value of "the candidate is not worse here"
    pairs: int
    units: int
    is_harmed: bool  # significant over all segments and metrics together


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One kind of rows, for instance region = north."""

    feature: str
    value: str
    rows: int
    units: int
    effective_units: float
    metrics: tuple[SegmentMetric, ...]  # that have enough effective units here; none: too few to say anything

    @property
    def name(self) -> str:
        return f"{self.feature} = {self.value}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Breach:
    """A rule that an answer to a stress request broke although it could have been kept."""

    rule: str  # of the task; or 'unparseable', 'empty_answer', 'no_answer'
    answers: int  # that broke it
    detail: str  # of the first of them


@dataclass(frozen=True, kw_only=True, slots=True)
class StressFinding:
    """Stress requests of one kind, answered by both policies."""

    name: str  # what makes them hard
    requests: int
    candidate: tuple[Breach, ...]
    incumbent: tuple[Breach, ...] | None  # None: it cannot be asked (the application itself)
    new: tuple[Breach, ...]  # where the candidate broke what the incumbent kept on the same request: each one fails


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """How one policy behaved over the judged rows."""

    completion_tokens: float  # mean per answer
    unreadable: float  # share of answers that could not be parsed
    unserved: float  # share where not even a repair could be shown
    violating: float  # share of answers that broke a hard rule
    latency_p50_s: float  # wall clock: shown, no part of the digest
    latency_p95_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """The candidate next to the version in production."""

    rows: int
    same_answers: float  # share of rows on which both gave the same answer
    candidate: Side
    incumbent: Side


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """The stricter tests, which run once the rules say PASS."""

    verdict: Literal["PASS", "FAIL"]
    reasons: tuple[str, ...]  # a sentence for each failure
    segments: tuple[Segment, ...]
    stress: tuple[StressFinding, ...]
    unasked: str | None  # why no stress request was asked; None: they were
    behaviour: Behaviour

    def summary(self) -> str:
        """In one sentence: what failed, or what was looked at."""
        if self.reasons:
            return "; ".join(self.reasons)
        judged = [segment for segment in self.segments if segment.metrics]
        few = len(self.segments) - len(judged)
        asked = sum(finding.requests for finding in self.stress)
        parts = [
            f"no harm in {len(judged)} segments" + (f" ({few} more have too few units)" if few else "")
            if self.segments
            else "the task names no segments",
            f"{asked} stress requests answered without a new breach" if asked else f"no stress request: {self.unasked}",
            f"{self.behaviour.same_answers:.0%} of answers are the incumbent's",
        ]
        return ", ".join(parts)

    def logical(self) -> dict[str, Any]:
        """JSON values without what a clock measured."""
        body = asdict(self)
        for side in ("candidate", "incumbent"):
            del body["behaviour"][side]["latency_p50_s"], body["behaviour"][side]["latency_p95_s"]
        return body
