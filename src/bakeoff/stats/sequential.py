"""Asymptotic confidence sequences: intervals that hold at every look at once.

Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2024, Ann. Stat. 52(6), arXiv 2103.06476, eqs 9, 134, 155, 161.
The guarantee is asymptotic: below about 100 units per arm nothing should be decided with it.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceSequence:
    """An effect with an interval that may be looked at as often as one likes."""

    estimate: float
    se: float
    lower: float  # -inf where there is no evidence
    upper: float
    half_width: float  # of the two-sided interval
    units: int  # both arms


def rho_squared(alpha: float, planned: float) -> float:
    """Mixture parameter that makes the two-sided sequence tightest at `planned` units (N*). Freeze it."""
    if not 0 < alpha < 1 or planned <= 0:
        raise ValueError(f"alpha {alpha}, planned {planned}; expected 0 < alpha < 1 and planned > 0")
    log = -2 * math.log(alpha)
    return (log + math.log1p(log)) / planned


def half_width(se: float, units: float, *, planned: float, alpha: float, one_sided: bool = False) -> float:
    """Distance from the estimate to the bound, in the effect's unit.

    `se` of the effect, `units` n of both arms, `planned` N*. At n = N* and alpha .05 it is 3.035 se."""
    if units <= 0 or not math.isfinite(se):
        return math.inf
    rho2 = rho_squared(2 * alpha if one_sided else alpha, planned)
    grown = units * rho2 + 1
    root = math.sqrt(grown)
    log = math.log1p(root / (2 * alpha)) if one_sided else math.log(root / alpha)
    return se * math.sqrt(2 * grown / (units * rho2) * log)


def confidence_sequence(estimate: float, se: float, units: int, *, planned: float, alpha: float) -> ConfidenceSequence:
    """Two-sided sequence: with probability 1 - alpha the true effect is inside at every look."""
    reach = half_width(se, units, planned=planned, alpha=alpha)
    return ConfidenceSequence(
        estimate=estimate,
        se=se,
        lower=estimate - reach,
        upper=estimate + reach,
        half_width=reach,
        units=units,
    )


def lower_bound(estimate: float, se: float, units: int, *, planned: float, alpha: float) -> float:
    """One-sided: with probability 1 - alpha the true effect is above it at every look."""
    return estimate - half_width(se, units, planned=planned, alpha=alpha, one_sided=True)


def upper_bound(estimate: float, se: float, units: int, *, planned: float, alpha: float) -> float:
    """One-sided: with probability 1 - alpha the true effect is below it at every look."""
    return estimate + half_width(se, units, planned=planned, alpha=alpha, one_sided=True)


def log_e_value(estimate: float, se: float, units: int, *, planned: float, alpha: float) -> float:
    """Natural log of the evidence against "the effect is 0"; `alpha` only sets rho. inf if se is 0 and the
    estimate is not."""
    if se == 0:
        return math.inf if estimate != 0 else 0.0
    grown = units * (rho2 := rho_squared(alpha, planned)) + 1
    return rho2 * units * (estimate / se) ** 2 / (2 * grown) - 0.5 * math.log(grown)


def p_value(estimate: float, se: float, units: int, *, planned: float, alpha: float) -> float:
    """Always-valid two-sided p-value at this look, min(1, 1/E)."""
    return math.exp(-max(0.0, log_e_value(estimate, se, units, planned=planned, alpha=alpha)))
