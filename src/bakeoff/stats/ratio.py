"""Ratio metrics of clustered rows: the delta method at unit level.

Deng, Knoblich, Lu 2018, arXiv 1803.06336. With X and D a unit's numerator and number of rows, the metric is
r = sum X / sum D, and its variance is that of Z = (X - r D) / mean(D), divided by the number of units.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioEstimate:
    """One arm's ratio metric."""

    value: float  # sum X / sum D
    se: float  # inf below two units
    units: int
    rows: float  # sum D


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Treated minus control."""

    estimate: float  # absolute: in the metric's unit; relative: share of the control's value
    se: float
    units: int  # of both arms


def ratio(numerators: npt.ArrayLike, denominators: npt.ArrayLike) -> RatioEstimate:
    """Ratio of sums over units, `numerators` (K,) and `denominators` (K,) >= 0 with a positive sum.

    Raises ValueError where the denominators add up to nothing: no value, not 0."""
    x, d = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if x.shape != d.shape or x.ndim != 1:
        raise ValueError(f"numerators {x.shape} and denominators {d.shape}; expected two vectors of one length")
    if not d.sum() > 0:
        raise ValueError("the denominators add up to nothing; leave the metric out, missing is never a number")
    value = float(x.sum() / d.sum())
    units = len(x)
    if units < 2:
        return RatioEstimate(value=value, se=math.inf, units=units, rows=float(d.sum()))
    z = (x - value * d) / d.mean()
    return RatioEstimate(value=value, se=math.sqrt(float(z.var(ddof=1)) / units), units=units, rows=float(d.sum()))


def difference(treated: RatioEstimate, control: RatioEstimate) -> Difference:
    """Absolute difference of two independent arms."""
    return Difference(
        estimate=treated.value - control.value,
        se=math.hypot(treated.se, control.se),
        units=treated.units + control.units,
    )


def relative_lift(treated: RatioEstimate, control: RatioEstimate) -> Difference:
    """(treated - control) / |control|, by the delta method. Raises ValueError where the control is 0."""
    if control.value == 0:
        raise ValueError("the control's value is 0; a relative lift is not defined, use the absolute difference")
    base = abs(control.value)
    return Difference(
        estimate=(treated.value - control.value) / base,
        se=math.hypot(treated.se / base, control.se * treated.value / base**2),
        units=treated.units + control.units,
    )


def floored_se(estimate: RatioEstimate, span: float | None) -> float:
    """`estimate.se`, but never below `least_se`. `span` None (unbounded metric): inf where the standard error is 0."""
    return max(estimate.se, least_se(estimate.units, span)) or math.inf


def least_se(units: int, span: float | None) -> float:
    """What one more unit at the far end of the metric's range would show.

    Arms in which nothing happened yet have a standard error of 0 and would look like certainty. The floor is
    the binomial standard error at the rule of succession, span * sqrt(p (1 - p) / K) with p = 1 / (K + 2).
    0 where `span` is None (unbounded metric)."""
    if span is None:
        return 0.0
    share = 1 / (units + 2)
    return span * math.sqrt(share * (1 - share) / units)
