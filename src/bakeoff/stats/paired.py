"""Paired comparison of two policies on the same rows, where rows of one unit are not independent.

The variance is the leave-one-unit-out jackknife (CV3) with t(G-1) quantiles: MacKinnon, Nielsen, Webb 2023,
arXiv 2301.04527; paired differences and clustering for LLM evaluations: Miller 2024, arXiv 2411.00640.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from bakeoff.stats.power import detectable_effect
from bakeoff.stats.proportion import exact_upper

SPARSE_UNITS = 9
"""Fewer discordant units than this are too few for a t interval, whatever the number of units."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedComparison:
    """Mean difference over rows, and how far it can be trusted. Bounds are one-sided, each at `alpha`."""

    estimate: float  # mean of the differences over rows, in the metric's unit
    se: float  # standard error; 0 for ties, inf below two units
    lower: float  # the true mean difference is above this with confidence 1 - alpha; -inf where unknown
    upper: float  # and below this with confidence 1 - alpha; inf where unknown
    p_harm: float  # one-sided p-value of "the true mean difference is not negative"
    detectable: float  # effect that the data would show with the asked-for power; inf where unknown
    alpha: float  # one-sided
    rows: int
    units: int
    effective_units: float  # Kish: (sum k)^2 / sum k^2 over rows k per unit, at most `units`
    method: Literal["jackknife", "sparse", "exact", "none"]  # which rule gave the bounds


Units = Sequence[str] | npt.NDArray[np.intp]
"""The unit of each row, (n,): its id, or a number from 0 that stands for it (see `unit_codes`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitSums:
    """Differences added up per unit; units in order of first sight, or of their numbers."""

    sums: npt.NDArray[np.float64]  # (G,) sum of differences
    counts: npt.NDArray[np.float64]  # (G,) rows
    worse: int  # units with at least one negative difference
    better: int  # units with at least one positive difference
    discordant: int  # units with at least one difference that is not zero


def effective_units(counts: npt.ArrayLike) -> float:
    """Kish's effective number of units, (sum k)^2 / sum k^2, from rows per unit (G,). 0 without rows."""
    k = np.asarray(counts, dtype=np.float64)
    squares = float(np.square(k).sum())
    return float(k.sum()) ** 2 / squares if squares > 0 else 0.0


def unit_codes(units: Units) -> npt.NDArray[np.intp]:
    """A number from 0 for each unit id, in order of first sight, (n,). Numbers stay what they are."""
    if isinstance(units, np.ndarray):
        return units.astype(np.intp, copy=False)
    index: dict[str, int] = {}
    return np.array([index.setdefault(unit, len(index)) for unit in units], dtype=np.intp)


def unit_sums(differences: npt.ArrayLike, units: Units) -> UnitSums:
    """Adds up `differences` (n,) per unit (n,). Raises ValueError on unequal lengths, or NaN or inf."""
    d, place = np.asarray(differences, dtype=np.float64), unit_codes(units)
    if len(d) != len(place):
        raise ValueError(f"{len(d)} differences for {len(place)} unit ids; expected one id per row")
    if not np.isfinite(d).all():
        raise ValueError("a difference is not finite; leave undefined rows out, missing is never a number")
    counts = np.bincount(place)
    seen = counts > 0  # numbers of units without a row are no units here
    worse = np.bincount(place[d < 0], minlength=len(counts)) > 0
    better = np.bincount(place[d > 0], minlength=len(counts)) > 0
    return UnitSums(
        sums=np.bincount(place, weights=d, minlength=len(counts))[seen].astype(np.float64),
        counts=counts[seen].astype(np.float64),
        worse=int(worse.sum()),
        better=int(better.sum()),
        discordant=int((worse | better).sum()),
    )


def jackknife_se(sums: npt.ArrayLike, counts: npt.ArrayLike) -> float:
    """CV3 standard error of sum(sums) / sum(counts), leaving out one unit at a time. inf below two units."""
    s, k = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    units = len(k)
    if units < 2:
        return math.inf
    without = (s.sum() - s) / (k.sum() - k)
    squares = np.square(without - s.sum() / k.sum()).sum()
    return math.sqrt((units - 1) / units * float(squares))


def zero_discordance_bound(units: float, alpha: float) -> float:
    """Largest share of units that may differ although none of `units` did, with confidence 1 - alpha.

    It is 1 - alpha^(1/G): 300 units without a difference leave room for .0099 (the rule of three)."""
    return float(-math.expm1(math.log(alpha) / units)) if units > 0 else 1.0


def units_to_prove_a_tie(margin: float, span: float, alpha: float) -> int:
    """Units without any difference that are needed to prove "at most `margin` worse" (3 points: 99)."""
    if not 0 < margin < span:
        return 1
    return math.ceil(math.log(alpha) / math.log1p(-margin / span))


