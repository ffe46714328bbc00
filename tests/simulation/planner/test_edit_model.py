"""SIMULATION: what a calibration of predicted edits can say, and how far apart the edit model sees two policies."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from bakeoff.task import Example
from planner.edit_model import EditCalibration, EditModel, calibrate, calibration, fit, logistic
from planner.policies import explorer, heuristic
from planner.task import PlannerTask
from planner_town import Policy, live

Floats = NDArray[np.float64]

TRUTH = np.array([-0.7, 1.0, -0.8, 0.5])
ALIKE = 0.2  # share of the dishes about which a household goes by its mood of that time, the same for all of them
EDGES = np.linspace(0.0, 1.0, 11)


def weeks(rng: np.random.Generator, units: int) -> tuple[Floats, Floats]:
    """Features and labels of two plans of five dishes for each of `units` households."""
    rows = rng.normal(size=(units * 10, 3))
    mood = np.repeat(rng.random(units), 10)
    luck = np.where(rng.random(len(mood)) < ALIKE, mood, rng.random(len(mood)))
    return rows, (luck < predicted(TRUTH, rows)).astype(float)


def predicted(weights: Floats, rows: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-(weights[0] + rows @ weights[1:]))))


def checked(weights: Floats, rows: Floats, edited: Floats) -> EditCalibration:
    plans = np.repeat(np.arange(len(rows) // 5), 5)
    units = [str(plan // 2) for plan in range(len(rows) // 5)]
    return calibrate(predicted(weights, rows), edited, plans, units, base_rate=0.4, edges=EDGES)


def spread(found: Sequence[EditCalibration]) -> float:
    """Root mean square of the bias in its standard errors."""
    return float(np.sqrt(np.mean([(each.bias / (each.bias_se or np.nan)) ** 2 for each in found])))


def test_the_standard_error_of_the_bias_is_right_and_a_fitted_model_has_a_bias_of_its_own() -> None:
    """Of the true model bias / bias_se varies by 1. Fitted on as many households as it is checked on, the model's own
    chance comes on top: sqrt(2). So the bias is to be held against a margin, not tested for being zero."""
    rng = np.random.default_rng(3)
    true, fitted = [], []
    for _ in range(300):
        held_out = weeks(rng, 120)
        true.append(checked(TRUTH, *held_out))
        fitted.append(checked(logistic(*weeks(rng, 120), ridge=1.0), *held_out))
    assert spread(true) == pytest.approx(1.0, abs=0.12)
    assert spread(fitted) == pytest.approx(2**0.5, abs=0.17)


POLICIES: dict[str, Policy] = {
    "random": lambda _town, _unit, _week, request: explorer(request, seed=0),
    "heuristic": lambda _town, _unit, _week, request: heuristic(request, seed=0),
}


def town(seed: int) -> tuple[EditModel, dict[str, EditCalibration]]:
    """A model of a log in which one household in three was shown random plans and the others the heuristic's; and
    how it does on each policy's plans when all of the other half of the town is shown them."""
    lived: dict[str, list[Example]] = {}
    for name, policy in POLICIES.items():
        log = live(700, 2, policy, seed=seed)
        lived[name] = [each for each in PlannerTask().examples(log) if isinstance(each, Example)]
    units = sorted({example.unit_id for examples in lived.values() for example in examples})
    train, explored = set(units[::2]), set(units[::6])
    log_of = {True: lived["random"], False: lived["heuristic"]}
    seen = [e for is_explored, log in log_of.items() for e in log if (e.unit_id in explored) == is_explored]
    model = fit([example for example in seen if example.unit_id in train])
    held_out = {name: [e for e in examples if e.unit_id not in train] for name, examples in lived.items()}
    return model, {name: calibration(model, examples) for name, examples in held_out.items()}


@pytest.mark.simulate
def test_two_policies_are_as_far_apart_as_the_model_says() -> None:
    """Random plans cost .65 edits more than the heuristic's. A model that sees the dish alone says .45; one that sees
    what was left out too is right to a tenth, for either policy."""
    biases = [{name: found.bias for name, found in town(seed)[1].items()} for seed in (201, 202, 203, 204)]
    apart = np.mean([each["random"] - each["heuristic"] for each in biases])
    assert abs(apart) < 0.12
    assert all(abs(np.mean([each[name] for each in biases])) < 0.12 for name in POLICIES)
