"""How many rows or units a question needs, and what a number of them can show."""

import math

import scipy

from bakeoff.stats.sequential import half_width


def detectable_effect(se: float, *, alpha: float, power: float = 0.8) -> float:
    """Smallest effect that a one-sided test at `alpha` finds with probability `power`: (z_a + z_b) se."""
    return float(scipy.special.ndtri(1 - alpha) + scipy.special.ndtri(power)) * se


def design_effect(mean_rows: float, cv_rows: float, icc: float) -> float:
    """How much clustering inflates a variance: 1 + (m (1 + cv^2) - 1) icc, for m rows per unit on average."""
    return 1 + (mean_rows * (1 + cv_rows**2) - 1) * icc


def required_pairs(
    sd: float,
    margin: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    expected_loss: float = 0.0,
    design: float = 1.0,
) -> int:
    """Pairs to prove "at most `margin` worse" with probability `power`. `sd`: of the paired difference.

    sd .4, margin .03: 1,100 independent pairs. Raises ValueError if the expected loss uses up the margin."""
    room = margin - abs(expected_loss)
    if room <= 0:
        raise ValueError(f"an expected loss of {expected_loss} uses up the margin {margin}; nothing can prove it")
    z = float(scipy.special.ndtri(1 - alpha) + scipy.special.ndtri(power))
    return math.ceil((z * sd / room) ** 2 * design)


def detectable_difference(
    sd: float, units_per_arm: float, *, alpha: float = 0.05, power: float = 0.8, planned: float | None = None
) -> float:
    """Difference between two equal arms that an experiment shows with probability `power` at its last look.

    `sd`: of one unit's value. `planned`: N* of the confidence sequence (both arms); None means one fixed look
    with a two-sided test. inf below one unit."""
    if units_per_arm < 1:
        return math.inf
    se = sd * math.sqrt(2 / units_per_arm)
    total = 2 * units_per_arm
    reach = float(scipy.special.ndtri(1 - alpha / 2)) * se
    if planned is not None:
        reach = half_width(se, total, planned=planned, alpha=alpha)
    return reach + float(scipy.special.ndtri(power)) * se


def required_units_per_arm(
    sd: float, effect: float, *, alpha: float = 0.05, power: float = 0.8, planned: float | None = None
) -> int:
    """Units per arm to show a difference of `effect` > 0 (else ValueError); see `detectable_difference`."""
    if effect <= 0:
        raise ValueError(f"effect {effect}: no number of units can show it; expected a positive effect")
    high = 1
    while _reach(sd, high, alpha, power, planned) > effect:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _reach(sd, middle, alpha, power, planned) <= effect else (middle, high)
    return high


def units_until(
    se: float, units: int, distance: float, *, planned: float, alpha: float, limit: int = 10**8
) -> int | None:
    """Total units at which a one-sided confidence sequence would be narrower than `distance`.

    `se` was measured on `units` and is taken to shrink as 1/sqrt. None if `distance` is not positive or the
    answer is above `limit`."""
    if distance <= 0 or units <= 0 or not math.isfinite(se):
        return None
    low, high = 0, 1
    while _width(se, units, high, planned, alpha) > distance:
        low, high = high, 2 * high
        if high > limit:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _width(se, units, middle, planned, alpha) <= distance else (middle, high)
    return high


def _reach(sd: float, units: int, alpha: float, power: float, planned: float | None) -> float:
    return detectable_difference(sd, units, alpha=alpha, power=power, planned=planned)


def _width(se: float, units: int, total: int, planned: float, alpha: float) -> float:
    return half_width(se * math.sqrt(units / total), total, planned=planned, alpha=alpha, one_sided=True)
