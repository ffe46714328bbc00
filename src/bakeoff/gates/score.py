"""offline_eval_score: the declared weighted mean of a task's metrics, each scaled to 0..1 with 1 the best."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bakeoff.errors import UsageError
from bakeoff.gates.columns import Floats, Pairs
from bakeoff.gates.model import SCORE
from bakeoff.task import Metric

Values = Mapping[str, float | None]


def desirability(metric: Metric, value: float) -> float:
    """`value` scaled to 0..1 over the metric's range, 1 = best. Raises UsageError if the range is open."""
    low, span = ends(metric)
    share = (value - low) / span
    return share if metric.direction == "higher" else 1 - share


def ends(metric: Metric) -> tuple[float, float]:
    """Lower end and span of the metric's range. Raises UsageError if it is open."""
    if metric.low is None or metric.high is None:
        raise UsageError(
            f"metric '{metric.name}' has no lower or upper end, so it cannot be part of offline_eval_score",
            cure=f"remove '{metric.name}' from [weights] of the gate file, or give the metric low and high",
        )
    return metric.low, metric.high - metric.low


def offline_eval_score(weights: Mapping[str, float], metrics: Mapping[str, Metric], values: Values) -> float | None:
    """Weighted mean over the weighted metrics that have a value; None if none has."""
    parts = [
        (weight, desirability(metrics[name], value))
        for name, weight in sorted(weights.items())
        if (value := values.get(name)) is not None
    ]
    total = sum(weight for weight, _ in parts)
    return sum(weight * part for weight, part in parts) / total if total > 0 else None


def with_score(weights: Mapping[str, float], metrics: Mapping[str, Metric], pairs: Pairs) -> Pairs:
    """`pairs` with both sides' score, row by row over the same metrics: those that both have.

    A side that lacks a metric that the other has gets no score: what is missing must not raise a mean."""
    if not weights:
        return pairs
    n = len(pairs)
    total, ours, theirs = np.zeros(n), np.zeros(n), np.zeros(n)
    lacks_ours, lacks_theirs = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    for name, weight in sorted(weights.items()):
        one, other = (_scaled(metrics[name], pairs.side(side, name)) for side in ("candidate", "incumbent"))
        both = ~np.isnan(one) & ~np.isnan(other)
        total += np.where(both, weight, 0.0)
        ours += np.where(both, weight * one, 0.0)
        theirs += np.where(both, weight * other, 0.0)
        lacks_ours |= np.isnan(one) & ~np.isnan(other)
        lacks_theirs |= ~np.isnan(one) & np.isnan(other)
    with np.errstate(invalid="ignore"):  # rows without any weighted metric: 0 / 0 is no score
        scores = ours / total, theirs / total
    return replace(
        pairs,
        candidate={**pairs.candidate, SCORE: np.where(lacks_ours, np.nan, scores[0])},
        incumbent={**pairs.incumbent, SCORE: np.where(lacks_theirs, np.nan, scores[1])},
    )


def _scaled(metric: Metric, values: Floats) -> Floats:
    low, span = ends(metric)
    share = (values - low) / span
    return share if metric.direction == "higher" else 1 - share
