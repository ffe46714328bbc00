"""A/A experiments, looked at after every household: false alarms stay below alpha, and coverage holds at all looks.

Every kind of metric, clustered, with and without the weeks before, through a full ramp in which the world drifts."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from bakeoff.stats.cuped import Sums, adjusted
from bakeoff.stats.proportion import exact_lower, exact_upper
from bakeoff.stats.ratio import difference, floored_se, ratio
from bakeoff.stats.sequential import half_width
from running import Estimates, Story, estimates

Floats = npt.NDArray[np.float64]
World = Callable[[np.random.Generator, int], tuple[Floats, Floats]]
UNITS, BURN_IN, ALPHA = 2000, 200, 0.05
LOOKS = np.arange(BURN_IN, UNITS + 1)


def acceptance(rng: np.random.Generator, units: int) -> tuple[Floats, Floats]:
    """(accepted needs, needs) per unit; units differ in their own rate, and the world's rate drifts during the ramp."""
    needs = rng.integers(1, 10, units)
    return rng.binomial(needs, np.clip(rng.beta(2, 2, units) * 0.8 + _drift(units), 0, 1)).astype(float), needs * 1.0


def rare_event(rng: np.random.Generator, units: int) -> tuple[Floats, Floats]:
    """An intervention in one need of a hundred, clustered in few units."""
    needs = rng.integers(1, 6, units)
    return rng.binomial(needs, rng.beta(0.2, 19.8, units)).astype(float), needs * 1.0


def edits(rng: np.random.Generator, units: int) -> tuple[Floats, Floats]:
    """Counts with a long tail."""
    needs = rng.integers(1, 6, units)
    return rng.poisson(needs * rng.gamma(0.7, 2.0, units)).astype(float), needs * 1.0


def cost(rng: np.random.Generator, units: int) -> tuple[Floats, Floats]:
    """Sums of lognormal prices; units differ in how dear they are."""
    needs = rng.integers(1, 6, units)
    dear = rng.lognormal(0, 0.5, units)
    return dear * needs * rng.lognormal(0, 0.3, units), needs * 1.0


def slow_answers(rng: np.random.Generator, units: int) -> tuple[Floats, Floats]:
    """Needs above the latency budget: exactly one in twenty, clustered by unit."""
    needs = rng.integers(1, 6, units)
    return rng.binomial(needs, rng.beta(0.5, 9.5, units)).astype(float), needs * 1.0


def _drift(units: int) -> Floats:
    """From 0 to .2: the season changes while the ramp widens."""
    return np.linspace(0, 0.2, units)


KINDS: dict[str, tuple[World, float | None]] = {
    "acceptance": (acceptance, 1.0),
    "rare event": (rare_event, 1.0),
    "edits": (edits, None),
    "cost": (cost, None),
    "slow answers": (slow_answers, 1.0),
}


def story(rng: np.random.Generator, world: World, *, past: bool = False, units: int = UNITS) -> Story:
    """Units by lot in equal arms. Their past, where they have one, is as the same world would have made it, and goes
    with what they do now."""
    x, d = world(rng, units)
    told = Story(treated=rng.random(units) < 0.5, x=x, d=d)
    if not past:
        return told
    before = rng.integers(1, 6, units) * (rng.random(units) < 0.8)
    noise = rng.normal(0, np.std(x / d), units)
    return replace(told, x_before=before * (x / d + noise), d_before=before.astype(float))


def false_alarms(world: World, span: float | None, runs: int, seed: int, *, past: bool, planned: float) -> int:
    """Runs in which any look's confidence sequence excluded 0."""
    rng, found = np.random.default_rng(seed), 0
    for _ in range(runs):
        seen = estimates(story(rng, world, past=past), LOOKS, span=span)
        found += bool((np.abs(seen.estimate) > reach(seen, planned=planned)).any())
    return found


def reach(seen: Estimates, *, planned: float, alpha: float = ALPHA, one_sided: bool = False) -> Floats:
    return seen.se * widths(planned, alpha, one_sided)[seen.units]


@cache
def widths(planned: float, alpha: float, one_sided: bool, most: int = 20_000) -> Floats:
    """In standard errors, after each number of units."""
    return np.array([half_width(1.0, n, planned=planned, alpha=alpha, one_sided=one_sided) for n in range(most + 1)])


