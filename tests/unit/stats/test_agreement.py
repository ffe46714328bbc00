"""Agreement of signs and of ranks, by numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as sps

from bakeoff.stats.agreement import LEAST_PAIRS, rank_correlation, sign_agreement

numbers = st.integers(-1000, 1000).map(float)


def test_signs_are_counted_and_ties_left_out() -> None:
    found = sign_agreement([(0.1, 0.2), (-0.1, -3.0), (0.1, -0.2), (0.0, 1.0), (1.0, 0.0)])
    assert (found.agreed, found.pairs, found.ties) == (2, 3, 2)
    assert found.share is not None and found.share.estimate == pytest.approx(2 / 3)


def test_worked_intervals_of_signs() -> None:
    all_of_five, eight_of_ten = ([(1.0, 1.0)] * 5, [(1.0, 1.0)] * 8 + [(1.0, -1.0)] * 2)
    found = sign_agreement(all_of_five).share
    assert found is not None and (found.lower, found.upper) == (pytest.approx(0.5655, abs=5e-4), 1.0)
    found = sign_agreement(eight_of_ten).share
    assert found is not None and found.lower == pytest.approx(0.4902, abs=5e-4)
    assert found.upper == pytest.approx(0.9433, abs=5e-4)
    assert sign_agreement([]).share is None


def test_a_worked_correlation_of_ranks() -> None:
    """rho = 1 - 6 * 2 / (6 * 35); z = atanh(rho), its standard error sqrt((1 + rho^2 / 2) / 3)."""
    found = rank_correlation(list(zip([1.0, 2, 3, 4, 5, 6], [10.0, 20, 30, 40, 60, 50], strict=True)))
    assert found is not None
    rho = 1 - 12 / 210
    reach = 1.959964 * math.sqrt((1 + rho**2 / 2) / 3)
    assert found.estimate == pytest.approx(rho)
    assert (found.lower, found.upper) == (
        pytest.approx(math.tanh(math.atanh(rho) - reach), abs=1e-6),
        pytest.approx(math.tanh(math.atanh(rho) + reach), abs=1e-6),
    )
    assert (found.lower, found.upper) == (pytest.approx(0.383, abs=1e-3), pytest.approx(0.996, abs=1e-3))


def test_too_few_pairs_and_equal_numbers_say_nothing() -> None:
    assert rank_correlation([(float(n), float(n)) for n in range(LEAST_PAIRS - 1)]) is None
    assert rank_correlation([(1.0, float(n)) for n in range(9)]) is None
    assert rank_correlation([(float(n), 1.0) for n in range(9)]) is None


def test_a_perfect_order_of_few_is_no_proof() -> None:
    found = rank_correlation([(float(n), float(n)) for n in range(5)])
    assert found is not None
    assert (found.estimate, found.upper) == (pytest.approx(1.0), 1.0)
    assert found.lower < 0, "five in order happen by chance once in 120"
    more = rank_correlation([(float(n), float(n)) for n in range(8)])
    assert more is not None and more.lower > 0


@given(st.lists(st.tuples(numbers, numbers), min_size=LEAST_PAIRS, max_size=30))
def test_the_estimate_is_scipys_and_lies_in_its_interval(pairs: list[tuple[float, float]]) -> None:
    found = rank_correlation(pairs)
    x, y = np.asarray(pairs).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert found is None
        return
    assert found is not None
    assert found.estimate == pytest.approx(sps.spearmanr(x, y).statistic, abs=1e-9)
    assert -1 <= found.lower <= found.estimate + 1e-12 and found.estimate - 1e-12 <= found.upper <= 1


@given(st.lists(st.tuples(numbers, numbers), min_size=LEAST_PAIRS, max_size=30))
def test_turning_one_side_around_turns_everything_around(pairs: list[tuple[float, float]]) -> None:
    ours, turned = rank_correlation(pairs), rank_correlation([(x, -y) for x, y in pairs])
    assert (ours is None) == (turned is None)
    if ours is not None and turned is not None:
        assert (turned.estimate, turned.lower, turned.upper) == (
            pytest.approx(-ours.estimate), pytest.approx(-ours.upper), pytest.approx(-ours.lower),
        )  # fmt: skip


def test_the_interval_covers_what_is_true_of_many_samples() -> None:
    """Twelve pairs, correlated .7: the interval holds the population's value in about 95 of 100 samples."""
    rng = np.random.default_rng(7)
    true = 6 / math.pi * math.asin(0.7 / 2)  # Spearman's rho of a normal pair with Pearson's r = .7
    hits = 0
    for _ in range(600):
        x = rng.standard_normal(12)
        y = 0.7 * x + math.sqrt(1 - 0.49) * rng.standard_normal(12)
        found = rank_correlation(list(zip(x.tolist(), y.tolist(), strict=True)))
        assert found is not None
        hits += found.lower <= true <= found.upper
    assert 0.92 <= hits / 600 <= 0.98
