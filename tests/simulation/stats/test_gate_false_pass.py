"""How often a candidate that is worse by exactly the margin passes. Target: at most .07 for 30 units and more."""

import numpy as np
import pytest
from scipy import stats as sps

from bakeoff.stats.paired import compare_pairs
from bakeoff.stats.proportion import exact_lower, exact_upper

MARGIN = 0.05


def replay(rng: np.random.Generator, units: int, loss: float) -> tuple[list[float], list[str]]:
    """Paired outcomes in {-1, 0, 1}: lognormal rows per unit, and units that gain or lose by themselves."""
    rows = np.maximum(1, rng.lognormal(1.2, 0.6, units).astype(int))
    shift = np.repeat(rng.uniform(-0.12, 0.12, units), rows)
    draw = rng.random(rows.sum())
    worse, better = 0.15 + loss / 2 + shift, 0.15 - loss / 2 - shift
    d = np.where(draw < worse, -1.0, np.where(draw < worse + better, 1.0, 0.0))
    return d.tolist(), np.repeat(np.arange(units), rows).astype(str).tolist()


def rare_pass(units: int, margin: float) -> float:
    """Exact chance to pass if each unit loses everything with probability `margin`, and is equal otherwise."""
    ids, total = [str(i) for i in range(units)], 0.0
    for losing in range(units):
        got = compare_pairs([-1.0] * losing + [0.0] * (units - losing), ids, alpha=0.05, span=1.0)
        if got.lower <= -margin:
            break
        total += float(sps.binom.pmf(losing, units, margin))
    return total


def passes(world, units: int, loss: float, runs: int, seed: int) -> int:
    rng = np.random.default_rng([seed, units])
    return sum(compare_pairs(*world(rng, units, loss), alpha=0.05, span=1.0).lower > -MARGIN for _ in range(runs))


@pytest.mark.parametrize("units", [30, 60])
def test_a_loss_of_the_margin_rarely_passes(units: int) -> None:
    runs = 4000
    assert exact_upper(passes(replay, units, MARGIN, runs, 1), runs, 0.01) <= 0.07


@pytest.mark.parametrize("margin", [0.03, 0.05, 0.1])
def test_rare_total_losses_rarely_pass(margin: float) -> None:
    """Exact, for one number of units in seven: where the t interval is far too narrow."""
    assert max(rare_pass(units, margin) for units in range(30, 500, 7)) <= 0.07


def test_the_t_interval_alone_would_let_rare_total_losses_pass() -> None:
    """Six losing units of 200 have mean -.03 and t bound -.0499; six or fewer happen in 12 % of replays."""
    t_bound = -0.03 - sps.t.ppf(0.95, 199) * np.sqrt(0.03 * 0.97 / 199)
    assert t_bound > -MARGIN
    assert sps.binom.cdf(6, 200, MARGIN) > 0.12


def test_absence_of_significance_would_pass_most_of_the_time() -> None:
    """The rule that the gate does not use: at 30 units it lets a loss of 5 points through in most replays."""
    rng, runs = np.random.default_rng(4), 300
    quiet = sum(compare_pairs(*replay(rng, 30, MARGIN), alpha=0.05, span=1.0).p_harm > 0.05 for _ in range(runs))
    assert exact_lower(quiet, runs, 0.01) > 0.5


def test_significant_harm_is_found_no_more_often_than_alpha_where_there_is_none() -> None:
    rng, runs = np.random.default_rng(5), 2500
    alarms = sum(compare_pairs(*replay(rng, 40, 0.0), alpha=0.05, span=1.0).p_harm <= 0.05 for _ in range(runs))
    assert exact_upper(alarms, runs, 0.01) <= 0.07


def test_an_equal_candidate_passes_with_enough_units() -> None:
    """The usual power, .8, at 400 units: the gate is strict, not shut."""
    assert exact_lower(passes(replay, 400, 0.0, 300, 6), 300, 0.01) > 0.8


@pytest.mark.simulate
@pytest.mark.parametrize("units", [30, 60, 150, 400])
def test_a_loss_of_the_margin_rarely_passes_many_replays(units: int) -> None:
    runs = 8000
    assert exact_upper(passes(replay, units, MARGIN, runs, 7), runs, 0.01) <= 0.07


@pytest.mark.simulate
@pytest.mark.parametrize("margin", [0.02, 0.03, 0.05, 0.1, 0.2])
def test_rare_total_losses_rarely_pass_for_any_number_of_units(margin: float) -> None:
    assert max(rare_pass(units, margin) for units in range(30, 700)) <= 0.07
