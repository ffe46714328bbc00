"""A quantile of clustered rows, with an interval from order statistics.

Deng, Knoblich, Lu 2018, arXiv 1803.06336; Yao, Li, Lu 2024, arXiv 2401.14549: the ranks of an i.i.d. sample,
pushed apart by how much clustering inflates the variance of I = 1{Y <= q}.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from bakeoff.stats.paired import Units, unit_codes
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


def quantile(values: npt.ArrayLike, units: Units, level: float, *, alpha: float = 0.05) -> QuantileEstimate:
    """Quantile `level` in (0, 1) of `values` (n,) that belong to `units` (n,). ValueError without rows."""
    y = np.sort(np.asarray(values, dtype=np.float64))
    n = len(y)
    if not n or n != len(units) or not 0 < level < 1:
        raise ValueError(f"{n} values, {len(units)} unit ids, level {level}; expected rows and 0 < level < 1")
    value = float(y[min(n - 1, max(0, math.ceil(n * level) - 1))])
    factor = cluster_factor(values, units, value)
    z = float(scipy.special.ndtri(1 - alpha / 2))
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


def cluster_factor(values: npt.ArrayLike, units: Units, at: float) -> float:
    """How much clustering inflates the variance of the share of `values` <= `at`; at least 1."""
    place, is_below = unit_codes(units), np.asarray(values, dtype=np.float64) <= at
    rows = np.bincount(place)
    below = np.bincount(place[is_below], minlength=len(rows))
    share = ratio(below[rows > 0], rows[rows > 0])
    iid = share.value * (1 - share.value) / len(place)
    return max(1.0, share.se**2 / iid) if iid > 0 and math.isfinite(share.se) else 1.0