def test_running_estimates_are_those_of_the_library() -> None:
    rng = np.random.default_rng(1)
    for world, span in KINDS.values():
        told = story(rng, world, past=True, units=600)
        plain = estimates(replace(told, x_before=None, d_before=None), np.array([200, 600]), span=span)
        sharp = estimates(told, np.array([200, 600]), span=span)
        for look, n in enumerate((200, 600)):
            sides = [np.flatnonzero(told.treated[:n] == side) for side in (True, False)]
            arms = [ratio(told.x[rows], told.d[rows]) for rows in sides]
            assert plain.estimate[look] == pytest.approx(difference(*arms).estimate)
            assert plain.se[look] == pytest.approx(np.hypot(*(floored_se(arm, span) for arm in arms)))
            assert told.x_before is not None and told.d_before is not None
            sums = [Sums(x=told.x[r], d=told.d[r], x_before=told.x_before[r], d_before=told.d_before[r]) for r in sides]
            found = adjusted(*sums)
            assert sharp.estimate[look] == pytest.approx(found.estimate)
            if span is None:
                assert sharp.se[look] == pytest.approx(np.hypot(found.treated_se, found.control_se))


def test_false_alarms_under_peeking_at_every_household_stay_below_alpha(tell) -> None:
    """Each kind with few runs, all of them together with enough to tell."""
    runs, total = 200, 0
    for kind, (world, span) in KINDS.items():
        for past in (False, True):
            found = false_alarms(world, span, runs, 1, past=past, planned=1000)
            tell("A/A, looked at after every household", metric=kind, weeks_before=past, runs=runs, false_alarms=found)
            assert exact_lower(found, runs, 0.01) <= ALPHA
            total += found
    assert exact_upper(total, runs * 2 * len(KINDS), 0.01) <= ALPHA


def test_a_fixed_interval_would_cry_wolf() -> None:
    """The same experiments, judged by 1.96 standard errors at every household."""
    rng, runs = np.random.default_rng(2), 300
    fixed = sum(
        bool((np.abs(seen.estimate) > 1.96 * seen.se).any())
        for seen in (estimates(story(rng, acceptance), LOOKS, span=1.0) for _ in range(runs))
    )
    assert exact_lower(fixed, runs, 0.01) > 0.2


