"""From evidence to a verdict per rule, in words that a product engineer understands."""

import math
from dataclasses import replace
from typing import Literal

from bakeoff.gates.evidence import OwnEvidence, PairEvidence, breaks
from bakeoff.gates.findings import CalibrationCheck
from bakeoff.gates.model import Absolute, Gate, NonInferior, Outcome, Verdict
from bakeoff.gates.prediction import trusted, why_not
from bakeoff.stats.paired import PairedComparison, units_to_prove_a_tie
from bakeoff.task import Metric

Rows = Literal["all", "neutral", "anchored"]


def non_inferior_verdict(
    gate: Gate,
    rule: NonInferior,
    metric: Metric,
    evidence: PairEvidence,
    *,
    harmful: bool,
    noise: float | None = None,
) -> Verdict:
    """`harmful`: the harm is significant with Holm's correction over the gate's metrics. `noise`: how far the mean of
    a remote engine may move from one run to the next; None: answers are the same in every run."""
    outcome, reason, needed = _non_inferior(gate, rule, metric, evidence, harmful)
    if outcome is not Outcome.FAIL and noise is not None and noise >= rule.margin and evidence.comparison.rows:
        outcome, needed = Outcome.INCONCLUSIVE, None
        reason = _noisy(noise, rule.margin)
    found = _pair_verdict(rule.metric, "non_inferior", rule.rows, evidence, outcome, reason, rule.margin, needed)
    return replace(found, noise=_number(noise))


def is_too_few(gate: Gate, evidence: PairEvidence) -> bool:
    """Whether the rows are fewer than the gate's minimum; not whether some lack a value."""
    return evidence.comparison.effective_units < gate.minimum_effective_units and is_whole(gate, evidence)


def is_whole(gate: Gate, evidence: PairEvidence) -> bool:
    """Whether hardly any value is missing on one side."""
    return max(evidence.missing_candidate, evidence.missing_incumbent) <= gate.maximum_missing_share


def rests_on(rule: NonInferior, own: Verdict, other: Verdict, check: CalibrationCheck | None) -> Verdict:
    """`own`, of a rule with too few neutral rows, decided by the verdict on its fallback over all rows; only where
    the prediction was found to be calibrated.

    A prediction sees less than people do, so it understates gains: it can prove that nothing got worse by the margin,
    never that something got better."""
    few = f"{own.pairs} neutral rows of {own.units} units are too few"
    reason = why_not(check, other.metric)
    if reason is not None or check is None:
        return replace(own, reason=f"{few}, and {reason}", fallback=other.metric)
    outcome, said = other.outcome, other.reason
    if outcome is Outcome.PASS and rule.not_below and (other.estimate or 0.0) < 0:
        outcome, said = Outcome.INCONCLUSIVE, f"below the incumbent, although within the margin: {other.reason}"
    return replace(
        own,
        outcome=outcome,
        reason=(
            f"{few}, so {other.metric} decides over all rows. A prediction understates gains: this can prove that it "
            f"is not worse by {_short(other.margin or 0.0)}, not that it is better. {said}. "
            f"Checked on held-out rows: {trusted(check)}"
        ),
        fallback=other.metric,
        units_needed=None if outcome is not Outcome.INCONCLUSIVE else own.units_needed,
    )


def shown_verdict(metric: str, rows: Rows, evidence: PairEvidence) -> Verdict:
    c = evidence.comparison
    reason = f"shown, not gated: {_advantage(c)}" if c.rows else "shown, not gated: no row has both values"
    return _pair_verdict(metric, "shown", rows, evidence, Outcome.SHOWN, reason, None, None)


