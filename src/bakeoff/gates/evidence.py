"""What the paired rows say about one metric, before any rule is applied."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bakeoff.gates.columns import Floats, Mask, Pairs
from bakeoff.gates.model import Absolute
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


def chosen(pairs: Pairs, row_set: Literal["all", "neutral", "anchored"]) -> Mask:
    """Which rows a rule looks at, (n,)."""
    if row_set == "all":
        return np.ones(len(pairs), dtype=np.bool_)
    return pairs.neutral if row_set == "neutral" else ~pairs.neutral


def pair_evidence(pairs: Pairs, where: Mask, metric: Metric, alpha: float) -> PairEvidence:
    """Compares both sides over the rows of `where` that have both values. Rows where neither has one do not apply."""
    sign = 1.0 if metric.direction == "higher" else -1.0
    ours, theirs = pairs.side("candidate", metric.name), pairs.side("incumbent", metric.name)
    has_ours, has_theirs = ~np.isnan(ours), ~np.isnan(theirs)
    both = where & has_ours & has_theirs
    applicable = int((where & (has_ours | has_theirs)).sum())
    return PairEvidence(
        comparison=compare_pairs(
            sign * (ours[both] - theirs[both]),
            pairs.units[both],
            alpha=alpha,
            span=None if metric.low is None or metric.high is None else metric.high - metric.low,
        ),
        candidate=_mean(ours[both]),
        incumbent=_mean(theirs[both]),
        applicable=applicable,
        missing_candidate=int((where & ~has_ours & has_theirs).sum()) / applicable if applicable else 0.0,
        missing_incumbent=int((where & has_ours & ~has_theirs).sum()) / applicable if applicable else 0.0,
    )


def own_evidence(pairs: Pairs, where: Mask, rule: Absolute, alpha: float) -> OwnEvidence:
    """The rule's statistic over the candidate's values, with one-sided bounds at `alpha`."""
    column = pairs.side("candidate", rule.column)
    there = where & ~np.isnan(column)
    values, units, rows = column[there], pairs.units[there], int(where.sum())
    spread = compare_pairs(values, units, alpha=alpha)
    value, lower, upper, enough = _mean(values), spread.lower, spread.upper, True
    if rule.statistic == "p95" and len(values):
        order = quantile(values, units, 0.95, alpha=2 * alpha)
        value, lower, upper, enough = order.value, order.lower, order.upper, order.enough_rows
    return OwnEvidence(
        value=value,
        lower=lower,
        upper=upper,
        spread=spread,
        breaches=int(_beyond(rule, values).sum()),
        missing=1 - len(values) / rows if rows else 0.0,
        enough_rows=enough,
    )


def breaks(rule: Absolute, value: float) -> bool:
    """Whether `value` is beyond the rule's limit; a rounding error of 1e-9 is not a breach."""
    return bool(_beyond(rule, np.array([value]))[0])


def _beyond(rule: Absolute, values: Floats) -> Mask:
    low = -np.inf if rule.minimum is None else rule.minimum - 1e-9
    high = np.inf if rule.maximum is None else rule.maximum + 1e-9
    return (values < low) | (values > high)


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
