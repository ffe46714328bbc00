"""A quantile of clustered rows, with an interval from order statistics.

Deng, Knoblich, Lu 2018, arXiv 1803.06336; Yao, Li, Lu 2024, arXiv 2401.14549: the ranks of an i.i.d. sample,
pushed apart by how much clustering inflates the variance of I = 1{Y <= q}.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as sps

from bakeoff.stats.ratio import ratio


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantileEstimate:
    """A quantile with a two-sided interval."""

    value: float
    lower: float  # -inf where the sample has no row far enough below
    upper: float  # inf where the sample has no row far enough above
    se: float  # half the distance between the bounds in units of z; inf where a bound is
    rows: int
    cluster_factor: float  # variance of the indicator with clustering / without, at least 1
    enough_rows: bool  # n >= 4 p / (1 - p): 76 rows for the 95th percentile


def quantile(values: Sequence[float], units: Sequence[str], level: float, *, alpha: float = 0.05) -> QuantileEstimate:
    """Quantile `level` in (0, 1) of `values` (n,) that belong to `units` (n,). ValueError without rows."""
    if not values or len(values) != len(units) or not 0 < level < 1:
        raise ValueError(f"{len(values)} values, {len(units)} unit ids, level {level}; expected rows and 0 < level < 1")
    y = np.sort(np.asarray(values, dtype=np.float64))
    n = len(y)
    value = float(y[min(n - 1, max(0, math.ceil(n * level) - 1))])
    factor = cluster_factor(values, units, value)
    z = float(sps.norm.ppf(1 - alpha / 2))
    reach = z * math.sqrt(factor * level * (1 - level) / n)
    low, high = math.floor(n * (level - reach)) - 1, math.ceil(n * (level + reach)) - 1
    lower = float(y[low]) if low >= 0 else -math.inf
    upper = float(y[high]) if high < n else math.inf
    return QuantileEstimate(
        value=value,
        lower=lower,
        upper=upper,
        se=(upper - lower) / (2 * z),
        rows=n,
        cluster_factor=factor,
        enough_rows=n * (1 - level) >= 4 * level,
    )


def cluster_factor(values: Sequence[float], units: Sequence[str], at: float) -> float:
    """How much clustering inflates the variance of the share of `values` <= `at`; at least 1."""
    below: dict[str, float] = {}
    rows: dict[str, float] = {}
    for value, unit in zip(values, units, strict=True):
        below[unit] = below.get(unit, 0.0) + (value <= at)
        rows[unit] = rows.get(unit, 0.0) + 1
    share = ratio(list(below.values()), list(rows.values()))
    iid = share.value * (1 - share.value) / len(values)
    return max(1.0, share.se**2 / iid) if iid > 0 and math.isfinite(share.se) else 1.0
