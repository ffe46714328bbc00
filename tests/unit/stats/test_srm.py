"""Sample ratio mismatch: the closed form, its two rules about arms, and phases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.stats.srm import PhaseCounts, log_e_value, sample_ratio


def one_by_one(order: list[int], weights: list[float], concentration: float = 200.0) -> float:
    """The same e-value as a product of predictive probabilities, one unit at a time."""
    seen, log = [0] * len(weights), 0.0
    for n, arm in enumerate(order):
        prior = concentration * weights[arm]
        log += math.log((prior + seen[arm]) / (concentration + n) / weights[arm])
        seen[arm] += 1
    return log


@given(st.lists(st.integers(0, 1), max_size=60), st.floats(0.1, 0.9))
def test_closed_form_equals_the_product_of_predictions(order: list[int], weight: float) -> None:
    counts = [order.count(0), order.count(1)]
    got = float(log_e_value(counts, [weight, 1 - weight]))
    assert got == pytest.approx(one_by_one(order, [weight, 1 - weight]), abs=1e-9)


def test_nobody_seen_is_no_evidence() -> None:
    got = sample_ratio([PhaseCounts(expected=(1, 1), counts=(0, 0))])
    assert (got.log_e, got.alarm) == (pytest.approx(0.0, abs=1e-12), False)
    assert sample_ratio([]).log_e == 0.0


def test_a_healthy_split_is_quiet_and_a_broken_one_is_found() -> None:
    assert not sample_ratio([PhaseCounts(expected=(1, 1), counts=(2510, 2490))]).alarm
    assert sample_ratio([PhaseCounts(expected=(1, 1), counts=(2750, 2250))]).alarm


def test_weights_need_not_add_up_to_one() -> None:
    assert log_e_value([30, 50], [1, 1]) == pytest.approx(float(log_e_value([30, 50], [0.5, 0.5])))


def test_an_arm_without_weight_is_dropped_but_its_units_are_reported() -> None:
    got = sample_ratio([PhaseCounts(expected=(1, 1, 0), counts=(100, 100, 3))])
    assert got.log_e == pytest.approx(sample_ratio([PhaseCounts(expected=(1, 1), counts=(100, 100))]).log_e)
    assert got.unexpected == 3


def test_an_arm_with_weight_that_nobody_reached_is_evidence() -> None:
    assert sample_ratio([PhaseCounts(expected=(1, 1, 1), counts=(100, 100, 0))]).alarm


def test_every_phase_is_judged_by_its_own_split_and_evidence_multiplies() -> None:
    """10:90, then 50:50. Pooled against either split the same counts would alarm."""
    phases = [
        PhaseCounts(expected=(1, 9), counts=(100, 900)),
        PhaseCounts(expected=(1, 1), counts=(500, 500)),
    ]
    got = sample_ratio(phases)
    assert not got.alarm
    assert got.counts == (600, 1400)
    assert got.log_e == pytest.approx(sum(float(log_e_value(p.counts, p.expected)) for p in phases))
    assert float(log_e_value([600, 1400], [1, 1])) > math.log(1000)


def test_many_looks_in_one_call() -> None:
    looks = np.array([[10, 10], [30, 20], [300, 200]])
    got = log_e_value(looks, [1, 1])
    assert got.shape == (3,)
    assert got[1] == pytest.approx(float(log_e_value([30, 20], [1, 1])))


def test_impossible_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="positive sum"):
        log_e_value([1, 1], [0, 0])
    with pytest.raises(ValueError, match="expected one per arm"):
        sample_ratio([PhaseCounts(expected=(1, 1), counts=(1, 1, 1))])
