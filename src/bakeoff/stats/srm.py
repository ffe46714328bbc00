"""Sample ratio mismatch, watched continuously: do units arrive in the arms as they were meant to?

Sequential Dirichlet-multinomial e-process: Lindon, Malek 2022, arXiv 2011.03567. A repeated chi-square alarms
by itself when looked at often; this one may be looked at after every unit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseCounts:
    """Units first exposed during one stretch of constant allocation."""

    expected: tuple[float, ...]  # weight per arm, any positive scale; 0 = the arm takes nobody
    counts: tuple[int, ...]  # units per arm, same order


@dataclass(frozen=True, kw_only=True, slots=True)
class SrmResult:
    """Evidence that arms do not fill as they should."""

    log_e: float  # natural log of the e-value; 1000 to 1 is 6.9
    alarm: bool  # the e-value reached the alarm level
    counts: tuple[int, ...]  # units per arm over all phases
    unexpected: int  # units in arms that should take nobody; left out of the e-value


def log_e_value(
    counts: npt.ArrayLike, expected: Sequence[float], *, concentration: float = 200.0
) -> npt.NDArray[np.float64]:
    """ln E (...) for counts (..., J) against the split `expected` (J,): many looks or runs in one call.

    Prior Dirichlet(concentration * expected): the larger, the nearer to the expected split it looks for."""
    theta = np.asarray(expected, dtype=np.float64)
    if theta.ndim != 1 or (theta < 0).any() or not theta.sum() > 0:
        raise ValueError(f"expected split {expected}; expected weights >= 0 with a positive sum")
    kept = theta > 0
    theta = theta[kept] / theta.sum()
    s = np.asarray(counts, dtype=np.float64)[..., kept]
    prior = concentration * theta
    marginal = scipy.special.gammaln(concentration) - scipy.special.gammaln(concentration + s.sum(axis=-1))
    arms = (scipy.special.gammaln(prior + s) - scipy.special.gammaln(prior) - s * np.log(theta)).sum(axis=-1)
    return np.asarray(marginal + arms, dtype=np.float64)


def sample_ratio(phases: Sequence[PhaseCounts], *, concentration: float = 200.0, alarm_at: float = 1000.0) -> SrmResult:
    """E-value over phases: each phase tests its own split, and the evidence multiplies.

    By Ville's inequality the chance that a healthy split ever reaches `alarm_at` is at most 1 / alarm_at."""
    for phase in phases:
        if len(phase.expected) != len(phase.counts):
            raise ValueError(f"{len(phase.counts)} counts for {len(phase.expected)} arms; expected one per arm")
    log_e = sum(float(log_e_value(phase.counts, phase.expected, concentration=concentration)) for phase in phases)
    arms = max((len(phase.counts) for phase in phases), default=0)
    totals = tuple(sum(phase.counts[arm] for phase in phases if arm < len(phase.counts)) for arm in range(arms))
    return SrmResult(
        log_e=log_e,
        alarm=log_e >= math.log(alarm_at),
        counts=totals,
        unexpected=sum(
            count for phase in phases for weight, count in zip(phase.expected, phase.counts, strict=True) if weight == 0
        ),
    )
