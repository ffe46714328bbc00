"""Numbers that others published, as oracles for the comparison of pairs.

- CV3 and the clustered sandwich: mean of a cluster sample of Californian schools (40 districts of unequal size and
  weight), as the R package survey gives them (linearised 30.712 and 30.308; jackknife JK1 34.928 and 34.645) and as
  the test suite of xKDR/Survey.jl has them (JK1 centred at the estimate: 34.9388 and 34.6565).
- Miller 2024 (arXiv 2411.00640): the clustered standard error of an evaluation, written out as the paper's double sum.
- Tango 1998 (Stat. Med. 17): score intervals for paired proportions, from Tables V and VII of the paper, Agresti and
  Min 2005 and Fagerland et al. 2014 (all as in the test suite of petelaud/ratesci), and the data of Cavo et al. 2012
  (as in that of ocbe-uio/contingencytables)."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize
from scipy import stats as sps

from bakeoff.stats.paired import compare_pairs, jackknife_se
from bakeoff.stats.ratio import ratio

DISTRICTS = [  # schools, sampling weight of each, sum of api00, sum of api99
    (1, 18.925, 821, 785), (1, 18.925, 773, 718), (3, 18.925, 2056, 2083), (1, 18.925, 811, 779),
    (3, 18.925, 1560, 1515), (3, 18.925, 1747, 1722), (4, 18.925, 3620, 3579), (1, 18.925, 453, 447),
    (4, 18.925, 2299, 2135), (5, 41.635, 3249, 2949), (2, 18.925, 1060, 954), (1, 18.925, 636, 625),
    (5, 18.925, 3392, 3232), (4, 18.925, 3697, 3614), (5, 18.925, 4377, 4262), (4, 18.925, 2360, 2132),
    (1, 18.925, 607, 536), (5, 18.925, 3328, 3071), (2, 18.925, 1188, 1161), (5, 18.925, 2920, 2823),
    (5, 18.925, 4613, 4481), (2, 18.925, 1562, 1460), (5, 136.26, 2664, 2592), (1, 18.925, 710, 691),
    (5, 105.98, 4122, 4004), (5, 26.495, 4223, 3928), (5, 272.52, 3103, 2958), (5, 52.99, 2857, 2801),
    (5, 26.495, 3839, 3765), (2, 18.925, 1545, 1520), (4, 18.925, 2421, 2441), (3, 18.925, 2180, 2156),
    (2, 18.925, 1384, 1303), (2, 18.925, 1441, 1381), (1, 18.925, 468, 466), (5, 34.065, 3652, 3510),
    (1, 18.925, 747, 767), (2, 18.925, 1222, 1125), (5, 22.71, 4320, 4272), (1, 18.925, 653, 615),
]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "mean", "linearised", "jackknife", "as_r_has_it"),
    [(2, 670.81, 30.712, 34.9388, 34.928), (3, 645.03, 30.308, 34.6565, 34.645)],
)
def test_jackknife_and_sandwich_of_a_published_cluster_sample(
    column: int, mean: float, linearised: float, jackknife: float, as_r_has_it: float
) -> None:
    """R centres the replicates at their own mean, which is a little less."""
    weights = [schools * weight for schools, weight, _, _ in DISTRICTS]
    sums = [district[1] * district[column] for district in DISTRICTS]
    found = ratio(sums, weights)
    assert found.value == pytest.approx(mean, abs=0.005)
    assert found.se == pytest.approx(linearised, abs=0.0005)
    assert jackknife_se(sums, weights) == pytest.approx(jackknife, abs=0.0005)
    assert as_r_has_it < jackknife_se(sums, weights) < as_r_has_it + 0.02


def test_the_sandwich_is_miller_s_clustered_standard_error() -> None:
    """sqrt(sum over clusters of all products of deviations within it) / n; ours has the factor G / (G - 1) on top."""
    rng = np.random.default_rng(3)
    units = np.repeat(np.arange(12), rng.integers(1, 6, 12))
    scores = rng.normal(size=len(units)) + rng.normal(size=12)[units]
    mean, double = scores.mean(), 0.0
    for i in range(len(scores)):
        for j in range(len(scores)):
            if units[i] == units[j]:
                double += (scores[i] - mean) * (scores[j] - mean)
    miller = math.sqrt(double) / len(scores)
    sums, counts = np.bincount(units, weights=scores), np.bincount(units)
    assert ratio(sums, counts).se == pytest.approx(miller * math.sqrt(12 / 11))
    assert jackknife_se(sums, counts) > miller, "the jackknife errs on the safe side"


def tango(better: int, worse: int, n: int, z: float) -> tuple[float, float]:
    """Tango's interval for (better - worse) / n: where the score statistic is z and -z."""

    def score(delta: float) -> float:
        b = -better - worse + (2 * n - better + worse) * delta
        q = (math.sqrt(b * b + 8 * n * worse * delta * (1 - delta)) - b) / (4 * n)
        return (better - worse - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))

    estimate = (better - worse) / n
    inside = 1e-9
    low: Callable[[float], float] = lambda delta: score(delta) - z  # noqa: E731
    high: Callable[[float], float] = lambda delta: score(delta) + z  # noqa: E731
    return (
        optimize.brentq(low, -1 + inside, estimate - inside),
        optimize.brentq(high, estimate + inside, 1 - inside),
    )


PUBLISHED = [  # better, worse, pairs, level, interval
    (9, 3, 32, 0.95, (-0.027, 0.390)),  # Tango 1998, Table VII
    (0, 1, 44, 0.90, (-0.096, 0.037)),  # Tango 1998, Table V
    (16, 8, 86, 0.95, (-0.020, 0.207)),  # Agresti and Min 2005
    (1, 7, 21, 0.95, (-0.517, -0.026)),  # Fagerland et al. 2014
    (6, 16, 161, 0.95, (-0.124, -0.005)),  # Cavo et al. 2012
]


@pytest.mark.parametrize(("better", "worse", "n", "level", "interval"), PUBLISHED)
def test_the_oracle_gives_the_published_intervals(
    better: int, worse: int, n: int, level: float, interval: tuple[float, float]
) -> None:
    z = float(sps.norm.ppf((1 + level) / 2))
    assert tango(better, worse, n, z) == pytest.approx(interval, abs=0.0006)


@pytest.mark.parametrize(("better", "worse", "n", "level", "interval"), PUBLISHED)
def test_our_bounds_of_unclustered_yes_and_no_are_hardly_narrower_than_tango_s(
    better: int, worse: int, n: int, level: float, interval: tuple[float, float]
) -> None:
    """Where few pairs differ ours are wider by design (the exact bound); else the two agree within two points."""
    differences = [1.0] * better + [-1.0] * worse + [0.0] * (n - better - worse)
    got = compare_pairs(differences, [str(i) for i in range(n)], alpha=(1 - level) / 2, span=1.0)
    low, high = interval
    assert got.lower <= low + 0.02
    assert got.upper >= high - 0.02
    if better + worse >= 20:
        assert (got.lower, got.upper) == pytest.approx(interval, abs=0.02)


def test_exact_bounds_for_no_discordant_pair_are_those_of_clopper_and_pearson() -> None:
    """scipy.stats.binomtest(0, n).proportion_ci(method='exact') is the oracle: one side of a 90 % interval."""
    for n in (30, 59, 99, 300):
        got = compare_pairs([0.0] * n, [str(i) for i in range(n)], alpha=0.05, span=1.0)
        oracle = sps.binomtest(0, n).proportion_ci(confidence_level=0.90, method="exact").high
        assert -got.lower == pytest.approx(oracle, rel=1e-9)
