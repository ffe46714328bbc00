"""Every column of the gate for both sides, row by row: the task's metrics, the combined score, latency and cost."""

import math
from collections.abc import Iterable, Mapping, Sequence

from bakeoff.gates.model import SCORE, STANDARD_METRICS, Gate, Verdict
from bakeoff.gates.score import Values, offline_eval_score
from bakeoff.replay.model import ReplayRow
from bakeoff.report.model import Evidence, Pair
from bakeoff.task import Example, Metric


def metrics(declared: Sequence[Metric]) -> dict[str, Metric]:
    """By name; a task may declare its own version of a standard one."""
    return {metric.name: metric for metric in (*STANDARD_METRICS, *declared)}


def pair(
    known: Mapping[str, Metric], gate: Gate | None, example: Example, neutral: bool, ours: ReplayRow, theirs: ReplayRow
) -> Pair:
    """Two answers with their columns. The combined score is there where the rules that weigh it are known."""
    values = _values(ours), _values(theirs)
    if gate is not None and gate.weights:
        scored = [_score(gate.weights, known, own, other) for own, other in (values, values[::-1])]
        values = {**values[0], SCORE: scored[0]}, {**values[1], SCORE: scored[1]}
    return Pair(example=example, neutral=neutral, candidate=ours, incumbent=theirs, values=values)


def advantages(evidence: Evidence, metric: str, pairs: Sequence[Pair]) -> list[tuple[Pair, float]]:
    """Per pair with a value on both sides: how much better the candidate is, whatever the metric's direction."""
    known = metrics(evidence.task.metrics).get(metric)
    sign = -1.0 if known is not None and known.direction == "lower" else 1.0
    found = []
    for pair in pairs:
        ours, theirs = (side.get(metric) for side in pair.values)
        if ours is not None and theirs is not None:
            found.append((pair, sign * (ours - theirs)))
    return found


def by_unit(found: Iterable[tuple[Pair, float]]) -> list[float]:
    """Mean per unit, in order of unit."""
    units: dict[str, list[float]] = {}
    for pair, value in found:
        units.setdefault(pair.example.unit_id, []).append(value)
    return [math.fsum(values) / len(values) for _, values in sorted(units.items())]


def judged_on(evidence: Evidence, verdict: Verdict) -> list[Pair]:
    """The pairs that a verdict's own numbers come from."""
    return [pair for pair in evidence.pairs if verdict.rows == "all" or pair.neutral == (verdict.rows == "neutral")]


def _values(row: ReplayRow) -> dict[str, float | None]:
    return {**row.metrics, "latency_s": row.latency_s, "cost": row.cost}


def _score(weights: Mapping[str, float], known: Mapping[str, Metric], own: Values, other: Values) -> float | None:
    """As the gate computes it: over the metrics that both have, and none where only the other side has one."""
    if any(own.get(name) is None and other.get(name) is not None for name in weights):
        return None
    both = {
        name: weight for name, weight in weights.items() if own.get(name) is not None and other.get(name) is not None
    }
    return offline_eval_score(both, known, own)
