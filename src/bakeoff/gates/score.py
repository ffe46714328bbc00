"""offline_eval_score: the declared weighted mean of a task's metrics, each scaled to 0..1 with 1 the best."""

from collections.abc import Mapping

from bakeoff.errors import UsageError
from bakeoff.task import Metric

Values = Mapping[str, float | None]


def desirability(metric: Metric, value: float) -> float:
    """`value` scaled to 0..1 over the metric's range, 1 = best. Raises UsageError if the range is open."""
    if metric.low is None or metric.high is None:
        raise UsageError(
            f"metric '{metric.name}' has no lower or upper end, so it cannot be part of offline_eval_score",
            cure=f"remove '{metric.name}' from [weights] of the gate file, or give the metric low and high",
        )
    share = (value - metric.low) / (metric.high - metric.low)
    return share if metric.direction == "higher" else 1 - share


def offline_eval_score(weights: Mapping[str, float], metrics: Mapping[str, Metric], values: Values) -> float | None:
    """Weighted mean over the weighted metrics that have a value; None if none has."""
    parts = [
        (weight, desirability(metrics[name], value))
        for name, weight in sorted(weights.items())
        if (value := values.get(name)) is not None
    ]
    total = sum(weight for weight, _ in parts)
    return sum(weight * part for weight, part in parts) / total if total > 0 else None


def paired_scores(
    weights: Mapping[str, float], metrics: Mapping[str, Metric], candidate: Values, incumbent: Values
) -> tuple[float | None, float | None]:
    """Scores of (candidate, incumbent) over the same metrics: those that both have.

    A side that lacks a metric that the other has gets None: what is missing must not raise a mean."""
    both = {n: w for n, w in weights.items() if candidate.get(n) is not None and incumbent.get(n) is not None}
    lacks_candidate = any(candidate.get(n) is None and incumbent.get(n) is not None for n in weights)
    lacks_incumbent = any(incumbent.get(n) is None and candidate.get(n) is not None for n in weights)
    return (
        None if lacks_candidate else offline_eval_score(both, metrics, candidate),
        None if lacks_incumbent else offline_eval_score(both, metrics, incumbent),
    )
