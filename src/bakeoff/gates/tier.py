"""The stricter tests that follow where the rules say PASS: segments, stress requests, behaviour beside production."""

from collections.abc import Mapping, Sequence
from typing import Any

from bakeoff.fingerprint import digest
from bakeoff.gates.findings import Behaviour, Segment, Side, StressFinding, Tier
from bakeoff.gates.model import GateReport, Outcome
from bakeoff.gates.segments import Labels, harms
from bakeoff.gates.stress import failures
from bakeoff.task import StressCase


def question(report: GateReport, cases: Sequence[StressCase], labels: Labels) -> str:
    """Digest of everything that the stricter tests depend on. Who asks the same again gets the same report: a policy
    whose answers vary must not be asked until it is lucky."""
    asked = [[case.name, case.request, case.allowed] for case in cases]
    return digest([report.digest, asked, sorted((name, dict(labels[name])) for name in labels)])


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


def behaviour(counted: Mapping[str, Any]) -> Behaviour:
    """From what the store counted over two replays."""
    return Behaviour(
        rows=int(counted["rows"]),
        same_answers=_rounded(counted["same_answers"]),
        candidate=_side(counted, "candidate"),
        incumbent=_side(counted, "incumbent"),
    )


def _side(counted: Mapping[str, Any], side: str) -> Side:
    p50, p95 = counted[f"{side}_latency_s"]
    return Side(
        completion_tokens=_rounded(counted[f"{side}_tokens"]),
        unreadable=_rounded(counted[f"{side}_unreadable"]),
        unserved=_rounded(counted[f"{side}_unserved"]),
        violating=_rounded(counted[f"{side}_violating"]),
        latency_p50_s=float(p50),
        latency_p95_s=float(p95),
    )


def _rounded(value: Any) -> float:
    return float(f"{float(value):.12g}")
