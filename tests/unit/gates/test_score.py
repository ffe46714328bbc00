"""offline_eval_score: weights, ranges and what is missing."""

import math

import pytest

from bakeoff.errors import UsageError
from bakeoff.gates.columns import pairs_of
from bakeoff.gates.model import SCORE, PairedRow
from bakeoff.gates.score import desirability, offline_eval_score, with_score
from bakeoff.task import Metric

UP = Metric(name="up", unit="", direction="higher", low=0.0, high=1.0, meaning="")
DOWN = Metric(name="down", unit="edits", direction="lower", low=0.0, high=10.0, meaning="")
OPEN = Metric(name="open", unit="s", direction="lower", low=0.0, high=None, meaning="")
METRICS = {metric.name: metric for metric in (UP, DOWN, OPEN)}


def test_every_metric_is_scaled_to_0_1_with_1_the_best() -> None:
    assert desirability(UP, 0.3) == pytest.approx(0.3)
    assert desirability(DOWN, 2.0) == pytest.approx(0.8)
    with pytest.raises(UsageError, match="no lower or upper end"):
        desirability(OPEN, 1.0)


def test_weighted_mean_over_what_has_a_value() -> None:
    weights = {"up": 3.0, "down": 1.0}
    assert offline_eval_score(weights, METRICS, {"up": 0.4, "down": 2.0}) == pytest.approx((1.2 + 0.8) / 4)
    assert offline_eval_score(weights, METRICS, {"up": 0.4, "down": None}) == pytest.approx(0.4)
    assert offline_eval_score(weights, METRICS, {}) is None


Values = dict[str, float | None]


def scores(ours: Values, theirs: Values) -> tuple[float | None, float | None]:
    """Of (candidate, incumbent), with weight 1 for each of up and down."""
    row = PairedRow(example_id="e", unit_id="u", neutral=True, candidate=ours, incumbent=theirs)
    scored = with_score({"up": 1.0, "down": 1.0}, METRICS, pairs_of([row]))
    found = [float(scored.side(side, SCORE)[0]) for side in ("candidate", "incumbent")]
    return tuple(None if math.isnan(value) else value for value in found)  # type: ignore[return-value]


def test_both_sides_are_scored_over_the_same_metrics() -> None:
    assert scores({"up": 0.4, "down": None}, {"up": 0.5, "down": None}) == (0.4, 0.5)
    assert scores({"up": 0.9}, {"up": 0.5, "down": 5.0}) == (None, 0.5)
    assert scores({"up": 0.5, "down": 5.0}, {"up": 0.9}) == (0.5, None)
    assert scores({}, {}) == (None, None)


def test_columns_and_single_answers_are_scored_alike() -> None:
    values: Values = {"up": 0.4, "down": 2.0}
    assert scores(values, values)[0] == offline_eval_score({"up": 1.0, "down": 1.0}, METRICS, values)
