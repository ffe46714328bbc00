"""The difference of a quantile: the shares of its published formula, and intervals that cover."""

import math

import numpy as np
import pytest

from bakeoff.stats.proportion import exact_upper
from bakeoff.stats.quantile_difference import Rows, cluster_factor, quantile_difference


def rows(rng: np.random.Generator, units: int, each: int, *, shift: float = 0.0) -> Rows:
    """Seconds; units differ in speed."""
    unit = np.repeat(np.arange(units), each)
    speed = np.repeat(rng.lognormal(0, 0.4, units), each)
    return Rows(values=speed * rng.lognormal(0, 0.2, units * each) + shift, units=unit)


def test_order_statistics_of_a_worked_sample() -> None:
    """1 to 100, one row per unit, median: ranks 50 +- 1.96 * 5 are 40 and 60, so the error is 20 / (2 * 1.96); the
    clustered variance is the unbiased one, 100 / 99 of the other."""
    one = Rows(values=np.arange(1.0, 101.0), units=np.arange(100))
    got = quantile_difference(one, one, 0.5)
    assert (got.treated, got.control, got.estimate) == (50.0, 50.0, 0.0)
    se = 20 / (2 * 1.959964) * math.sqrt(100 / 99)
    assert got.upper == pytest.approx(1.959964 * math.sqrt(2) * se, rel=1e-6)
    assert got.lower == -got.upper


def test_repeating_every_row_of_a_unit_adds_no_evidence() -> None:
    rng = np.random.default_rng(1)
    one = rows(rng, 400, 1)
    five = Rows(values=np.repeat(one.values, 5), units=np.repeat(one.units, 5))
    assert cluster_factor(five, 1.0) == pytest.approx(5 * cluster_factor(one, 1.0), rel=0.01)
    narrow, wide = quantile_difference(five, five, 0.95), quantile_difference(one, one, 0.95)
    assert narrow.upper == pytest.approx(wide.upper, rel=0.5)


def test_too_few_rows_say_nothing_and_none_are_an_error() -> None:
    few = Rows(values=np.arange(10.0), units=np.arange(10))
    got = quantile_difference(few, few, 0.95)
    assert (got.lower, got.upper) == (-math.inf, math.inf)
    none = Rows(values=np.zeros(0), units=np.zeros(0, dtype=np.int64))
    with pytest.raises(ValueError, match="expected rows"):
        quantile_difference(none, few, 0.95)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_intervals_of_clustered_rows_cover_the_truth(level: float) -> None:
    rng, runs = np.random.default_rng(2), 400
    missed = sum(
        not (found := quantile_difference(rows(rng, 200, 4, shift=0.1), rows(rng, 200, 4), level)).lower
        <= 0.1
        <= found.upper
        for _ in range(runs)
    )
    assert exact_upper(missed, runs, 0.01) <= 0.1
