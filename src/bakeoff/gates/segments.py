"""Is the candidate harmful somewhere? Each segment and metric is screened; Holm's correction over all of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from bakeoff.gates.columns import Pairs
from bakeoff.gates.evidence import PairEvidence, chosen, pair_evidence
from bakeoff.gates.findings import Segment, SegmentMetric
from bakeoff.gates.judge import known_metrics
from bakeoff.gates.model import SCORE, Gate, NonInferior, RowSet, Shown
from bakeoff.gates.score import with_score
from bakeoff.stats.paired import effective_units, holm
from bakeoff.task import Metric

Labels = Mapping[str, Mapping[str, str]]
"""Example id -> what kind of row it is: feature -> value."""
_NOTHING: Mapping[str, str] = {}


def screen(gate: Gate, metrics: Sequence[Metric], pairs: Pairs, labels: Labels) -> tuple[Segment, ...]:
    """Every segment with what was found in it, in order of name. A segment counts for a metric where the rows that
    have both values hold at least ``gate.minimum_segment_units`` effective units; a feature with one value only is
    no segmentation. Significant harm is never excused by a gain elsewhere: that is what a mean over all rows hides."""
    known = known_metrics(metrics)
    pairs = with_score(gate.weights, known, pairs)
    places = _places(pairs, labels)
    found: dict[tuple[str, str], list[tuple[str, PairEvidence]]] = {}
    for key, rows in places.items():
        inside = np.zeros(len(pairs), dtype=np.bool_)
        inside[rows] = True
        evidence = [
            (name, pair_evidence(pairs, inside & chosen(pairs, row_set), known[name], gate.alpha))
            for name, row_set in _screened(gate, metrics)
        ]
        found[key] = [(name, e) for name, e in evidence if e.comparison.effective_units >= gate.minimum_segment_units]
    fallen = iter(holm([e.comparison.p_harm for each in found.values() for _, e in each], gate.alpha))
    return tuple(_segment(pairs, key, rows, [(*each, next(fallen)) for each in found[key]])
                 for key, rows in places.items())  # fmt: skip


def harms(segments: Sequence[Segment], alpha: float) -> list[str]:
    """A sentence for each segment in which the candidate is harmful."""
    return [
        f"worse than the incumbent where {segment.name}: {metric.metric} {metric.estimate:+.3g} on {metric.pairs} rows "
        f"of {metric.units} units (p {metric.p_harm:.2g}, significant at {alpha:g} over all segments and metrics)"
        for segment in segments
        for metric in segment.metrics
        if metric.is_harmed
    ]


def _screened(gate: Gate, metrics: Sequence[Metric]) -> list[tuple[str, RowSet]]:
    """Metrics of the rules that compare quality: not a clock's seconds, and not cost, which has a budget."""
    of_task = {metric.name for metric in metrics} | {SCORE}
    found: dict[str, RowSet] = {}
    for rule in gate.rules:
        name = rule.metric if isinstance(rule, NonInferior | Shown) else rule.column
        if name in of_task and not isinstance(rule, Shown):
            found.setdefault(name, rule.rows)
    return sorted(found.items())


def _places(pairs: Pairs, labels: Labels) -> dict[tuple[str, str], list[int]]:
    """(feature, value) -> numbers of the rows, in any order. Rows that share one mapping are looked at once."""
    kinds: dict[int, tuple[Mapping[str, str], list[int]]] = {}
    for number, example_id in enumerate(pairs.example_ids):
        said = labels.get(example_id, _NOTHING)
        if id(said) not in kinds:
            kinds[id(said)] = said, []
        kinds[id(said)][1].append(number)
    found: dict[tuple[str, str], list[int]] = {}
    for said, rows in kinds.values():
        for label in said.items():
            found.setdefault(label, []).extend(rows)
    values: dict[str, int] = {}
    for feature, _ in found:
        values[feature] = values.get(feature, 0) + 1
    return {key: found[key] for key in sorted(found) if values[key[0]] > 1}


def _segment(
    pairs: Pairs, key: tuple[str, str], rows: Sequence[int], found: Sequence[tuple[str, PairEvidence, bool]]
) -> Segment:
    counts = np.unique(pairs.units[list(rows)], return_counts=True)[1]
    return Segment(
        feature=key[0],
        value=key[1],
        rows=len(rows),
        units=len(counts),
        effective_units=float(f"{effective_units(counts):.12g}"),
        metrics=tuple(_metric(name, evidence, harmed) for name, evidence, harmed in found),
    )


def _metric(name: str, evidence: PairEvidence, harmed: bool) -> SegmentMetric:
    c = evidence.comparison
    return SegmentMetric(
        metric=name,
        estimate=_rounded(c.estimate),
        upper=_rounded(c.upper) if np.isfinite(c.upper) else None,
        p_harm=_rounded(c.p_harm),
        pairs=c.rows,
        units=c.units,
        is_harmed=harmed,
    )


def _rounded(value: float) -> float:
    """12 significant digits, as in verdicts."""
    return float(f"{value:.12g}") + 0.0
