"""The edit model: worked numbers of the domain report (5.5), recovery of known weights, behaviour on a town."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from bakeoff.errors import UsageError
from bakeoff.task import Example
from planner import edit_model
from planner.edit_model import (
    EditModel,
    calibrate,
    calibration,
    fit,
    logistic,
    predicted_edits,
    slot_probabilities,
)

P = np.array([0.1, 0.2, 0.2, 0.5, 0.7])
EDITED = np.array([0.0, 0.0, 1.0, 1.0, 0.0])
HALVES = np.array([0.0, 0.5, 1.0])


def test_worked_calibration_of_one_plan() -> None:
    found = calibrate(P, EDITED, np.zeros(5, dtype=int), ["u"], base_rate=0.4, edges=HALVES)
    assert found.brier == pytest.approx(0.286, abs=1e-4)
    assert found.log_loss == pytest.approx(0.7670, abs=1e-4)
    assert found.ece == pytest.approx(0.14, abs=1e-4)
    assert found.base_brier == pytest.approx(0.24)  # .4 * .6: the base rate beats these predictions
    assert found.bias == pytest.approx(1.7 - 2.0)


def test_worked_plan_errors() -> None:
    """Expected edits .5, 1.7, 2.2, 3.0 against 0, 2, 1, 3: mean absolute error .5, bias .35."""
    p = np.array([0.5, 0.8, 0.9, 0.7, 0.8, 0.7, 1.0, 1.0, 1.0])
    edited = np.array([0, 1, 1, 0, 1, 0, 1, 1, 1], dtype=float)
    plans = np.array([0, 1, 1, 2, 2, 2, 3, 3, 3])
    found = calibrate(p, edited, plans, ["a", "a", "b", "c"], base_rate=0.5, edges=HALVES)
    assert (found.mae, found.bias) == (pytest.approx(0.5), pytest.approx(0.35))
    # gaps .5 and -.3 of unit a, 1.2 of b, 0 of c: residual sums -.5, .85, -.35, over a mean of 4/3 plans a unit
    z = np.array([-0.5, 0.85, -0.35]) / (4 / 3)
    assert found.bias_se == pytest.approx(np.sqrt(z.var(ddof=1) / 3))
    assert (found.units, found.plans) == (3, 4)


def test_a_single_unit_has_no_standard_error() -> None:
    """None, which JSON can say; infinity it cannot."""
    found = calibrate(P, EDITED, np.zeros(5, dtype=int), ["u"], base_rate=0.4, edges=HALVES)
    assert (found.bias_se, found.mae_se) == (None, None)


def test_newton_finds_the_weights_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 2))
    truth = np.array([-0.5, 1.0, -2.0])
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-(truth[0] + rows @ truth[1:])))).astype(float)
    assert logistic(rows, labels, ridge=1.0) == pytest.approx(truth, abs=0.1)


def test_ridge_keeps_separable_data_finite() -> None:
    weights = logistic(np.array([[-1.0], [1.0]]), np.array([0.0, 1.0]), ridge=1.0)
    assert np.isfinite(weights).all() and 0 < weights[1] < 2


def test_frozen_parameters_survive_json_and_refuse_other_features(town_examples: list[Example]) -> None:
    model = fit(town_examples)
    body = json.loads(json.dumps(model.as_json()))
    assert EditModel.from_json(body) == model == fit(town_examples)
    for other in ({"columns": ["other"]}, {"version": 0}):
        with pytest.raises(UsageError, match="this planner reads version 1"):
            EditModel.from_json(body | other)
    with pytest.raises(UsageError):
        EditModel.from_json({})
    with pytest.raises(UsageError):
        fit([])


def test_predicted_edits_lie_between_none_and_all_and_an_empty_dinner_is_one(town_examples: list[Example]) -> None:
    model = fit(town_examples)
    example = town_examples[0]
    shown = example.target["proposed_plan"]
    full = predicted_edits(model, example.request, shown)
    assert 0.0 < full < 5.0
    assert predicted_edits(model, example.request, {"entries": []}) == 5.0
    ghosts = [{"day": slot["day"], "recipe_id": "ghost", "servings": 1} for slot in example.request["slots"]]
    assert predicted_edits(model, example.request, {"entries": ghosts}) == 5.0
    weightless = replace(model, weights=(0.0,) * len(model.weights), bias=0.0)
    assert predicted_edits(weightless, example.request, shown) == pytest.approx(2.5)


def test_on_its_own_rows_the_model_beats_the_base_rate_without_bias(town_examples: list[Example]) -> None:
    found = calibration(fit(town_examples), town_examples)
    assert found.brier < found.base_brier - 0.01
    assert found.bias == pytest.approx(0.0, abs=0.01)  # an unpenalised intercept makes the totals agree


def test_the_worked_numbers_of_predicted_edits(monkeypatch: pytest.MonkeyPatch, town_examples: list[Example]) -> None:
    """.1 + .2 + .2 + .5 + .7 = 1.7 edits; with the last two dinners left empty 2.5; nothing planned 5; no dinner 0."""
    request, shown = town_examples[0].request, town_examples[0].target["proposed_plan"]["entries"]
    model = fit(town_examples)
    monkeypatch.setattr(edit_model, "slot_probabilities", lambda _model, _request, entries: list(P[: len(entries)]))
    assert predicted_edits(model, request, {"entries": shown}) == pytest.approx(1.7)
    assert predicted_edits(model, request, {"entries": shown[:3]}) == pytest.approx(2.5)
    assert predicted_edits(model, request, {"entries": []}) == 5.0
    assert predicted_edits(model, {**request, "slots": []}, {"entries": []}) == 0.0


def test_better_dishes_left_out_make_an_edit_likelier(town_examples: list[Example]) -> None:
    """The same dishes are shown; what was left out becomes more liked."""
    model = fit(town_examples)
    risen = 0
    for example in town_examples:
        request, entries = copy.deepcopy(dict(example.request)), example.target["proposed_plan"]["entries"]
        before = slot_probabilities(model, request, entries)
        shown = {entry["recipe_id"] for entry in entries}
        for option in request["options"]:
            option["rating"] += 1.0 if option["id"] not in shown else 0.0
        risen += sum(slot_probabilities(model, request, entries)) > sum(before)
    assert risen == len(town_examples)


def test_a_model_that_was_frozen_with_fewer_features_predicts_as_it_did(town_examples: list[Example]) -> None:
    """Datasets keep their fit: what a column means has not changed since."""
    older = EditModel(bias=-1.0, weights=(2.0, -0.5), slots=10, base_rate=0.4, columns=("disliked", "rating"))
    assert EditModel.from_json(json.loads(json.dumps(older.as_json()))) == older
    request, entries = town_examples[0].request, town_examples[0].target["proposed_plan"]["entries"]
    options = {option["id"]: option for option in request["options"]}
    shown = [options[entry["recipe_id"]] for entry in entries]
    z = [-1.0 + 2.0 * bool(option["disliked"]) - 0.5 * (option["rating"] - 3.5) for option in shown]
    assert slot_probabilities(older, request, entries) == pytest.approx([1 / (1 + np.exp(-each)) for each in z])
    assert calibration(older, town_examples).plans == len(town_examples)
