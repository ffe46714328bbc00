"""A/A experiments, looked at again and again: false alarms stay below alpha, and coverage holds at all looks."""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from bakeoff.stats.proportion import exact_lower, exact_upper
from bakeoff.stats.ratio import difference, floored_se, ratio
from bakeoff.stats.sequential import half_width

LOOKS = range(200, 2001, 50)
ALPHA = 0.05
Floats = npt.NDArray[np.float64]


def acceptance(rng: np.random.Generator, units: int, shift: float = 0.0) -> tuple[Floats, Floats]:
    """(accepted needs, needs) per unit; units differ in their own rate."""
    needs = rng.integers(1, 10, units)
    rate = np.clip(rng.beta(2, 2, units) * (1 - abs(shift)) + max(shift, 0), 0, 1)
    return rng.binomial(needs, rate).astype(float), needs.astype(float)


def rare_event(rng: np.random.Generator, units: int, shift: float = 0.0) -> tuple[Floats, Floats]:
    """An intervention in one need of a hundred, clustered in few units."""
    needs = rng.integers(1, 6, units)
    return rng.binomial(needs, rng.beta(0.2, 19.8, units) + shift).astype(float), needs.astype(float)


def edits(rng: np.random.Generator, units: int, shift: float = 0.0) -> tuple[Floats, Floats]:
    """Counts with a long tail."""
    needs = rng.integers(1, 6, units)
    return rng.poisson(needs * rng.gamma(0.7, 2.0, units) + shift).astype(float), needs.astype(float)


def looks(x: Floats, d: Floats, arm: npt.NDArray[np.bool_], span: float | None) -> Iterator[tuple[float, float, int]]:
    """(difference, standard error, units) at every look, by the functions that `analyze` uses."""
    for n in LOOKS:
        treated = ratio(x[:n][arm[:n]], d[:n][arm[:n]])
        control = ratio(x[:n][~arm[:n]], d[:n][~arm[:n]])
        se = math.hypot(floored_se(treated, span), floored_se(control, span))
        yield difference(treated, control).estimate, se, n


def alarms(world, runs: int, seed: int, *, planned: float, span: float | None = 1.0) -> tuple[int, int]:
    """Runs in which any look excluded 0: by the confidence sequence, and by 1.96 standard errors."""
    rng = np.random.default_rng(seed)
    sequence = fixed = 0
    for _ in range(runs):
        x, d = world(rng, max(LOOKS))
        arm = rng.random(max(LOOKS)) < 0.5
        seen = list(looks(x, d, arm, span))
        sequence += any(abs(e) > half_width(se, n, planned=planned, alpha=ALPHA) for e, se, n in seen)
        fixed += any(abs(e) > 1.96 * se for e, se, _ in seen)
    return sequence, fixed


@pytest.mark.parametrize(("world", "span"), [(acceptance, 1.0), (rare_event, 1.0), (edits, None)])
def test_false_alarms_under_peeking_stay_below_alpha(world, span: float | None) -> None:
    runs = 400
    sequence, _ = alarms(world, runs, 1, planned=1000, span=span)
    assert exact_upper(sequence, runs, 0.01) <= ALPHA


def test_a_fixed_interval_would_cry_wolf() -> None:
    """The same experiments, judged by 1.96 standard errors at every look."""
    _, fixed = alarms(acceptance, 300, 2, planned=1000)
    assert exact_lower(fixed, 300, 0.01) > 0.15


def test_coverage_holds_at_all_looks_at_once_for_a_real_difference() -> None:
    rng, runs, missed = np.random.default_rng(3), 400, 0
    for _ in range(runs):
        arm = rng.random(max(LOOKS)) < 0.5
        needs = rng.integers(1, 10, max(LOOKS))
        rate = rng.beta(2, 2, max(LOOKS)) * 0.8 + 0.1 * arm
        x = rng.binomial(needs, rate).astype(float)
        missed += any(
            abs(e - 0.1) > half_width(se, n, planned=1000, alpha=ALPHA)
            for e, se, n in looks(x, needs.astype(float), arm, 1.0)
        )
    assert exact_upper(missed, runs, 0.01) <= ALPHA


def family_alarms(runs: int, seed: int) -> int:
    """Runs in which any of three guardrails looked harmed at any look, each watched at alpha / 3, one-sided."""
    rng, found = np.random.default_rng(seed), 0
    worlds = ((acceptance, 1.0), (rare_event, 1.0), (edits, None))
    for _ in range(runs):
        arm = rng.random(max(LOOKS)) < 0.5
        found += any(
            e + half_width(se, n, planned=1000, alpha=ALPHA / 3, one_sided=True) < 0
            for world, span in worlds
            for e, se, n in looks(*world(rng, max(LOOKS)), arm, span)
        )
    return found


def test_false_rollbacks_over_three_guardrails_and_all_looks_stay_below_alpha() -> None:
    assert exact_upper(family_alarms(200, 4), 200, 0.01) <= ALPHA


@pytest.mark.simulate
@pytest.mark.parametrize(("world", "span"), [(acceptance, 1.0), (rare_event, 1.0), (edits, None)])
@pytest.mark.parametrize("planned", [500, 4000])
def test_false_alarms_under_peeking_stay_below_alpha_many_experiments(world, span, planned: float) -> None:
    runs = 2000
    sequence, _ = alarms(world, runs, 5, planned=planned, span=span)
    assert exact_upper(sequence, runs, 0.01) <= ALPHA


@pytest.mark.simulate
def test_false_rollbacks_stay_below_alpha_many_experiments() -> None:
    assert exact_upper(family_alarms(2000, 6), 2000, 0.01) <= ALPHA
