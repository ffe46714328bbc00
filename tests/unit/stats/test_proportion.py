"""Intervals for shares, against published numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as sps

from bakeoff.stats.proportion import exact_lower, exact_upper, wilson


def test_wilson_27_of_30() -> None:
    got = wilson(27, 30)
    assert (got.lower, got.upper) == (pytest.approx(0.7438, abs=5e-5), pytest.approx(0.9654, abs=5e-5))


def test_wilson_ends_exactly_at_0_and_1() -> None:
    assert wilson(0, 10).lower == 0.0
    assert wilson(10, 10).upper == 1.0


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= successes <= trials"):
        wilson(successes, trials)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_exact_upper_bound_leaves_alpha_below_it(counts: tuple[int, int]) -> None:
    """At the bound, seeing this few successes or fewer has probability exactly alpha."""
    successes, trials = counts
    bound = exact_upper(successes, trials, 0.05)
    assert sps.binom.cdf(successes, trials, bound) == pytest.approx(0.05, rel=1e-6)


def test_exact_bounds_at_the_ends() -> None:
    assert exact_upper(0, 300, 0.05) == pytest.approx(0.009936, abs=1e-6)
    assert exact_upper(5, 5, 0.05) == 1.0
    assert exact_upper(0, 0, 0.05) == 1.0
    assert exact_lower(0, 20, 0.05) == 0.0
    assert exact_lower(20, 20, 0.05) == pytest.approx(0.05 ** (1 / 20))
    assert exact_lower(0, 0, 0.05) == 0.0
