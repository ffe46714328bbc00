"""The difference of a quantile between two arms of clustered rows, for reports: an interval for one look.

Per arm the order statistics n (p +- z sqrt(p (1 - p) / n)) give a standard error (Y_U - Y_L) / 2z, times the root of
how much clustering inflates the variance of I = 1{Y <= q}. Deng, Knoblich, Lu 2018, arXiv 1803.06336; Yao, Li, Lu 2024,
arXiv 2401.14549. While a test runs, a quantile is watched by how many rows exceed a limit: that is a ratio, and holds
at every look."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from bakeoff.stats.ratio import ratio

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """One arm: a value per row (n,), n >= 1, and the number of its unit, 0 or more."""

    values: Floats
    units: Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantileDifference:
    """Treated minus control."""

    treated: float
    control: float
    estimate: float
    lower: float  # -inf where an arm has too few rows
    upper: float


def quantile_difference(treated: Rows, control: Rows, level: float, *, alpha: float = 0.05) -> QuantileDifference:
    """Quantile `level` in (0, 1), two-sided at `alpha`. Raises ValueError for an arm without rows."""
    z = float(scipy.special.ndtri(1 - alpha / 2))
    (one, one_se), (other, other_se) = (_quantile(rows, level, z) for rows in (treated, control))
    reach = z * math.hypot(one_se, other_se)
    return QuantileDifference(
        treated=one, control=other, estimate=one - other, lower=one - other - reach, upper=one - other + reach
    )


def _quantile(rows: Rows, level: float, z: float) -> tuple[float, float]:
    """(value, standard error); the error is inf where the sample has no row far enough out."""
    n = len(rows.values)
    if not n or len(rows.units) != n or not 0 < level < 1:
        raise ValueError(f"{n} values, {len(rows.units)} units, level {level}; expected rows and 0 < level < 1")
    y = np.sort(rows.values)
    value = float(y[max(0, math.ceil(n * level) - 1)])
    spread = z * math.sqrt(level * (1 - level) / n)
    low, high = math.floor(n * (level - spread)) - 1, math.ceil(n * (level + spread)) - 1
    if low < 0 or high >= n:
        return value, math.inf
    factor = cluster_factor(rows, value)
    return value, float(y[high] - y[low]) / (2 * z) * math.sqrt(factor)


def cluster_factor(rows: Rows, at: float) -> float:
    """How much clustering inflates the variance of the share of values <= `at`; at least 1."""
    counts = np.bincount(rows.units)
    below = np.bincount(rows.units, weights=rows.values <= at, minlength=len(counts))
    has = counts > 0
    share = ratio(below[has], counts[has])
    iid = share.value * (1 - share.value) / len(rows.values)
    return max(1.0, share.se**2 / iid) if iid > 0 and math.isfinite(share.se) else 1.0
