"""Sample ratio mismatch, looked at again and again: quiet when healthy, found when broken."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats as sps

from bakeoff.stats.proportion import exact_lower, exact_upper
from bakeoff.stats.srm import log_e_value

Counts = npt.NDArray[np.int64]


def counts(rng: np.random.Generator, runs: int, share: float, units: int, every: int) -> Counts:
    """(runs, looks, 2) cumulative units per arm."""
    treated = rng.binomial(every, share, (runs, units // every)).cumsum(axis=1)
    total = np.arange(every, units + 1, every)
    return np.stack([treated, total - treated], axis=2)


def alarms(log_e: npt.NDArray[np.float64], level: float) -> int:
    return int((log_e.max(axis=1) >= np.log(level)).sum())


def test_a_healthy_split_alarms_no_more_often_than_one_over_the_level() -> None:
    runs = 5000
    log_e = log_e_value(counts(np.random.default_rng(1), runs, 0.5, 10_000, 50), [1, 1])
    assert exact_upper(alarms(log_e, 20), runs, 0.01) <= 0.05
    assert exact_lower(alarms(log_e, 1000), runs, 0.01) <= 0.001


def test_a_repeated_chi_square_would_cry_wolf() -> None:
    seen = counts(np.random.default_rng(2), 500, 0.5, 10_000, 50)[:, 1:]
    total = seen.sum(axis=2)
    chi_square = (seen[..., 0] - seen[..., 1]) ** 2 / total
    assert (chi_square > sps.chi2.ppf(0.95, 1)).any(axis=1).mean() > 0.3


def test_a_ramp_in_two_phases_is_healthy_if_each_phase_is() -> None:
    """1:9 for 4,000 units, then 1:1: the evidence of both phases multiplies."""
    rng, runs = np.random.default_rng(3), 3000
    first = log_e_value(counts(rng, runs, 0.1, 4000, 50), [1, 9])
    second = log_e_value(counts(rng, runs, 0.5, 4000, 50), [1, 1]) + first[:, -1:]
    assert exact_upper(alarms(np.hstack([first, second]), 20), runs, 0.01) <= 0.05


def test_lost_exposures_are_found() -> None:
    """55:45 always within 10,000 units."""
    log_e = log_e_value(counts(np.random.default_rng(4), 300, 0.55, 10_000, 50), [1, 1])
    assert alarms(log_e, 1000) == 300
    assert np.median((log_e >= np.log(1000)).argmax(axis=1) * 50) < 2500


@pytest.mark.simulate
def test_a_healthy_split_alarms_in_less_than_one_of_a_thousand_experiments() -> None:
    runs, found = 100_000, 0
    rng = np.random.default_rng(5)
    for _ in range(20):
        found += alarms(log_e_value(counts(rng, runs // 20, 0.5, 10_000, 50), [1, 1]), 1000)
    assert exact_upper(found, runs, 0.01) <= 0.001


@pytest.mark.simulate
def test_a_small_imbalance_is_found_in_most_experiments() -> None:
    """52:48 within 20,000 units: the notes measured 94 %."""
    log_e = log_e_value(counts(np.random.default_rng(6), 2000, 0.52, 20_000, 50), [1, 1])
    assert exact_lower(alarms(log_e, 1000), 2000, 0.01) > 0.9
