"""The stricter tests that follow where the rules say PASS: segments, stress requests, behaviour beside production."""

from collections.abc import Sequence

import numpy as np

from bakeoff.events.canonical import canonical_bytes
from bakeoff.fingerprint import digest_bytes
from bakeoff.gates.findings import Behaviour, Segment, Side, StressFinding, Tier
from bakeoff.gates.model import GateReport, Outcome
from bakeoff.gates.segments import Labels, harms
from bakeoff.gates.stress import failures
from bakeoff.replay.scores import Scores
from bakeoff.task import StressCase


def question(report: GateReport, cases: Sequence[StressCase], labels: Labels) -> str:
    """Digest of everything that the stricter tests depend on. Who asks the same again gets the same report: a policy
    whose answers vary must not be asked until it is lucky."""
    asked = [[case.name, case.request, sorted(case.allowed)] for case in cases]
    kinds = [[name, labels[name]] for name in sorted(labels)]
    return digest_bytes(canonical_bytes([report.digest, asked, kinds]))


def tier(
    segments: Sequence[Segment],
    stress: Sequence[StressFinding],
    behaviour: Behaviour,
    *,
    alpha: float,
    unasked: str | None,
) -> Tier:
    """PASS where no segment is harmed and no stress request breaks what the incumbent keeps."""
    reasons = (*harms(segments, alpha), *failures(stress))
    return Tier(
        verdict="FAIL" if reasons else "PASS",
        reasons=reasons,
        segments=tuple(segments),
        stress=tuple(stress),
        unasked=unasked,
        behaviour=behaviour,
    )


def overall_with(report: GateReport, found: Tier) -> Outcome:
    """PASS only where the rules and the stricter tests pass."""
    return report.verdict if found.verdict == "PASS" else Outcome.FAIL


def behaviour(candidate: Scores, incumbent: Scores, rows: Sequence[int], *, same_answers: int) -> Behaviour:
    """Over the judged rows: their numbers in both, which hold the same examples. `same_answers`: to how many of them
    both gave the same answer."""
    return Behaviour(
        rows=len(rows),
        same_answers=_rounded(same_answers / len(rows)),
        candidate=_side(candidate, rows),
        incumbent=_side(incumbent, rows),
    )


def _side(scores: Scores, rows: Sequence[int]) -> Side:
    means = {name: _rounded(float(column[rows].sum()) / len(rows)) for name, column in scores.answered.items()}
    p50, p95 = np.quantile(scores.values["latency_s"][rows], (0.5, 0.95))
    return Side(**means, latency_p50_s=_rounded(p50), latency_p95_s=_rounded(p95))


def _rounded(value: float) -> float:
    return float(f"{value:.12g}")
