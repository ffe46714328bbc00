"""Sample sizes, against the published example and against themselves."""

import math

import pytest

from bakeoff.stats.power import (
    design_effect,
    detectable_difference,
    detectable_effect,
    required_pairs,
    required_units_per_arm,
    units_until,
)
from bakeoff.stats.sequential import half_width


def test_1100_pairs_for_a_margin_of_three_points() -> None:
    assert required_pairs(0.4, 0.03) == 1100


def test_an_expected_loss_and_clustering_cost_pairs() -> None:
    assert required_pairs(0.4, 0.03, expected_loss=0.01) == pytest.approx(1100 * 9 / 4, rel=0.01)
    assert required_pairs(0.4, 0.03, design=design_effect(5, 0.0, 0.25)) == pytest.approx(2200, rel=0.01)
    with pytest.raises(ValueError, match="uses up the margin"):
        required_pairs(0.4, 0.03, expected_loss=0.03)


def test_detectable_effect_is_2_49_standard_errors_at_five_percent_and_power_80() -> None:
    assert detectable_effect(1.0, alpha=0.05) == pytest.approx(2.4865, abs=1e-4)


def test_a_fixed_comparison_of_proportions_needs_the_textbook_number() -> None:
    """Difference .05, sd .5, alpha .05 two-sided, power .8: 1,570 per arm (rule of thumb: 16 sd^2 / d^2)."""
    assert required_units_per_arm(0.5, 0.05) == pytest.approx(1570, abs=1)


def test_freedom_to_peek_costs_91_percent_more_units_at_the_planned_size() -> None:
    """((3.035 + .842) / (1.96 + .842))^2 = 1.91."""
    fixed = required_units_per_arm(0.5, 0.05)
    planned = 2 * fixed * 1.914
    assert required_units_per_arm(0.5, 0.05, planned=planned) / fixed == pytest.approx(1.914, abs=0.01)


def test_required_units_is_the_smallest_number_that_reaches_the_effect() -> None:
    units = required_units_per_arm(0.3, 0.08, planned=800)
    assert detectable_difference(0.3, units, planned=800) <= 0.08
    assert detectable_difference(0.3, units - 1, planned=800) > 0.08
    assert detectable_difference(0.3, 0) == math.inf
    with pytest.raises(ValueError, match="positive effect"):
        required_units_per_arm(0.3, 0.0)


def test_units_until_is_where_the_sequence_becomes_narrower_than_the_distance() -> None:
    units = units_until(0.05, 200, 0.04, planned=2000, alpha=0.05)
    assert units is not None

    def width(total: int) -> float:
        se = 0.05 * math.sqrt(200 / total)
        return half_width(se, total, planned=2000, alpha=0.05, one_sided=True)

    assert width(units) <= 0.04 < width(units - 1)


def test_units_until_does_not_promise_the_impossible() -> None:
    assert units_until(0.05, 200, 0.0, planned=2000, alpha=0.05) is None
    assert units_until(math.inf, 200, 0.1, planned=2000, alpha=0.05) is None
    assert units_until(0.05, 200, 1e-9, planned=2000, alpha=0.05) is None
