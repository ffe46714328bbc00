"""CUPED: what units did before an experiment takes out the part of their difference that it cannot have caused.

Deng, Xu, Kohavi, Walker 2013 (WSDM), for ratio metrics on linearised values (Deng, Knoblich, Lu 2018, arXiv
1803.06336), by regression with one slope for both arms; valid inside confidence sequences (arXiv 2103.06476 and
2210.08589). Units without a past carry an indicator instead of a made-up value."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bakeoff.stats.ratio import Difference, difference, ratio

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """One arm's units (K,), K >= 2: a ratio metric now and before. Units without a need now must be left out."""

    x: Floats  # numerator
    d: Floats  # denominator (needs), positive
    x_before: Floats
    d_before: Floats  # 0 where the unit has no past


@dataclass(frozen=True, kw_only=True, slots=True)
class Adjusted:
    """Treated minus control, given the past."""

    estimate: float
    treated_se: float
    control_se: float
    variance_cut: float  # share of the variance of the plain difference that the past explains, at most 1


def adjusted(treated: Sums, control: Sums) -> Adjusted:
    """The difference of two ratios and the standard errors of its arms, adjusted by what went before."""
    now = [_linearised(arm.x, arm.d, _value(arm.x, arm.d)) for arm in (treated, control)]
    past = _past(treated, control)
    slopes = _slopes(now, past)
    means = [covariates.mean(axis=0) for covariates in past]
    left = [z - (c - c.mean(axis=0)) @ slopes for z, c in zip(now, past, strict=True)]
    plain = sum(float(z.var(ddof=1)) / len(z) for z in now)
    ses = [math.sqrt(float(z.var(ddof=1)) / len(z)) for z in left]
    apart = _value(treated.x, treated.d) - _value(control.x, control.d)
    return Adjusted(
        estimate=apart - float((means[0] - means[1]) @ slopes),
        treated_se=ses[0],
        control_se=ses[1],
        variance_cut=1 - (ses[0] ** 2 + ses[1] ** 2) / plain if plain > 0 else 0.0,
    )


def difference_before(treated: Sums, control: Sums) -> Difference | None:
    """Treated minus control before the experiment, over units with a past: a lottery makes it 0 but for chance. None
    where an arm has fewer than two such units."""
    arms = [(arm.x_before[arm.d_before > 0], arm.d_before[arm.d_before > 0]) for arm in (treated, control)]
    if min(len(x) for x, _ in arms) < 2:
        return None
    return difference(*(ratio(x, d) for x, d in arms))


def _value(x: Floats, d: Floats) -> float:
    return float(x.sum() / d.sum())


def _linearised(x: Floats, d: Floats, value: float) -> Floats:
    return np.asarray((x - value * d) / d.mean(), dtype=np.float64)


def _past(treated: Sums, control: Sums) -> list[Floats]:
    """Covariates (K, 2) per arm: the linearised metric before, by the ratio of both arms, and whether there is none.
    Each is scaled to the size of its own spread, so that a metric's unit does not matter."""
    x = np.concatenate([treated.x_before, control.x_before])
    d = np.concatenate([treated.d_before, control.d_before])
    has = d > 0
    value = float(x.sum() / d.sum()) if has.any() else 0.0
    both = np.stack([x - value * d, (~has).astype(np.float64)], axis=1)
    spread = both.std(axis=0)
    both /= np.where(spread > 0, spread, 1.0)
    return np.split(both, [len(treated.d)])


def _slopes(now: list[Floats], past: list[Floats]) -> Floats:
    """Least squares over both arms, each centred by itself, so that the effect itself is no part of it."""
    centred = np.concatenate([c - c.mean(axis=0) for c in past])
    z = np.concatenate([one - one.mean() for one in now])
    return np.asarray(np.linalg.pinv(centred.T @ centred, rcond=1e-10, hermitian=True) @ (centred.T @ z))
