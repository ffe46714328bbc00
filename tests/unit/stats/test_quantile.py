"""Quantiles with order-statistic bounds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.stats.quantile import cluster_factor, quantile


def ids(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def test_ranks_of_a_median_of_100_independent_rows() -> None:
    """n (nu +- z sqrt(nu (1 - nu) / n)) = 50 +- 9.8: the 40th and the 60th value."""
    got = quantile([float(i) for i in range(1, 101)], ids(100), 0.5)
    assert (got.value, got.lower, got.upper) == (50.0, 40.0, 60.0)
    assert got.cluster_factor == pytest.approx(1.0, abs=0.02)
    assert got.se == pytest.approx(20 / (2 * 1.959964), rel=1e-6)


def test_the_95th_percentile_needs_76_rows() -> None:
    assert quantile([float(i) for i in range(76)], ids(76), 0.95).enough_rows
    assert not quantile([float(i) for i in range(75)], ids(75), 0.95).enough_rows


def test_a_sample_that_ends_too_early_has_no_upper_bound() -> None:
    got = quantile([float(i) for i in range(20)], ids(20), 0.95)
    assert got.upper == math.inf
    assert got.se == math.inf
    assert got.lower > -math.inf


def test_rows_that_repeat_within_a_unit_widen_the_interval() -> None:
    """Ten copies of each value: the factor is ten, and the bounds are those of the 100 values alone."""
    values = [float(i) for i in range(1, 101)]
    once = quantile(values, ids(100), 0.5)
    ten = quantile(values * 10, ids(100) * 10, 0.5)
    assert ten.cluster_factor == pytest.approx(10 * once.cluster_factor, rel=0.02)
    assert ten.upper - ten.lower == pytest.approx(once.upper - once.lower, abs=1)


def test_constant_values_have_no_clustering_to_speak_of() -> None:
    assert cluster_factor([1.0] * 10, ids(10), 1.0) == 1.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=80), st.floats(0.05, 0.95))
def test_the_value_is_one_of_the_rows_and_lies_between_its_bounds(values: list[float], level: float) -> None:
    got = quantile(values, ids(len(values)), level)
    assert got.value in values
    assert got.lower <= got.value <= got.upper
    assert np.mean([v <= got.value for v in values]) >= level - 1e-9


def test_without_rows_there_is_no_quantile() -> None:
    with pytest.raises(ValueError, match="expected rows"):
        quantile([], [], 0.95)
    with pytest.raises(ValueError, match="expected rows"):
        quantile([1.0], ["a"], 1.0)
