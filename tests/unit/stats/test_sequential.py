"""Confidence sequences, against the paper's threshold and published vectors of growthbook's gbstats tests."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.stats.ratio import RatioEstimate, relative_lift
from bakeoff.stats.sequential import (
    confidence_sequence,
    half_width,
    log_e_value,
    lower_bound,
    p_value,
    rho_squared,
    upper_bound,
)


def arm(total: float, squares: float, units: int) -> RatioEstimate:
    """One arm from sum, sum of squares and number of units."""
    mean = total / units
    variance = (squares - total**2 / units) / (units - 1)
    return RatioEstimate(value=mean, se=math.sqrt(variance / units), units=units, rows=units)


def test_threshold_at_the_planned_size_is_3_035_standard_errors() -> None:
    assert half_width(1.0, 1000, planned=1000, alpha=0.05) == pytest.approx(3.035, abs=5e-4)


def test_gbstats_sequential_test_of_a_count_metric() -> None:
    """gbstats test_analyze_metric_df_sequential: N* 600, p .892332229, lower end -.233322085."""
    lift = relative_lift(arm(300, 869, 120), arm(270, 848.79, 100))
    got = confidence_sequence(lift.estimate, lift.se, lift.units, planned=600, alpha=0.05)
    p = p_value(lift.estimate, lift.se, lift.units, planned=600, alpha=0.05)
    assert got.estimate == pytest.approx(-0.074074074, abs=5e-10)
    assert got.lower == pytest.approx(-0.233322085, abs=5e-10)
    assert p == pytest.approx(0.892332229, abs=5e-10)


def test_gbstats_sequential_t_test_and_its_one_sided_form() -> None:
    """gbstats test_sequential_test_runs (N* 1000) and TestSequentialOneSidedLesserTTest (N* 5000)."""
    lift = relative_lift(arm(2422.7, 134698.29, 3461), arm(1396.87, 52377.9767, 3000))
    got = confidence_sequence(lift.estimate, lift.se, lift.units, planned=1000, alpha=0.05)
    assert lift.se == pytest.approx(0.3334122146400735)
    assert (got.lower, got.upper) == (pytest.approx(-0.55844, abs=5e-6), pytest.approx(1.56516, abs=5e-6))
    assert p_value(lift.estimate, lift.se, lift.units, planned=1000, alpha=0.05) == 1.0
    upper = upper_bound(lift.estimate, lift.se, lift.units, planned=5000, alpha=0.05)
    assert upper == pytest.approx(1.4302867177403806, rel=1e-12)


def test_the_sequence_is_tightest_relative_to_a_fixed_interval_near_the_planned_size() -> None:
    widths = {n: half_width(1.0, n, planned=1000, alpha=0.05) for n in (30, 300, 1000, 3000, 30000)}
    assert min(widths, key=widths.__getitem__) == 1000


@given(st.integers(2, 10**6), st.integers(2, 10**5), st.floats(0.001, 0.2))
def test_one_sided_bounds_are_tighter_than_two_sided_ones_and_both_wider_than_one_look(n, planned, alpha) -> None:
    two = half_width(1.0, n, planned=planned, alpha=alpha)
    one = half_width(1.0, n, planned=planned, alpha=alpha, one_sided=True)
    assert one > 0
    assert two > math.sqrt(2 * math.log(1 / alpha))
    if n >= planned:
        assert one < two


@given(st.floats(-3, 3), st.integers(10, 10**5))
def test_the_interval_excludes_zero_exactly_when_the_evidence_reaches_one_to_alpha(estimate, n) -> None:
    got = confidence_sequence(estimate, 0.4, n, planned=1000, alpha=0.05)
    evidence = log_e_value(estimate, 0.4, n, planned=1000, alpha=0.05)
    if abs(evidence - math.log(20)) > 1e-9:
        assert (got.lower > 0 or got.upper < 0) == (evidence > math.log(20))


def test_bounds_are_mirror_images_and_nothing_is_known_without_units() -> None:
    lower = lower_bound(0.1, 0.05, 300, planned=1000, alpha=0.05)
    assert upper_bound(-0.1, 0.05, 300, planned=1000, alpha=0.05) == pytest.approx(-lower)
    assert half_width(0.05, 0, planned=1000, alpha=0.05) == math.inf
    assert half_width(math.inf, 50, planned=1000, alpha=0.05) == math.inf
    assert log_e_value(0.0, 0.0, 50, planned=1000, alpha=0.05) == 0.0
    assert log_e_value(0.1, 0.0, 50, planned=1000, alpha=0.05) == math.inf


@pytest.mark.parametrize(("alpha", "planned"), [(0.0, 100), (1.0, 100), (0.05, 0)])
def test_impossible_settings_are_refused(alpha: float, planned: float) -> None:
    with pytest.raises(ValueError, match="expected 0 < alpha < 1 and planned > 0"):
        rho_squared(alpha, planned)


def test_shrinking_alpha_widens_without_limit() -> None:
    widths = [half_width(1.0, 500, planned=1000, alpha=alpha) for alpha in (0.2, 0.05, 0.01, 0.001)]
    assert np.all(np.diff(widths) > 0)
