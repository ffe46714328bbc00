"""What a study says at its end: a lucky trial is not crowned, a pruned one is never the best."""

import numpy as np
import pytest

from bakeoff.errors import Refused
from bakeoff.training.compare import Scored
from bakeoff.training.tuning.model import State, Trial
from bakeoff.training.tuning.outcome import outcome, verdict
from bakeoff.training.tuning.space import USUAL

UNITS = 60


def rows(values: list[float]) -> tuple[Scored, ...]:
    return tuple(Scored(example_id=f"e{n}", unit_id=f"u{n}", value=value) for n, value in enumerate(values))


def trial(number: int, values: list[float] | None = None, state: State = "complete") -> Trial:
    found = rows(values or [])
    score = sum(row.value for row in found) / len(found) if found else None
    return Trial(number=number, state=state, params=USUAL, rows=found, score=score, run_id=f"r{number}")


def around(mean: float, seed: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(mean, 0.1, UNITS)]


def test_a_clear_winner_is_said_to_be_one() -> None:
    found = outcome([trial(0, around(0.5, 0)), trial(1, around(0.8, 1)), trial(2, around(0.3, 2))])
    assert (found.best.number, found.runner_up and found.runner_up.number) == (1, 0)
    assert found.distinct
    assert "trial 001 is best" in verdict(found)
    assert verdict(found).endswith("): distinguishable")
    assert found.lower < 0.8 < found.upper


def test_a_lead_by_luck_is_not_distinguishable_and_names_the_usual_hyperparameters() -> None:
    found = outcome([trial(number, around(0.5, number)) for number in range(6)])
    assert not found.distinct
    assert found.best.number != 0
    said = verdict(found)
    assert ": not distinguishable; 5 of 5 other complete trials may be as good" in said
    assert said.endswith("the usual hyperparameters (trial 000) among them")


def test_equal_trials_are_rarely_told_apart() -> None:
    """All scores come from one distribution: the level holds for all pairs at once."""
    alarms = sum(
        outcome([trial(n, around(0.5, 100 * study + n)) for n in range(5)]).ranked[1].standing == "worse"
        for study in range(60)
    )
    assert alarms <= 4


def test_the_score_has_an_interval_over_units() -> None:
    found = outcome([trial(0, [0.4, 0.6] * 30)])
    assert (found.units, found.ranked[0].mean) == (60, pytest.approx(0.5))
    half_width = 2.0 * 0.1 / 60**0.5  # t quantile times the standard error
    assert found.upper - 0.5 == pytest.approx(half_width, rel=0.02)
    assert "nothing to compare it with" in verdict(found)


def test_a_tie_goes_to_the_earlier_trial() -> None:
    assert outcome([trial(3, around(0.5, 1)), trial(11, around(0.5, 1))]).best.number == 3


def test_a_pruned_trial_is_never_ranked_even_with_the_highest_rows() -> None:
    found = outcome([trial(0, around(0.2, 0)), trial(1, around(0.9, 1), "pruned"), trial(2, state="running")])
    assert (found.best.number, found.finished, found.pruned) == (0, 2, 1)


@pytest.mark.parametrize("state", ["pruned", "failed", "running", "waiting"])
def test_without_a_complete_trial_nothing_is_best(state: State) -> None:
    with pytest.raises(Refused, match="none of 1 trials is complete"):
        outcome([trial(0, state=state)])