def absolute_verdict(gate: Gate, rule: Absolute, evidence: OwnEvidence) -> Verdict:
    """A breach fails by itself, however few the rows; a kept promise needs enough rows to count."""
    outcome, reason, needed = _absolute(gate, rule, evidence)
    spread = evidence.spread
    return Verdict(
        metric=rule.metric,
        kind="absolute",
        rows=rule.rows,
        outcome=outcome,
        reason=reason,
        estimate=_number(evidence.value),
        lower=_number(evidence.lower) if spread.rows else None,
        upper=_number(evidence.upper) if spread.rows else None,
        margin=None,
        minimum=rule.minimum,
        maximum=rule.maximum,
        candidate=_number(evidence.value),
        incumbent=None,
        pairs=spread.rows,
        units=spread.units,
        effective_units=_rounded(spread.effective_units),
        missing_candidate=_rounded(evidence.missing),
        missing_incumbent=0.0,
        detectable=_number(spread.detectable),
        units_needed=needed,
    )


def _non_inferior(
    gate: Gate, rule: NonInferior, metric: Metric, evidence: PairEvidence, harmful: bool
) -> tuple[Outcome, str, int | None]:
    c = evidence.comparison
    if c.rows == 0:
        rows = "neutral row" if rule.rows == "neutral" else "row"
        return Outcome.INCONCLUSIVE, f"no {rows} has a value on both sides", _minimum(gate)
    for side, share in (
        ("candidate", evidence.missing_candidate),
        ("incumbent", evidence.missing_incumbent),
    ):
        if share > gate.maximum_missing_share:
            return Outcome.INCONCLUSIVE, _missing(side, share, evidence.applicable, gate), None
    if harmful:
        return Outcome.FAIL, f"worse than the incumbent beyond doubt: {_advantage(c)}", None
    if c.effective_units < gate.minimum_effective_units:
        return Outcome.INCONCLUSIVE, _too_few(gate, c, rule.rows), _minimum(gate)
    if c.lower > -rule.margin:
        return _not_below(rule, c)
    needed = _needed(rule, metric, c)
    reason = f"may be worse by more than the margin of {_short(rule.margin)}: {_advantage(c)}"
    return Outcome.INCONCLUSIVE, reason + _plan(needed, c), needed


def _not_below(rule: NonInferior, c: PairedComparison) -> tuple[Outcome, str, int | None]:
    if rule.not_below and c.estimate < 0:
        reason = f"below the incumbent, although within the margin of {_short(rule.margin)}: {_advantage(c)}"
        return Outcome.INCONCLUSIVE, reason, None
    better = c.lower > 0
    verb = "better than the incumbent" if better else f"not worse by more than {_short(rule.margin)}"
    return Outcome.PASS, f"{verb}: {_advantage(c)}", None


def _absolute(gate: Gate, rule: Absolute, evidence: OwnEvidence) -> tuple[Outcome, str, int | None]:
    spread = evidence.spread
    if evidence.value is None:
        return Outcome.INCONCLUSIVE, "the candidate has no value on any row", _minimum(gate)
    is_broken = breaks(rule, evidence.value)
    limit = _limit(rule)
    if is_broken:
        rows = f", {evidence.breaches} of {spread.rows} rows beyond it" if rule.statistic == "mean" else ""
        return Outcome.FAIL, f"{_short(evidence.value)} breaks the limit {limit}{rows}", None
    if evidence.missing > gate.maximum_missing_share:
        return Outcome.INCONCLUSIVE, _missing("candidate", evidence.missing, spread.rows, gate), None
    if spread.effective_units < gate.minimum_effective_units:
        return Outcome.INCONCLUSIVE, _too_few(gate, spread, rule.rows), _minimum(gate)
    if not evidence.enough_rows:
        return Outcome.INCONCLUSIVE, f"a 95th percentile needs 76 rows; there are {spread.rows}", None
    return Outcome.PASS, f"{_short(evidence.value)} keeps the limit {limit} on {spread.rows} rows", None


