"""Subject, ReplayRow, Certificate, ReplayReport."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bakeoff.fingerprint import digest
from bakeoff.task import Answer, Violation


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What a replay is about. Two finished ones with the same subject say the same thing twice."""

    policy_version_id: str
    fingerprint: str  # of the policy spec
    dataset_digest: str
    selection: Mapping[str, Any]  # which rows (`select.selection`)
    repeats: int = 1  # answers per row
    scored_by: Mapping[str, str] = field(default_factory=dict)  # `scored_by.scored_by`


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayRow:
    """One held-out example answered by one policy spec, once."""

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
    repeat: int = 0  # 0 for the first answer to this example
    request_digest: str | None = None  # of the request, as the log knows it
    prompt_digest: str | None = None  # of messages and schema; None for policies that read no prompt
    from_cache: bool = False  # an answer kept from an earlier replay; latency is what it took then
    segments: Mapping[str, str] | None = None  # what kind of row, see `segments`; None: not kept

    @property
    def key(self) -> tuple[str, int]:
        return self.example_id, self.repeat

    @property
    def answer_digest(self) -> str:
        return digest({"raw": self.raw_answer, "parsed": self.parsed_answer})

    def logical(self) -> dict[str, Any]:
        """What must be equal when the same spec replays the same example."""
        return {
            "example_id": self.example_id,
            "repeat": self.repeat,
            "answer": self.answer_digest,
            "metrics": dict(self.metrics),
            "violations": [violation.rule for violation in self.violations],
            "tokens": [self.prompt_tokens, self.completion_tokens],
            "cost": self.cost,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """A sample answered a second time, in another order and, where several processes answer, in another process."""

    rows: int
    equal: int
    kind: Literal["exact", "noise"] = "exact"  # 'noise': a remote engine, whose answers may differ from run to run
    noise: Mapping[str, float] = field(default_factory=dict)
    """Of kind 'noise': metric -> bound, sure to 95 %, of the mean difference between the two answers, without sign.
    A metric without ends of which so few rows say nothing is left out."""

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
    selection: Mapping[str, Any]  # split, slices, sample size, sample seed, to whom rows are neutral
    engine: Mapping[str, Any]  # library versions, dtype, threads, digest of the code (`answer.stamp`)
    certificate: Certificate
    aggregates: Mapping[str, float]  # means by metric, token and latency figures
    digest: str  # of the rows in canonical order
    repeats: int = 1  # answers per example; `repeats.averaged` makes one row of them
    scored_by: Mapping[str, str] = field(default_factory=dict)  # code and learnt parameters that gave the scores
    cached: int = 0  # rows whose answers were kept from earlier replays
    segments_digest: str | None = None  # `segments.segments_digest` of the rows; None where one has no segments
    finished_at: datetime | None = None


def rows_digest(rows: Sequence[ReplayRow]) -> str:
    """Over rows in canonical order, whatever the order they were answered in."""
    return digest([row.logical() for row in sorted(rows, key=lambda row: row.key)])