def compare_pairs(
    differences: npt.ArrayLike,
    units: Units,
    *,
    alpha: float,
    span: float | None = None,
    power: float = 0.8,
) -> PairedComparison:
    """Mean of paired `differences` (n,), positive = better, clustered by `units` (n,).

    `span` is the range of the metric (high - low), so a difference lies in [-span, span]; None if unbounded.
    Three guards keep "few losses seen" from looking like "no loss"; each can only widen the t interval:
    identical differences (standard error 0) get the exact bound for what G equal units leave open, times the
    span; fewer than `SPARSE_UNITS` discordant units get at least Clopper-Pearson's bound for the share of units
    that lost (or won), times the span; and skewed differences get Hall's correction (Hall 1992, J. R. Stat.
    Soc. B 54) on the side of the long tail. If one unit in twenty loses everything, the t interval alone would
    pass a loss of the margin with probability up to .12; so guarded it is at most .07 for 30 units and more.
    """
    d = np.asarray(differences, dtype=np.float64)
    grouped = unit_sums(d, units)
    effective = effective_units(grouped.counts)
    if len(grouped.counts) == 0:
        return _comparison(grouped, 0.0, math.inf, (-math.inf, math.inf), 1.0, math.inf, alpha, "none")
    estimate = float(grouped.sums.sum() / grouped.counts.sum())
    se = jackknife_se(grouped.sums, grouped.counts)
    if d.min() == d.max() or se <= 1e-12 * np.abs(d).max():
        bounds = _exact_bounds(estimate, effective, alpha, span)
        reach = max(abs(bounds[0] - estimate), abs(bounds[1] - estimate))
        p_harm = _exact_p_harm(estimate, effective, span)
        return _comparison(grouped, estimate, 0.0, bounds, p_harm, reach, alpha, "exact")
    bounds, p_harm = _t_bounds(estimate, se, grouped, alpha)
    reach = detectable_effect(se, alpha=alpha, power=power)
    if grouped.discordant >= SPARSE_UNITS:
        return _comparison(grouped, estimate, se, bounds, p_harm, reach, alpha, "jackknife")
    wide = _sparse_bounds(grouped, effective, alpha, span)
    bounds = (min(bounds[0], wide[0]), max(bounds[1], wide[1]))
    reach = max(reach, estimate - bounds[0])
    return _comparison(grouped, estimate, se, bounds, 1.0, reach, alpha, "sparse")


def holm(p_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Which hypotheses fall when the chance of any false alarm is held at `alpha` (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        rejected[i] = True
    return tuple(rejected)


def _t_bounds(estimate: float, se: float, grouped: UnitSums, alpha: float) -> tuple[tuple[float, float], float]:
    """Bounds and p_harm with G - 1 degrees of freedom, pushed out on the side of the long tail."""
    units = len(grouped.counts)
    if not math.isfinite(se):
        return (-math.inf, math.inf), 1.0
    skew = _skewness(grouped, estimate)
    t = float(scipy.special.stdtrit(units - 1, 1 - alpha))
    push = (2 * t * t + 1) / 6
    lower = estimate - se * (t + max(0.0, -skew) * push)
    upper = estimate + se * (t + max(0.0, skew) * push)
    return (lower, upper), _t_p_harm(estimate / se, max(0.0, skew), units)


def _skewness(grouped: UnitSums, estimate: float) -> float:
    """Skewness of the mean over units: that of one unit's deviation, divided by sqrt(G)."""
    z = grouped.sums - estimate * grouped.counts
    spread = float(np.square(z).mean())
    return float((z**3).mean()) / spread**1.5 / math.sqrt(len(z)) if spread > 0 else 0.0


def _t_p_harm(statistic: float, skew: float, units: int) -> float:
    """The alpha at which the upper bound of `_t_bounds` would be 0: -statistic = t + skew (2 t^2 + 1) / 6."""
    plain = float(scipy.special.stdtr(units - 1, statistic))
    if skew == 0 or statistic >= 0:
        return plain
    t = (math.sqrt(1 - 4 * skew / 3 * (skew / 6 + statistic)) - 1) / (2 * skew / 3)
    return max(plain, float(scipy.special.stdtr(units - 1, -t)))


def _exact_bounds(value: float, units: float, alpha: float, span: float | None) -> tuple[float, float]:
    if span is None:
        return -math.inf, math.inf
    open_share = zero_discordance_bound(units, alpha)
    kept = value * (1 - open_share)
    return kept - open_share * span, kept + open_share * span


def _exact_p_harm(value: float, units: float, span: float | None) -> float:
    """The alpha at which `_exact_bounds` would have its upper end at 0."""
    return 1.0 if span is None or value >= 0 else (span / (span - value)) ** units


def _sparse_bounds(grouped: UnitSums, units: float, alpha: float, span: float | None) -> tuple[float, float]:
    if span is None:
        return -math.inf, math.inf
    return -span * exact_upper(grouped.worse, units, alpha), span * exact_upper(grouped.better, units, alpha)


def _comparison(
    grouped: UnitSums,
    estimate: float,
    se: float,
    bounds: tuple[float, float],
    p_harm: float,
    detectable: float,
    alpha: float,
    method: Literal["jackknife", "sparse", "exact", "none"],
) -> PairedComparison:
    return PairedComparison(
        estimate=estimate,
        se=se,
        lower=bounds[0],
        upper=bounds[1],
        p_harm=p_harm,
        detectable=detectable,
        alpha=alpha,
        rows=int(grouped.counts.sum()),
        units=len(grouped.counts),
        effective_units=effective_units(grouped.counts),
        method=method,
    )
