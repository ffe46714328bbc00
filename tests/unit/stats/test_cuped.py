"""CUPED on ratio metrics: worked against a plain regression; the past helps, and never moves what is true."""

import numpy as np
import numpy.typing as npt
import pytest

from bakeoff.stats.cuped import Sums, adjusted, difference_before
from bakeoff.stats.proportion import exact_upper
from bakeoff.stats.ratio import difference, ratio

Floats = npt.NDArray[np.float64]


def arm(rng: np.random.Generator, units: int, *, effect: float = 0.0, without_past: float = 0.2) -> Sums:
    taste = rng.normal(0.5, 0.2, units)
    now, before = rng.integers(1, 6, units), rng.integers(1, 6, units) * (rng.random(units) >= without_past)
    return Sums(
        x=now * (taste + effect) + rng.normal(0, 0.1, units) * np.sqrt(now),
        d=now.astype(float),
        x_before=before * taste + rng.normal(0, 0.1, units) * np.sqrt(before),
        d_before=before.astype(float),
    )


def plain(treated: Sums, control: Sums) -> tuple[float, float]:
    found = difference(ratio(treated.x, treated.d), ratio(control.x, control.d))
    return found.estimate, found.se


def test_with_one_need_each_it_is_the_regression_on_arm_past_and_having_one() -> None:
    """One need per unit and nobody without a past: analysis of covariance with a common slope."""
    rng = np.random.default_rng(1)
    x_before, is_treated = rng.normal(0, 1, 500), rng.random(500) < 0.5
    x = 0.3 * is_treated + 0.8 * x_before + rng.normal(0, 0.5, 500)
    ones = np.ones(500)
    sides = [Sums(x=x[m], d=ones[m], x_before=x_before[m], d_before=ones[m]) for m in (is_treated, ~is_treated)]
    design = np.stack([ones, is_treated, x_before], axis=1)
    slope = np.linalg.lstsq(design, x, rcond=None)[0]
    got = adjusted(*sides)
    assert got.estimate == pytest.approx(slope[1])
    left = x - design @ slope
    assert got.treated_se == pytest.approx(np.std(left[is_treated], ddof=1) / np.sqrt(is_treated.sum()))
    assert got.control_se == pytest.approx(np.std(left[~is_treated], ddof=1) / np.sqrt((~is_treated).sum()))


def test_the_past_takes_out_the_variance_that_it_explains() -> None:
    rng = np.random.default_rng(2)
    treated, control = arm(rng, 2000, effect=0.1), arm(rng, 2000)
    got, (_, se) = adjusted(treated, control), plain(treated, control)
    adjusted_se = float(np.hypot(got.treated_se, got.control_se))
    assert got.variance_cut == pytest.approx(1 - (adjusted_se / se) ** 2)
    assert 0.3 < got.variance_cut < 0.9
    assert got.estimate == pytest.approx(0.1, abs=4 * adjusted_se)


def test_swapping_the_arms_turns_the_sign_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    treated, control = arm(rng, 300, effect=0.1), arm(rng, 200)
    one, other = adjusted(treated, control), adjusted(control, treated)
    assert one.estimate == pytest.approx(-other.estimate)
    assert (one.treated_se, one.control_se) == pytest.approx((other.control_se, other.treated_se))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_unit_of_the_metric_does_not_matter(scale: float) -> None:
    rng = np.random.default_rng(4)
    sides = [arm(rng, 300), arm(rng, 300)]
    grown = [Sums(x=s.x * scale, d=s.d, x_before=s.x_before * scale, d_before=s.d_before) for s in sides]
    assert adjusted(*grown).estimate == pytest.approx(adjusted(*sides).estimate * scale)
    assert adjusted(*grown).variance_cut == pytest.approx(adjusted(*sides).variance_cut)


@pytest.mark.parametrize("x_before", [0.0, 1.0], ids=["no past at all", "the same past for all"])
def test_a_past_that_says_nothing_changes_nothing(x_before: float) -> None:
    rng = np.random.default_rng(5)
    sides = [arm(rng, 100), arm(rng, 100)]
    blank = [Sums(x=s.x, d=s.d, x_before=s.d * x_before, d_before=s.d * x_before) for s in sides]
    got, (estimate, se) = adjusted(*blank), plain(*sides)
    assert got.estimate == pytest.approx(estimate)
    assert np.hypot(got.treated_se, got.control_se) == pytest.approx(se)
    assert got.variance_cut == pytest.approx(0.0, abs=1e-12)


def test_a_metric_that_never_changes_has_no_variance_to_cut() -> None:
    ones = np.ones(50)
    side = Sums(x=ones, d=ones, x_before=np.arange(50.0), d_before=ones)
    got = adjusted(side, side)
    assert (got.estimate, got.treated_se, got.variance_cut) == (0.0, 0.0, 0.0)


def test_the_difference_before_is_that_of_units_with_a_past() -> None:
    rng = np.random.default_rng(6)
    treated, control = arm(rng, 400), arm(rng, 400)
    found = difference_before(treated, control)
    assert found is not None
    has = treated.d_before > 0
    assert found.units == has.sum() + (control.d_before > 0).sum()
    assert abs(found.estimate) < 4 * found.se
    none = Sums(x=treated.x, d=treated.d, x_before=treated.x * 0, d_before=treated.d * 0)
    assert difference_before(none, control) is None


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Small arms of unequal size, clusters of unequal size, a fifth without a past: 95 % intervals."""
    rng, missed, runs = np.random.default_rng(7), 0, 2000
    for _ in range(runs):
        got = adjusted(arm(rng, 120, effect=0.05), arm(rng, 90))
        missed += abs(got.estimate - 0.05) > 1.96 * np.hypot(got.treated_se, got.control_se)
    assert exact_upper(missed, runs, 0.01) <= 0.08
    assert missed / runs > 0.02
