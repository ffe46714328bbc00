"""offline_eval_score: weights, ranges and what is missing."""

import pytest

from bakeoff.errors import UsageError
from bakeoff.gates.score import desirability, offline_eval_score, paired_scores
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


def test_both_sides_are_scored_over_the_same_metrics() -> None:
    weights = {"up": 1.0, "down": 1.0}
    assert paired_scores(weights, METRICS, {"up": 0.4, "down": None}, {"up": 0.5, "down": None}) == (0.4, 0.5)
    assert paired_scores(weights, METRICS, {"up": 0.9}, {"up": 0.5, "down": 5.0}) == (None, 0.5)
    assert paired_scores(weights, METRICS, {}, {}) == (None, None)
