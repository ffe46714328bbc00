"""What ``bakeoff gate`` prints for people."""

from collections.abc import Sequence
from typing import Any

from bakeoff.cli.session import table
from bakeoff.gates.findings import Behaviour, Breach, CalibrationCheck, Tier
from bakeoff.gates.model import Gate, GateReport, Outcome, Verdict
from bakeoff.gates.slices import read_by, warning
from bakeoff.policies.model import PolicyVersion


def gate_text(candidate: PolicyVersion, rules: Gate, report: GateReport) -> str:
    """The table of verdicts, what the stricter tests found, and what to type next."""
    used = warning(report.attempt, rules.alpha)
    lines = [
        table([_verdict_row(verdict) for verdict in (*report.all_verdicts(), *report.anchored)]),
        "",
        *(f"  {v.metric}: {v.reason}" for v in report.all_verdicts() if v.outcome is not Outcome.SHOWN),
        *(f"  {line}" for check in report.calibrations for line in [_calibration(check)]),
        *_tier(report.tier),
        "",
        f"{report.rows} rows ({report.neutral_rows} neutral) of {report.units} units, alpha {rules.alpha:g} per metric"
        f"; {read_by(report.subject) or 'the whole test split'}, attempt {report.attempt or 1}",
        *([f"warning: {used}"] if used else []),
        f"verdict: {report.verdict.value}   report {report.digest}",
    ]
    return "\n".join([*lines, *_following(candidate, report)])


def _calibration(check: CalibrationCheck) -> str:
    error = "unknown" if check.bias_se is None else f"{check.bias_se:.3g}"
    return (
        f"{check.metric} as predicted, minus what people did: {check.bias:+.3g} (standard error {error}) on "
        f"{check.rows} rows of {check.units} units of another split"
    )


def _tier(tier: Tier | None) -> Sequence[str]:
    if tier is None:
        return []
    few = [segment.name for segment in tier.segments if not segment.metrics]
    return [
        "",
        f"stricter tests: {tier.verdict}, {tier.summary()}",
        *([f"  too few units to say anything: {', '.join(few)}"] if few else []),
        *(
            f"  stress request '{finding.name}': {_broken(finding.candidate)} of {finding.requests}, "
            f"the incumbent's {_broken(finding.incumbent)}"
            for finding in tier.stress
            if finding.candidate or finding.incumbent
        ),
        _beside(tier.behaviour),
    ]


def _broken(breaches: Sequence[Breach] | None) -> str:
    if breaches is None:
        return "answers are not known"
    return " and ".join(f"{breach.rule} broken by {breach.answers}" for breach in breaches) or "nothing broken"


def _beside(found: Behaviour) -> str:
    ours, theirs = found.candidate, found.incumbent
    return (
        f"  beside the incumbent: {found.same_answers:.0%} same answers; tokens {ours.completion_tokens:.0f} "
        f"({theirs.completion_tokens:.0f}), seconds p95 {ours.latency_p95_s:.2g} ({theirs.latency_p95_s:.2g}), "
        f"unreadable {ours.unreadable:.1%} ({theirs.unreadable:.1%}), hard rules broken {ours.violating:.1%} "
        f"({theirs.violating:.1%})"
    )


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    bounds = [_bound(verdict.lower), _bound(verdict.upper)]
    return {
        "verdict": verdict.outcome.value,
        "metric": verdict.metric,
        "rows": verdict.rows if verdict.fallback is None else f"{verdict.rows}, then {verdict.fallback}",
        "candidate": _figure(verdict.candidate),
        "incumbent": _figure(verdict.incumbent),
        "advantage": None if verdict.kind == "absolute" else _bound(verdict.estimate),
        "interval": None if bounds == [None, None] else f"[{bounds[0] or '...'}, {bounds[1] or '...'}]",
        "needed": _needed(verdict),
    }


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}" if _usual(value) else f"{value:.2g}"


def _bound(value: float | None) -> str | None:
    return None if value is None else f"{value:+.3f}" if _usual(value) else f"{value:+.2g}"


def _usual(value: float) -> bool:
    """Whether three decimals say enough; a cost of an answer is far below."""
    return value == 0 or abs(value) >= 0.001


def _needed(verdict: Verdict) -> str:
    limits = [
        (f"above {-verdict.margin:+g}" if verdict.margin is not None else ""),
        (f"at least {verdict.minimum:g}" if verdict.minimum is not None else ""),
        (f"at most {verdict.maximum:g}" if verdict.maximum is not None else ""),
    ]
    return " and ".join(limit for limit in limits if limit)


def _following(candidate: PolicyVersion, report: GateReport) -> Sequence[str]:
    if report.verdict is Outcome.PASS:
        return [
            "next: read the page, then sign it",
            f'  bakeoff approve {candidate.name} --report {report.digest} --by "Your Name" --note "what you looked at"',
        ]
    if report.verdict is Outcome.FAIL:
        return ["it is worse than it may be, so it meets nobody; bakeoff status says how to go on"]
    more = f"bakeoff gate {candidate.name} --slices N reads more of the test split, where some is sealed"
    return [f"evidence is missing, as said above: build a larger dataset, or {more}"]
