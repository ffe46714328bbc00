"""Ratio metrics by the delta method at unit level."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.stats.paired import jackknife_se
from bakeoff.stats.ratio import RatioEstimate, difference, floored_se, ratio, relative_lift


def test_one_row_per_unit_is_the_standard_error_of_a_mean() -> None:
    x = [1.0, 0.0, 1.0, 1.0, 0.0]
    got = ratio(x, [1] * 5)
    assert got.value == pytest.approx(0.6)
    assert got.se == pytest.approx(np.std(x, ddof=1) / math.sqrt(5))


def test_worked_ratio() -> None:
    """X 3, 1, 4 over D 4, 2, 4: r = .8; Z = (X - .8 D) / (10/3) = -.06, -.18, .24."""
    got = ratio([3, 1, 4], [4, 2, 4])
    variance = (0.06**2 + 0.18**2 + 0.24**2) / 2
    assert (got.value, got.se) == (pytest.approx(0.8), pytest.approx(math.sqrt(variance / 3)))
    assert (got.units, got.rows) == (3, 10)


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 6)), min_size=2, max_size=40),
    st.floats(0.1, 10),
)
def test_scaling_the_metric_scales_value_and_standard_error(data, scale) -> None:
    x, d = [a for a, _ in data], [b for _, b in data]
    one, two = ratio(x, d), ratio([scale * a for a in x], d)
    assert two.value == pytest.approx(scale * one.value, abs=1e-9)
    assert two.se == pytest.approx(scale * one.se, abs=1e-9)


def test_the_delta_method_agrees_with_the_jackknife_for_many_units() -> None:
    rng = np.random.default_rng(7)
    d = rng.integers(1, 8, 400)
    x = rng.binomial(d, 0.4)
    assert ratio(x, d).se == pytest.approx(jackknife_se(x, d), rel=0.01)


def test_rows_within_a_unit_are_not_independent_evidence() -> None:
    """Ten identical rows per unit say no more than one."""
    x = np.array([1.0, 0, 1, 0, 0, 1])
    assert ratio(10 * x, [10] * 6).se == pytest.approx(ratio(x, [1] * 6).se)


def test_difference_and_lift_of_two_arms() -> None:
    t = RatioEstimate(value=0.6, se=0.03, units=100, rows=400)
    c = RatioEstimate(value=0.5, se=0.04, units=120, rows=480)
    assert difference(t, c).estimate == pytest.approx(0.1)
    assert difference(t, c).se == pytest.approx(0.05)
    assert difference(t, c).units == 220
    assert relative_lift(t, c).estimate == pytest.approx(0.2)
    assert relative_lift(t, c).se == pytest.approx(math.hypot(0.03 / 0.5, 0.04 * 0.6 / 0.25))


def test_a_lift_over_a_negative_baseline_keeps_the_sign_of_the_change() -> None:
    t = RatioEstimate(value=-1.0, se=0.1, units=10, rows=10)
    c = RatioEstimate(value=-2.0, se=0.1, units=10, rows=10)
    assert relative_lift(t, c).estimate == pytest.approx(0.5)


def test_an_arm_in_which_nothing_happened_yet_is_not_certain() -> None:
    quiet = ratio([0.0] * 100, [1] * 100)
    assert quiet.se == 0.0
    assert floored_se(quiet, 1.0) == pytest.approx(math.sqrt(101 / 102**2 / 100))
    assert floored_se(quiet, None) == math.inf
    busy = ratio([0.0, 1.0] * 50, [1] * 100)
    assert floored_se(busy, 1.0) == busy.se
    assert floored_se(busy, None) == busy.se


def test_no_denominator_is_an_error_and_not_zero() -> None:
    with pytest.raises(ValueError, match="missing is never a number"):
        ratio([0.0, 0.0], [0, 0])
    with pytest.raises(ValueError, match="vectors of one length"):
        ratio([0.0, 0.0], [1])
    with pytest.raises(ValueError, match="not defined"):
        zero = RatioEstimate(value=0.0, se=0.1, units=10, rows=10)
        relative_lift(zero, zero)
    assert ratio([1.0], [2]).se == math.inf
