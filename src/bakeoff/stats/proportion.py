"""Intervals for a share of independent trials."""

import math
from dataclasses import dataclass

import scipy


@dataclass(frozen=True, kw_only=True, slots=True)
class Proportion:
    """A share with its interval."""

    estimate: float  # successes / trials
    lower: float
    upper: float
    trials: int


def wilson(successes: int, trials: int, *, alpha: float = 0.05) -> Proportion:
    """Two-sided Wilson score interval (Wilson 1927); 27 of 30: [.7438, .9654]. ValueError on no trials."""
    _check(successes, trials)
    z = float(scipy.special.ndtri(1 - alpha / 2))
    share = successes / trials
    shrink = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrink
    reach = z / shrink * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return Proportion(
        estimate=share,
        lower=0.0 if successes == 0 else centre - reach,
        upper=1.0 if successes == trials else centre + reach,
        trials=trials,
    )


def exact_upper(successes: float, trials: float, alpha: float) -> float:
    """One-sided Clopper-Pearson upper bound at confidence 1 - alpha; 0 of n gives 1 - alpha^(1/n).

    `trials` may be fractional (Kish's effective number). 1 where nothing was tried."""
    if trials <= 0 or successes >= trials:
        return 1.0
    return float(scipy.special.betaincinv(successes + 1, trials - successes, 1 - alpha))


def exact_lower(successes: float, trials: float, alpha: float) -> float:
    """One-sided Clopper-Pearson lower bound at confidence 1 - alpha. 0 where nothing was tried."""
    return 1 - exact_upper(trials - successes, trials, alpha) if trials > 0 else 0.0


def _check(successes: int, trials: int) -> None:
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials; expected 0 <= successes <= trials, trials > 0")
