"""What the paired rows say about one metric, before any rule is applied."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bakeoff.errors import UsageError
from bakeoff.gates.model import Absolute, PairedRow, RowSet
from bakeoff.stats.paired import PairedComparison, compare_pairs
from bakeoff.stats.quantile import quantile
from bakeoff.task import Metric


@dataclass(frozen=True, kw_only=True, slots=True)
class PairEvidence:
    """Candidate against incumbent on one metric."""

    comparison: PairedComparison  # of the candidate's advantage: positive = better, whatever the direction
    candidate: float | None  # mean over the pairs
    incumbent: float | None
    applicable: int  # rows where at least one side has a value
    missing_candidate: float  # share of applicable rows
    missing_incumbent: float


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnEvidence:
    """The candidate alone on one metric."""

    value: float | None  # the rule's statistic
    lower: float
    upper: float
    spread: PairedComparison  # of the values themselves: units, effective units, detectable change
    breaches: int  # rows that are beyond the rule's limit by themselves
    missing: float  # share of all rows without a value
    enough_rows: bool  # for the statistic


def pick(rows: Sequence[PairedRow], row_set: RowSet) -> list[PairedRow]:
    """The rows that a rule looks at."""
    return [row for row in rows if row_set == "all" or row.neutral]


def pair_evidence(rows: Sequence[PairedRow], metric: Metric, alpha: float) -> PairEvidence:
    """Compares both sides over the rows where both have a value. Rows where neither has one do not apply."""
    sign = 1.0 if metric.direction == "higher" else -1.0
    pairs, only_candidate, only_incumbent = [], 0, 0
    for row in rows:
        ours, theirs = _value(row, "candidate", metric), _value(row, "incumbent", metric)
        if ours is not None and theirs is not None:
            pairs.append((row.unit_id, ours, theirs))
        only_candidate += ours is not None and theirs is None
        only_incumbent += theirs is not None and ours is None
    applicable = len(pairs) + only_candidate + only_incumbent
    return PairEvidence(
        comparison=compare_pairs(
            [sign * (ours - theirs) for _, ours, theirs in pairs],
            [unit for unit, _, _ in pairs],
            alpha=alpha,
            span=None if metric.low is None or metric.high is None else metric.high - metric.low,
        ),
        candidate=_mean([ours for _, ours, _ in pairs]),
        incumbent=_mean([theirs for _, _, theirs in pairs]),
        applicable=applicable,
        missing_candidate=only_incumbent / applicable if applicable else 0.0,
        missing_incumbent=only_candidate / applicable if applicable else 0.0,
    )


def own_evidence(rows: Sequence[PairedRow], metric: Metric, rule: Absolute, alpha: float) -> OwnEvidence:
    """The rule's statistic over the candidate's values, with one-sided bounds at `alpha`."""
    found = [(row.unit_id, value) for row in rows if (value := _value(row, "candidate", metric)) is not None]
    values, units = [value for _, value in found], [unit for unit, _ in found]
    spread = compare_pairs(values, units, alpha=alpha)
    value, lower, upper, enough = _mean(values), spread.lower, spread.upper, True
    if rule.statistic == "p95" and values:
        order = quantile(values, units, 0.95, alpha=2 * alpha)
        value, lower, upper, enough = order.value, order.lower, order.upper, order.enough_rows
    return OwnEvidence(
        value=value,
        lower=lower,
        upper=upper,
        spread=spread,
        breaches=sum(breaks(rule, value) for value in values),
        missing=1 - len(values) / len(rows) if rows else 0.0,
        enough_rows=enough,
    )


def breaks(rule: Absolute, value: float) -> bool:
    """Whether `value` is beyond the rule's limit; a rounding error of 1e-9 is not a breach."""
    too_low = rule.minimum is not None and value < rule.minimum - 1e-9
    return too_low or (rule.maximum is not None and value > rule.maximum + 1e-9)


def _value(row: PairedRow, side: str, metric: Metric) -> float | None:
    value = (row.candidate if side == "candidate" else row.incumbent).get(metric.name)
    if value is None:
        return None
    out_of_range = (metric.low is not None and value < metric.low - 1e-9) or (
        metric.high is not None and value > metric.high + 1e-9
    )
    if not math.isfinite(value) or out_of_range:
        raise UsageError(
            f"row {row.example_id}: {side}'s {metric.name} is {value}; "
            f"expected a number from {metric.low} to {metric.high}, or None where it does not apply",
            cure=f"correct `Task.score` for '{metric.name}', or the metric's declared range",
        )
    return float(value)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
