"""An experiment's estimates after every single unit, from running sums; for simulations that peek at every household.

The same formulas as `bakeoff.stats.ratio` and `bakeoff.stats.cuped`, by second moments instead of vectors, for all
looks at once. The simulations check that both agree."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
X, D, X_BEFORE, D_BEFORE, NO_PAST, ONE = range(6)


@dataclass(frozen=True, kw_only=True)
class Story:
    """Units (n,) in the order in which they arrive."""

    treated: Flags
    x: Floats  # numerator of the metric
    d: Floats  # needs, positive
    x_before: Floats | None = None
    d_before: Floats | None = None


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """After each look (l,): treated minus control."""

    estimate: Floats
    se: Floats
    treated: Floats  # the arm's own value
    treated_se: Floats
    units: npt.NDArray[np.int64]  # of both arms
    treated_units: npt.NDArray[np.int64]


def estimates(story: Story, looks: npt.NDArray[np.int64], *, span: float | None) -> Estimates:
    """`looks`: how many units had arrived. `span` of the metric, for the floor of its standard error."""
    arms = [_moments(story, story.treated == side, looks) for side in (True, False)]
    ratios = [arm[:, X, ONE] / arm[:, D, ONE] for arm in arms]
    counts = [arm[:, ONE, ONE] for arm in arms]
    variance = [_variance(arm, value) for arm, value in zip(arms, ratios, strict=True)]
    plain = np.sqrt(variance[0] / counts[0])
    difference = ratios[0] - ratios[1]
    if story.x_before is not None:
        difference, variance = _adjusted(arms, ratios, difference)
    ses = [np.maximum(np.sqrt(v / k), _floor(k, span)) for v, k in zip(variance, counts, strict=True)]
    return Estimates(
        estimate=difference,
        se=np.hypot(*ses),
        treated=ratios[0],
        treated_se=np.maximum(plain, _floor(counts[0], span)),
        units=looks,
        treated_units=counts[0].astype(np.int64),
    )


def _moments(story: Story, inside: Flags, looks: npt.NDArray[np.int64]) -> Floats:
    """(l, 6, 6): running sums of products of the six columns, of the units `inside`; of three without a past."""
    has_past = story.x_before is not None and story.d_before is not None
    columns = {X: story.x, D: story.d, ONE: np.ones(len(story.x))}
    if has_past:
        columns |= {X_BEFORE: story.x_before, D_BEFORE: story.d_before, NO_PAST: (story.d_before <= 0).astype(float)}
    out = np.zeros((6, 6, len(looks)))
    for a, one in columns.items():
        weighted = one * inside
        for b, other in columns.items():
            if b <= a:
                out[a, b] = out[b, a] = np.cumsum(weighted * other)[looks - 1]
    return out.transpose(2, 0, 1)


def _variance(arm: Floats, value: Floats) -> Floats:
    count, mean = arm[:, ONE, ONE], arm[:, D, ONE] / arm[:, ONE, ONE]
    squares = arm[:, X, X] - 2 * value * arm[:, X, D] + value**2 * arm[:, D, D]
    return np.maximum(squares, 0.0) / mean**2 / (count - 1)


def _floor(count: Floats, span: float | None) -> Floats:
    if span is None:
        return np.zeros_like(count)
    share = 1 / (count + 2)
    return span * np.sqrt(share * (1 - share) / count)


Combination = dict[int, Floats | float]
"""Column -> weight: one number per unit, made of the columns."""


def _adjusted(arms: list[Floats], ratios: list[Floats], difference: Floats) -> tuple[Floats, list[Floats]]:
    """By one slope per covariate for both arms, over units centred by their arm."""
    past = sum(arm[:, X_BEFORE, ONE] for arm in arms) / sum(arm[:, D_BEFORE, ONE] for arm in arms)
    means = [arm[:, D, ONE] / arm[:, ONE, ONE] for arm in arms]
    z: list[Combination] = [{X: 1 / m, D: -r / m} for m, r in zip(means, ratios, strict=True)]
    before: Combination = {X_BEFORE: 1.0, D_BEFORE: -past}
    none: Combination = {NO_PAST: 1.0}
    a, b, c, d, e, f = (
        [_centred(arm, one or own, other or own) for arm, own in zip(arms, z, strict=True)]
        for one, other in ((before, before), (before, none), (none, none), (before, {}), (none, {}), ({}, {}))
    )
    determinant = sum(a) * sum(c) - sum(b) ** 2
    determinant = np.where(determinant > 0, determinant, np.inf)
    first = (sum(d) * sum(c) - sum(e) * sum(b)) / determinant
    second = (sum(a) * sum(e) - sum(b) * sum(d)) / determinant
    shift = sum(
        sign * (first * _total(arm, before) + second * _total(arm, none)) / arm[:, ONE, ONE]
        for sign, arm in zip((1, -1), arms, strict=True)
    )
    left = [
        f[n] - 2 * (first * d[n] + second * e[n])
        + first**2 * a[n] + 2 * first * second * b[n] + second**2 * c[n]
        for n in range(2)
    ]  # fmt: skip
    counts = [arm[:, ONE, ONE] for arm in arms]
    return difference - shift, [np.maximum(v, 0.0) / (k - 1) for v, k in zip(left, counts, strict=True)]


def _total(arm: Floats, one: Combination) -> Floats:
    return np.asarray(sum(weight * arm[:, column, ONE] for column, weight in one.items()))


def _centred(arm: Floats, one: Combination, other: Combination) -> Floats:
    """Sum of products of two combinations, each centred."""
    raw = sum(u * v * arm[:, i, j] for i, u in one.items() for j, v in other.items())
    return np.asarray(raw - _total(arm, one) * _total(arm, other) / arm[:, ONE, ONE])
