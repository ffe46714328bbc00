"""Did one number predict another? Agreement of signs and of ranks over few pairs, with intervals that say how few."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from bakeoff.stats.proportion import Proportion, wilson

LEAST_PAIRS = 5
"""Below it a correlation of ranks says nothing: of four pairs one in twelve orders is perfect or perfectly reversed."""
Pairs = Sequence[tuple[float, float]]
"""(predicted, measured), each in its own unit; finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signs:
    """How often both numbers said better, or both said worse."""

    agreed: int
    pairs: int  # without those in which one of the two is exactly 0
    ties: int  # left out
    share: Proportion | None  # agreed / pairs with a two-sided interval; None without pairs


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """Spearman's correlation of ranks, -1 to 1."""

    estimate: float
    lower: float
    upper: float
    pairs: int


def sign_agreement(pairs: Pairs, *, alpha: float = 0.05) -> Signs:
    """Wilson's interval at 1 - alpha. 5 of 5 agree: [.566, 1]; 8 of 10: [.490, .943]."""
    signs = [(_sign(x), _sign(y)) for x, y in pairs]
    told = [(a, b) for a, b in signs if a and b]
    agreed = sum(a == b for a, b in told)
    return Signs(
        agreed=agreed,
        pairs=len(told),
        ties=len(signs) - len(told),
        share=wilson(agreed, len(told), alpha=alpha) if told else None,
    )


def rank_correlation(pairs: Pairs, *, alpha: float = 0.05) -> Ranks | None:
    """Spearman's rho with the interval of Bonett and Wright (2000, Psychometrika 65:23-28): Fisher's z with variance
    (1 + rho^2 / 2) / (n - 3). None below `LEAST_PAIRS` pairs, and where all numbers of one side are equal.

    A perfect order has an infinite z; its interval starts from the order next to it (two neighbours swapped), and ends
    at the perfect one. Ranks 1..6 against 1,2,3,4,6,5: .943 [.383, .996]."""
    if len(pairs) < LEAST_PAIRS:
        return None
    x, y = np.asarray(pairs, dtype=np.float64).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    rho = float(np.corrcoef(scipy.stats.rankdata(x), scipy.stats.rankdata(y))[0, 1])
    lower, upper = _interval(rho, len(pairs), alpha)
    return Ranks(estimate=rho, lower=lower, upper=upper, pairs=len(pairs))


def _interval(rho: float, n: int, alpha: float) -> tuple[float, float]:
    most = 1 - 12 / (n * (n * n - 1))  # the largest rho below 1 of n different ranks
    near = max(-most, min(most, rho))
    reach = float(scipy.stats.norm.ppf(1 - alpha / 2)) * math.sqrt((1 + near * near / 2) / (n - 3))
    z = math.atanh(near)
    slack = 1e-9  # rho comes from sums of floats
    return (-1.0 if rho < -most - slack else math.tanh(z - reach)), (
        1.0 if rho > most + slack else math.tanh(z + reach)
    )


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
