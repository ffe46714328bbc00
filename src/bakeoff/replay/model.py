"""ReplayRow, Certificate, ReplayReport."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bakeoff.fingerprint import digest
from bakeoff.task import Answer, Violation


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayRow:
    """One held-out example answered by one policy spec."""

    example_id: str
    unit_id: str
    raw_answer: str
    parsed_answer: Answer | None
    answer: Answer | None  # after repair; None where there was nothing to serve
    violations: tuple[Violation, ...]  # before repair
    metrics: Mapping[str, float | None]  # of the parsed answer; the task's `score`
    prompt_tokens: int
    completion_tokens: int
    latency_s: float  # wall clock: shown and judged against budgets, never part of a digest
    cost: float

    @property
    def answer_digest(self) -> str:
        return digest({"raw": self.raw_answer, "parsed": self.parsed_answer})

    def logical(self) -> dict[str, Any]:
        """What must be equal when the same spec replays the same example."""
        return {
            "example_id": self.example_id,
            "answer": self.answer_digest,
            "metrics": dict(self.metrics),
            "violations": [violation.rule for violation in self.violations],
            "tokens": [self.prompt_tokens, self.completion_tokens],
            "cost": self.cost,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """A sample answered a second time, in another order."""

    rows: int
    equal: int
    kind: Literal["exact", "noise"] = "exact"  # 'noise': a remote engine, whose answers may differ from run to run
    noise: Mapping[str, float] = field(default_factory=dict)
    """Of kind 'noise': metric -> bound, sure to 95 %, of the mean difference between the two answers, without sign."""

    @property
    def deterministic(self) -> bool:
        return self.equal == self.rows


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayReport:
    """A finished replay."""

    replay_id: str
    policy_version_id: str
    fingerprint: str
    dataset_digest: str
    selection: Mapping[str, Any]  # split, sample size, sample seed
    engine: Mapping[str, Any]  # library versions, dtype, threads
    certificate: Certificate
    aggregates: Mapping[str, float]  # means by metric, token and latency figures
    digest: str  # of the rows in canonical order


def rows_digest(rows: Sequence[ReplayRow]) -> str:
    """Over rows in canonical order, whatever the order they were answered in."""
    return digest([row.logical() for row in sorted(rows, key=lambda row: row.example_id)])
