"""Whole experiments through assign, analyze and advise: what is shipped, rolled back and kept, how often."""

import pytest

from bakeoff.stats.proportion import exact_lower, exact_upper
from trials import endings


@pytest.mark.parametrize("past", [False, True])
def test_equal_policies_are_kept_and_almost_never_shipped_or_rolled_back(past: bool) -> None:
    runs = 60
    got = endings(runs, past=past)
    assert exact_lower(got["ship"], runs, 0.01) <= 0.05
    assert exact_lower(got["rollback"], runs, 0.01) <= 0.05
    assert got["keep"] >= 0.85 * runs
    assert got["running"] == 0


def test_a_planted_regression_is_never_shipped_and_mostly_rolled_back() -> None:
    got = endings(25, 1000, effect=-0.15)
    assert got["ship"] == 0
    assert got["rollback"] >= 20


def test_more_interventions_are_rolled_back_even_if_people_accept_more() -> None:
    got = endings(25, 2000, effect=0.1, harm=0.15)
    assert got["ship"] == 0
    assert got["rollback"] >= 20


def test_a_clear_improvement_is_shipped() -> None:
    got = endings(25, 3000, effect=0.15)
    assert got["ship"] >= 20
    assert got["rollback"] == 0


@pytest.mark.simulate
@pytest.mark.parametrize("past", [False, True])
def test_false_ships_and_false_rollbacks_stay_below_alpha_many_experiments(past: bool, tell) -> None:
    runs = 800
    got = endings(runs, 10_000, past=past)
    shares = {verdict: got[verdict] / runs for verdict in ("keep", "ship", "rollback")}
    tell("Whole experiments with equal policies, 700 households, a look a week", weeks_before=past, runs=runs, **shares)
    assert exact_upper(got["ship"], runs, 0.01) <= 0.05
    assert exact_upper(got["rollback"], runs, 0.01) <= 0.05


@pytest.mark.simulate
def test_what_ends_how_many_experiments(tell) -> None:
    runs = 300
    worlds = {
        "15 points more accepted": {"effect": 0.15},
        "15 points less accepted": {"effect": -0.15},
        "10 points more accepted, 15 more interventions": {"effect": 0.1, "harm": 0.15},
        "15 points more accepted, 20 less variety": {"effect": 0.15, "narrower": 0.2},
    }
    for name, world in worlds.items():
        got = endings(runs, 20_000, **world)
        shares = {verdict: got[verdict] / runs for verdict in ("keep", "ship", "rollback")}
        tell("Whole experiments with policies that differ", world=name, runs=runs, **shares)
        assert (got["ship"] > 0.9 * runs) == (name == "15 points more accepted")
