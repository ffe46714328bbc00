"""Paired clustered comparison: worked numbers, the exact bound for ties, what must never change a result."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as sps

from bakeoff.stats.paired import (
    compare_pairs,
    effective_units,
    holm,
    jackknife_se,
    unit_sums,
    units_to_prove_a_tie,
    zero_discordance_bound,
)

UNEQUAL = ([0.2, -0.1, 0.3, 0.0, 0.1, -0.2, 0.4], ["a", "a", "a", "b", "b", "c", "d"])

rows = st.lists(
    st.tuples(st.floats(-1, 1).map(lambda x: round(x, 3)), st.sampled_from("abcdefgh")),
    min_size=1,
    max_size=60,
)


def test_one_row_per_unit_is_the_textbook_paired_t_test() -> None:
    d = [0.1 + sign * step for step in (0.05, 0.15, 0.2, 0.25, 0.3) for sign in (1, -1)]
    got = compare_pairs(d, [str(i) for i in range(10)], alpha=0.05)
    expected = sps.ttest_1samp(d, 0.0, alternative="less")
    assert got.estimate == pytest.approx(np.mean(d))
    assert got.se == pytest.approx(np.std(d, ddof=1) / math.sqrt(10))
    assert got.p_harm == pytest.approx(expected.pvalue)
    assert got.upper == pytest.approx(expected.confidence_interval(0.95).high)
    assert got.method == "jackknife"


def test_unequal_units_by_hand_leaving_out_one_at_a_time() -> None:
    """Sums .4, .1, -.2, .4 over 3, 2, 1, 1 rows: mean .1; without each unit .075, .12, .15, .05."""
    got = unit_sums(*UNEQUAL)
    assert got.sums == pytest.approx([0.4, 0.1, -0.2, 0.4])
    squares = (0.3 / 4 - 0.1) ** 2 + (0.6 / 5 - 0.1) ** 2 + (0.9 / 6 - 0.1) ** 2 + (0.3 / 6 - 0.1) ** 2
    assert jackknife_se(got.sums, got.counts) == pytest.approx(math.sqrt(3 / 4 * squares))
    assert effective_units(got.counts) == pytest.approx(49 / 15)


def test_discordant_units_are_counted_by_unit_and_not_by_row() -> None:
    got = unit_sums([0.1, 0.1, -0.1, 0.0, 0.0], ["a", "a", "b", "b", "c"])
    assert (got.better, got.worse, got.discordant) == (1, 1, 2)


def test_repeating_every_row_within_its_unit_adds_no_evidence() -> None:
    """Treating rows as independent would shrink the standard error by sqrt(10): a row-level bug."""
    d, units = [0.3, -0.1, 0.2, 0.05, -0.15, 0.4], list("abcdef")
    once = compare_pairs(d, units, alpha=0.05)
    ten = compare_pairs(d * 10, units * 10, alpha=0.05)
    assert ten.se == pytest.approx(once.se)
    assert ten.effective_units == pytest.approx(6)
    assert ten.rows == 60


def test_rule_of_three_for_300_units_without_a_difference() -> None:
    assert zero_discordance_bound(300, 0.05) == pytest.approx(0.0099, abs=5e-5)


def test_a_margin_of_three_points_needs_99_units_without_a_difference() -> None:
    assert units_to_prove_a_tie(0.03, 1.0, 0.05) == 99
    proven = compare_pairs([0.0] * 99, [str(i) for i in range(99)], alpha=0.05, span=1.0)
    open_ = compare_pairs([0.0] * 98, [str(i) for i in range(98)], alpha=0.05, span=1.0)
    assert proven.lower > -0.03 > open_.lower
    assert proven.method == "exact"


def test_ties_of_a_few_big_units_prove_less_than_ties_of_many_small_ones() -> None:
    even = compare_pairs([0.0] * 40, [str(i % 20) for i in range(40)], alpha=0.05, span=1.0)
    lumpy = compare_pairs([0.0] * 40, ["big"] * 21 + [str(i) for i in range(19)], alpha=0.05, span=1.0)
    assert lumpy.units == even.units == 20
    assert lumpy.lower < even.lower


def test_ties_of_a_metric_with_open_range_prove_nothing() -> None:
    got = compare_pairs([0.0] * 500, [str(i) for i in range(500)], alpha=0.05)
    assert (got.lower, got.upper, got.p_harm) == (-math.inf, math.inf, 1.0)


def test_the_same_loss_everywhere_is_harm_only_with_enough_units() -> None:
    few = compare_pairs([-0.1] * 5, list("abcde"), alpha=0.05, span=1.0)
    many = compare_pairs([-0.1] * 60, [str(i) for i in range(60)], alpha=0.05, span=1.0)
    assert few.upper > 0 > many.upper
    assert few.p_harm > 0.05 > many.p_harm


@pytest.mark.parametrize("units", [20, 33, 60])
def test_exact_p_value_and_exact_upper_bound_agree(units: int) -> None:
    ids = [str(i) for i in range(units)]
    p = compare_pairs([-0.1] * units, ids, alpha=0.05, span=1.0).p_harm
    assert compare_pairs([-0.1] * units, ids, alpha=p, span=1.0).upper == pytest.approx(0.0, abs=1e-12)


def test_equal_unit_means_with_unequal_rows_are_ties_too_and_not_certainty() -> None:
    got = compare_pairs([0.1, -0.1] * 30, [str(i // 2) for i in range(60)], alpha=0.05, span=1.0)
    assert got.method == "exact"
    assert got.lower == pytest.approx(-zero_discordance_bound(30, 0.05))


def test_one_tiny_difference_does_not_turn_ties_into_certainty() -> None:
    """Without the guard the t bounds of 29 zeros and one 0.01 would be narrower than a thousandth."""
    tied = compare_pairs([0.0] * 30, [str(i) for i in range(30)], alpha=0.05, span=1.0)
    nearly = compare_pairs([0.01] + [0.0] * 29, [str(i) for i in range(30)], alpha=0.05, span=1.0)
    assert nearly.method == "sparse"
    assert nearly.lower == pytest.approx(tied.lower)
    assert nearly.p_harm == 1.0


def test_eight_discordant_units_are_sparse_and_nine_are_judged_by_the_jackknife() -> None:
    ids = [str(i) for i in range(60)]
    assert compare_pairs([-1.0] * 8 + [0.0] * 52, ids, alpha=0.05, span=1.0).method == "sparse"
    assert compare_pairs([-1.0] * 9 + [0.0] * 51, ids, alpha=0.05, span=1.0).method == "jackknife"


def test_a_long_tail_pushes_the_bound_on_its_own_side_and_no_other() -> None:
    """Skewness of losses in 12 of 60 units: (1 - 2 p) / sqrt(p (1 - p) G) with p = .2, by hand .1936."""
    got = compare_pairs([-1.0] * 12 + [0.0] * 48, [str(i) for i in range(60)], alpha=0.05, span=1.0)
    t = sps.t.ppf(0.95, 59)
    assert got.estimate - got.lower == pytest.approx(got.se * (t + 0.19365 * (2 * t * t + 1) / 6), rel=1e-4)
    assert got.upper - got.estimate == pytest.approx(got.se * t)


def test_p_value_and_upper_bound_agree_where_a_long_tail_of_gains_widens_them() -> None:
    d, ids = [-0.2] * 40 + [0.05 * i for i in range(20)], [str(i) for i in range(60)]
    d = [x - 0.15 for x in d]
    got = compare_pairs(d, ids, alpha=0.05, span=1.0)
    assert got.method == "jackknife"
    assert got.p_harm > sps.ttest_1samp(d, 0.0, alternative="less").pvalue
    assert compare_pairs(d, ids, alpha=got.p_harm, span=1.0).upper == pytest.approx(0.0, abs=1e-9)


def test_no_rows_and_one_unit_give_no_bounds() -> None:
    assert compare_pairs([], [], alpha=0.05).method == "none"
    one = compare_pairs([0.1, 0.2], ["a", "a"], alpha=0.05, span=1.0)
    assert (one.lower, one.upper, one.p_harm) == (-math.inf, math.inf, 1.0)


def test_missing_is_never_a_number() -> None:
    with pytest.raises(ValueError, match="missing is never a number"):
        compare_pairs([0.1, math.nan], ["a", "b"], alpha=0.05)
    with pytest.raises(ValueError, match="one id per row"):
        compare_pairs([0.1], ["a", "b"], alpha=0.05)


@given(rows, st.randoms())
def test_the_order_of_rows_and_the_names_of_units_do_not_matter(data, random) -> None:
    shuffled = random.sample(data, len(data))
    one = compare_pairs([d for d, _ in data], [u for _, u in data], alpha=0.05, span=1.0)
    two = compare_pairs([d for d, _ in shuffled], ["unit-" + u for _, u in shuffled], alpha=0.05, span=1.0)
    assert two.lower == pytest.approx(one.lower)
    assert two.upper == pytest.approx(one.upper)
    assert two.method == one.method


@given(rows)
def test_swapping_the_two_policies_mirrors_the_interval(data) -> None:
    ours = compare_pairs([d for d, _ in data], [u for _, u in data], alpha=0.05, span=1.0)
    theirs = compare_pairs([-d for d, _ in data], [u for _, u in data], alpha=0.05, span=1.0)
    assert theirs.lower == pytest.approx(-ours.upper)
    assert theirs.upper == pytest.approx(-ours.lower)


@given(rows)
def test_the_estimate_lies_between_its_bounds_and_harm_means_an_upper_bound_below_zero(data) -> None:
    got = compare_pairs([d for d, _ in data], [u for _, u in data], alpha=0.05, span=1.0)
    assert got.lower <= got.estimate + 1e-12
    assert got.estimate <= got.upper + 1e-12
    assert 1 - 1e-9 <= got.effective_units <= got.units + 1e-9
    if abs(got.upper) > 1e-9:
        assert (got.p_harm < 0.05) == (got.upper < 0)


def test_holm_steps_down_and_stops_at_the_first_that_stays() -> None:
    """Sorted .01, .02, .04 against .05/3, .05/2, .05: all fall. With .03 in the middle the rest stays."""
    assert holm([0.02, 0.04, 0.01], 0.05) == (True, True, True)
    assert holm([0.03, 0.04, 0.01], 0.05) == (False, False, True)
    assert holm([], 0.05) == ()
