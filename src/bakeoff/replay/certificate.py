"""A sample answered a second time: equal answers of a local engine, the noise of a remote one."""

from collections.abc import Sequence

from bakeoff.inference.model import PolicySpec
from bakeoff.replay.model import Certificate, ReplayRow
from bakeoff.stats.paired import compare_pairs
from bakeoff.task import Metric

EXACT_ROWS, NOISE_ROWS = 16, 40
_ALPHA = 0.025  # on each side


def sample_size(spec: PolicySpec, asked: int | None) -> int:
    """Rows to answer again: what was asked for, else 16 of an engine that must give the same answer to the same
    question, byte for byte, and 40 of a remote one, whose noise has to be measured."""
    if asked is not None:
        return asked
    return NOISE_ROWS if spec.is_remote else EXACT_ROWS


def certify(
    spec: PolicySpec, first: Sequence[ReplayRow], second: Sequence[ReplayRow], metrics: Sequence[Metric]
) -> Certificate:
    """Compares two answers to each question of a sample; `first` and `second` are in the same order."""
    equal = sum(one.answer_digest == other.answer_digest for one, other in zip(first, second, strict=True))
    if not spec.is_remote:
        return Certificate(rows=len(first), equal=equal)
    return Certificate(rows=len(first), equal=equal, kind="noise", noise=_noise(first, second, metrics))


def _noise(first: Sequence[ReplayRow], second: Sequence[ReplayRow], metrics: Sequence[Metric]) -> dict[str, float]:
    bounds = {metric.name: _bound(first, second, metric) for metric in metrics}
    return {name: bound for name, bound in bounds.items() if bound != float("inf")}


def _bound(first: Sequence[ReplayRow], second: Sequence[ReplayRow], metric: Metric) -> float:
    """95 % bound of the mean difference without sign, clustered by unit (`stats.paired`), at most the metric's range;
    inf where so few rows leave everything open and the range has no end."""
    moved, units = [], []
    for one, other in zip(first, second, strict=True):
        before, after = one.metrics.get(metric.name), other.metrics.get(metric.name)
        if before is not None and after is not None:
            moved.append(after - before)
            units.append(one.unit_id)
    span = None if metric.low is None or metric.high is None else metric.high - metric.low
    found = compare_pairs(moved, units, alpha=_ALPHA, span=span)
    bound = max(abs(found.lower), abs(found.upper))
    return bound if span is None else min(bound, span)