def test_arms_whose_ratio_changes_must_not_be_pooled_and_equal_arms_may() -> None:
    """The world drifts from .6 to .8 while the ramp widens. With equal ranges in every phase pooling is right; had the
    treated share of the two arms gone from 1:9 to 1:1 instead, pooling would see a difference that is not there."""
    rng, runs, false = np.random.default_rng(9), 60, {"equal": 0, "changing": 0}
    for _ in range(runs):
        x, d = acceptance(rng, UNITS)
        share = {"equal": np.full(UNITS, 0.5), "changing": np.where(np.arange(UNITS) < UNITS // 2, 0.1, 0.5)}
        for name, treated in share.items():
            seen = estimates(Story(treated=rng.random(UNITS) < treated, x=x, d=d), LOOKS, span=1.0)
            false[name] += bool((np.abs(seen.estimate) > reach(seen, planned=1000)).any())
    assert exact_lower(false["equal"], runs, 0.01) <= ALPHA
    assert exact_lower(false["changing"], runs, 0.01) > 0.3


def test_coverage_holds_at_all_looks_at_once_for_a_real_difference() -> None:
    rng, runs, missed = np.random.default_rng(3), 400, 0
    for _ in range(runs):
        told = story(rng, edits)
        seen = estimates(replace(told, x=told.x + 0.3 * told.treated * told.d), LOOKS, span=None)
        missed += bool((np.abs(seen.estimate - 0.3) > reach(seen, planned=1000)).any())
    assert exact_lower(missed, runs, 0.01) <= ALPHA


def family_alarms(runs: int, seed: int, *, past: bool) -> int:
    """Runs in which any of four guardrails looked harmed, or the latency budget broken, at any household; each is
    watched at alpha / 5, one-sided."""
    rng, found = np.random.default_rng(seed), 0
    compared = [KINDS[kind] for kind in ("acceptance", "rare event", "edits", "cost")]
    for _ in range(runs):
        alarm = False
        for world, span in compared:
            seen = estimates(story(rng, world, past=past), LOOKS, span=span)
            alarm |= bool((seen.estimate + reach(seen, planned=1000, alpha=ALPHA / 5, one_sided=True) < 0).any())
        found += alarm or over_budget(estimates(story(rng, slow_answers), LOOKS, span=1.0), 0.05).any()
    return found


def over_budget(seen: Estimates, limit: float) -> npt.NDArray[np.bool_]:
    """At which looks the treated arm's own share is surely above its limit."""
    return np.asarray(seen.treated - seen.treated_se * widths(500, ALPHA / 5, True)[seen.treated_units] > limit)


def test_false_rollbacks_over_four_guardrails_a_budget_and_all_looks_stay_below_alpha(tell) -> None:
    runs = 200
    found = family_alarms(runs, 4, past=True)
    tell("False rollbacks of a family of five", runs=runs, rolled_back=found)
    assert exact_lower(found, runs, 0.01) <= ALPHA


# ---- planted regressions -------------------------------------------------------------------------------------------


def detected(rng: np.random.Generator, plant: str, *, past: bool = False, units: int = 20_000) -> int | None:
    """Households (both arms) until the regression is rolled back, looked at every 20 of them; None: never."""
    looks = np.arange(BURN_IN, units + 1, 20)
    if plant == "acceptance":
        told = story(rng, acceptance, past=past, units=units)
        lost = rng.binomial(told.x.astype(int), 0.05 / 0.5) * told.treated  # of half that are accepted: 5 points
        seen = estimates(replace(told, x=told.x - lost), looks, span=1.0)
    elif plant == "interventions":
        told = story(rng, rare_event, past=past, units=units)
        more = rng.binomial((told.d - told.x).astype(int), 0.01) * told.treated
        seen = estimates(replace(told, x=-(told.x + more)), looks, span=1.0)
    else:
        told = story(rng, slow_answers, units=units)
        more = rng.binomial(
            (told.d - told.x).astype(int), 0.05 / 0.95
        )  # one in ten over the budget instead of in twenty
        hits = over_budget(estimates(replace(told, x=told.x + more), looks, span=1.0), 0.05)
        return int(looks[hits.argmax()]) if hits.any() else None
    hits = seen.estimate + reach(seen, planned=2000, alpha=ALPHA / 5, one_sided=True) < 0
    return int(looks[hits.argmax()]) if hits.any() else None


STATED = {"acceptance": 5000, "interventions": 5000, "latency": 1200}
"""Households within which nine of ten regressions are rolled back: five points of acceptance lost, one point more
interventions (from one in a hundred), one answer in ten over the latency budget instead of one in twenty."""


def until_rolled_back(plant: str, runs: int, seed: int, *, past: bool = False) -> list[float]:
    rng = np.random.default_rng(seed)
    found = [detected(rng, plant, past=past) for _ in range(runs)]
    return [np.inf if n is None else float(n) for n in found]


@pytest.mark.parametrize("plant", STATED)
def test_planted_regressions_are_rolled_back_within_the_stated_number_of_households(plant: str, tell) -> None:
    found = until_rolled_back(plant, 60, 5)
    median, most = np.quantile(found, [0.5, 0.9], method="higher")
    tell(
        "Planted regressions, households until rolled back",
        regression=plant,
        median=median,
        nine_in_ten=most,
    )
    assert most <= STATED[plant]


# ---- many experiments ----------------------------------------------------------------------------------------------


@pytest.mark.simulate
@pytest.mark.parametrize("past", [False, True], ids=["plain", "cuped"])
@pytest.mark.parametrize("planned", [500, 4000])
@pytest.mark.parametrize("kind", KINDS)
def test_false_alarms_under_peeking_stay_below_alpha_many_experiments(
    kind: str, planned: float, past: bool, tell
) -> None:
    world, span = KINDS[kind]
    runs = 2000
    found = false_alarms(world, span, runs, 5, past=past, planned=planned)
    title = "A/A, looked at after every household, many experiments"
    tell(title, metric=kind, tightest_at=planned, weeks_before=past, runs=runs, false_alarms=found / runs)
    assert exact_upper(found, runs, 0.01) <= ALPHA


@pytest.mark.simulate
@pytest.mark.parametrize("past", [False, True], ids=["plain", "cuped"])
def test_false_rollbacks_stay_below_alpha_many_experiments(past: bool, tell) -> None:
    runs = 2000
    found = family_alarms(runs, 6, past=past)
    tell(
        "False rollbacks of a family of five, many experiments", weeks_before=past, runs=runs, rolled_back=found / runs
    )
    assert exact_upper(found, runs, 0.01) <= ALPHA


@pytest.mark.simulate
@pytest.mark.parametrize("past", [False, True], ids=["plain", "cuped"])
@pytest.mark.parametrize("plant", STATED)
def test_planted_regressions_many_experiments(plant: str, past: bool, tell) -> None:
    found = until_rolled_back(plant, 400, 7, past=past)
    median, most = np.quantile(found, [0.5, 0.9], method="higher")
    title = "Planted regressions, households until rolled back, many experiments"
    tell(title, regression=plant, weeks_before=past, median=median, nine_in_ten=most)
    assert most <= STATED[plant]
