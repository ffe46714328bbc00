"""Numbers and verdicts as people read them."""

from collections.abc import Sequence

from bakeoff.gates.model import Outcome, Verdict
from bakeoff.gates.store import StoredReport

NAMED = 3
"""Metrics that a headline names; the table has them all."""


def figure(value: float | None) -> str:
    """'0.731', '12.4', '1,234', '0.00042'; a dash for None."""
    if value is None:
        return "–"
    size = abs(value)
    if value == int(value) and size < 1e15:
        return f"{int(value):,}"
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.3f}" if size >= 0.001 else f"{value:.2g}"


def signed(value: float | None) -> str:
    """`figure` with its sign: '+0.031'."""
    return "–" if value is None else f"{'+' if value > 0 else ''}{figure(value)}".replace("-", "−")


def limit(value: float | None) -> str:
    """A number that somebody chose, as they wrote it: '0.03', '−0.25'."""
    return "–" if value is None else f"{value:.6g}".replace("-", "−")


def tick(value: float) -> str:
    """A round number on a scale of differences: '+0.5', '0', '−0.25'."""
    return f"{value:+.6g}".replace("-", "−") if value else "0"


def share(value: float) -> str:
    """0.0312 -> '3.1 %'."""
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def needed(verdict: Verdict) -> str:
    """What the rule asks for."""
    limits = [
        f"above {limit(-verdict.margin)}" if verdict.margin is not None else "",
        f"at least {limit(verdict.minimum)}" if verdict.minimum is not None else "",
        f"at most {limit(verdict.maximum)}" if verdict.maximum is not None else "",
    ]
    return " and ".join(each for each in limits if each) or "shown only"


def plain(name: str) -> str:
    """'plan_alignment_score' -> 'plan alignment score'."""
    return name.replace("_", " ")


def headline(stored: StoredReport, candidate: str, incumbent: str) -> str:
    """The verdict in one sentence, with what follows from it."""
    verdicts = stored.report.all_verdicts()
    if stored.report.verdict is Outcome.PASS:
        return _passed(verdicts, candidate, incumbent)
    if stored.report.verdict is Outcome.FAIL:
        return _failed(verdicts, candidate, incumbent, _beyond(stored))
    return _undecided(verdicts, candidate)


def _passed(verdicts: Sequence[Verdict], candidate: str, incumbent: str) -> str:
    compared = [v for v in verdicts if v.kind == "non_inferior"]
    promises = [v for v in verdicts if v.kind == "absolute"]
    better = [v.metric for v in compared if v.lower is not None and v.lower > 0]
    parts = [f"is no worse than {incumbent} on {_counted(len(compared), 'metric')}"] if compared else []
    parts += [f"keeps {_counted(len(promises), 'limit')}"] if promises else []
    parts += [f"is surely better on {_listed(better)}"] if better else []
    return f"{candidate} may be tried on at most 10 % of the units: it {_joined(parts)}."


def _failed(verdicts: Sequence[Verdict], candidate: str, incumbent: str, beyond: Sequence[str]) -> str:
    failed = [v for v in verdicts if v.outcome is Outcome.FAIL]
    worse = [plain(v.metric) for v in failed if v.kind == "non_inferior"]
    broken = [
        f"{plain(v.metric)} is {figure(v.candidate)}, needed is {needed(v)}" for v in failed if v.kind == "absolute"
    ]
    parts = [f"it is worse than {incumbent} on {_listed(worse)}"] if worse else []
    parts += broken[:NAMED]
    parts += list(beyond)[:NAMED] if not parts else []
    return f"{candidate} must not meet anybody: {'; '.join(parts)}."


def _undecided(verdicts: Sequence[Verdict], candidate: str) -> str:
    missing = [v for v in verdicts if v.outcome is Outcome.INCONCLUSIVE]
    asked = [v.units_needed for v in missing if v.units_needed is not None]
    there = min((v.effective_units for v in missing), default=0.0)
    more = ""
    if asked and max(asked) > there:
        more = f"; about {max(asked):,} held-out units would probably settle it, and these rows count as {there:.0f}"
    names = _listed([v.metric for v in missing]) if missing else "every metric"
    return f"There is not enough evidence to let {candidate} meet anybody: nothing is proven about {names}{more}."


def _beyond(stored: StoredReport) -> Sequence[str]:
    """What the stricter tests say, where the report has them."""
    tier = stored.report.to_json().get("tier") or {}
    return [str(reason) for reason in tier.get("reasons", ())]


def _listed(names: Sequence[str]) -> str:
    shown = [plain(name) for name in names[:NAMED]]
    more = len(names) - len(shown)
    return _joined([*shown, f"{more} more"] if more else shown)


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "nothing"


def _counted(count: int, noun: str) -> str:
    return f"the one gated {noun}" if count == 1 else f"all {count} gated {noun}s"