def _pair_verdict(
    metric: str,
    kind: Literal["non_inferior", "shown"],
    rows: Rows,
    evidence: PairEvidence,
    outcome: Outcome,
    reason: str,
    margin: float | None,
    needed: int | None,
) -> Verdict:
    c = evidence.comparison
    return Verdict(
        metric=metric,
        kind=kind,
        rows=rows,
        outcome=outcome,
        reason=reason,
        estimate=_number(c.estimate) if c.rows else None,
        lower=_number(c.lower),
        upper=_number(c.upper),
        margin=margin,
        minimum=None,
        maximum=None,
        candidate=_number(evidence.candidate),
        incumbent=_number(evidence.incumbent),
        pairs=c.rows,
        units=c.units,
        effective_units=_rounded(c.effective_units),
        missing_candidate=_rounded(evidence.missing_candidate),
        missing_incumbent=_rounded(evidence.missing_incumbent),
        detectable=_number(c.detectable),
        units_needed=needed,
    )


def _needed(rule: NonInferior, metric: Metric, c: PairedComparison) -> int | None:
    """Effective units with which a candidate as good as the incumbent would probably pass."""
    if c.method != "jackknife" and metric.low is not None and metric.high is not None:
        return units_to_prove_a_tie(rule.margin, metric.high - metric.low, c.alpha)
    if not math.isfinite(c.detectable):
        return None
    return math.ceil(c.effective_units * (c.detectable / rule.margin) ** 2)


def _minimum(gate: Gate) -> int:
    return math.ceil(gate.minimum_effective_units)


def _plan(needed: int | None, c: PairedComparison) -> str:
    if needed is None or needed <= c.effective_units:
        return ""
    return f"; about {needed - math.floor(c.effective_units)} more units would probably settle it"


def _too_few(gate: Gate, c: PairedComparison, rows: str) -> str:
    kind = "neutral rows" if rows == "neutral" else "rows"
    missing = math.ceil(gate.minimum_effective_units - c.effective_units)
    return (
        f"{c.rows} {kind} of {c.units} units count as {c.effective_units:.1f} independent units; "
        f"{gate.minimum_effective_units:g} are needed, about {missing} more"
    )


def _noisy(noise: float, margin: float) -> str:
    moved = f"may move by {_short(noise)}, no less than" if math.isfinite(noise) else "was never compared with"
    return (
        f"a remote engine may answer differently in the next run, and the mean {moved} the margin of "
        f"{_short(margin)}; average more repeats, or pin the engine"
    )


def _missing(side: str, share: float, rows: int, gate: Gate) -> str:
    return (
        f"the {side} has no value on {share:.1%} of {rows} rows where there should be one; "
        f"at most {gate.maximum_missing_share:.0%} may be missing"
    )


def _advantage(c: PairedComparison) -> str:
    """'+0.012 (sure to 95 %: above -0.008, below 0.032) on 120 rows of 60 units'."""
    bounds = f"above {_short(c.lower)}, below {_short(c.upper)}" if math.isfinite(c.lower) else "bounds unknown"
    same = "; no row differs" if c.method == "exact" and c.estimate == 0 else ""
    return f"{c.estimate:+.3g} ({1 - c.alpha:.0%} sure each: {bounds}{same}) on {c.rows} rows of {c.units} units"


def _limit(rule: Absolute) -> str:
    parts = []
    if rule.minimum is not None:
        parts.append(f">= {_short(rule.minimum)}")
    if rule.maximum is not None:
        parts.append(f"<= {_short(rule.maximum)}")
    return f"{'95th percentile' if rule.statistic == 'p95' else 'mean'} {' and '.join(parts)}"


def _short(value: float) -> str:
    return f"{value:.3g}"


def _rounded(value: float) -> float:
    """12 significant digits: the last bits of a sum are not evidence, and digests must not depend on them."""
    return float(f"{value:.12g}") + 0.0  # -0.0 becomes 0.0: a database gives back only one zero


def _number(value: float | None) -> float | None:
    return _rounded(value) if value is not None and math.isfinite(value) else None
