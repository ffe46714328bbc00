"""judge: a frozen gate and paired rows in, a report out. Pure, and independent of the order of the rows.

A gate needs evidence to pass. Per metric: FAIL by interval (significant harm, Holm over the metrics); else
INCONCLUSIVE below the minimum of effective units; else PASS by interval (not worse than the margin); else
INCONCLUSIVE. "No significant difference" alone never passes: with few rows nothing is ever significant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bakeoff.errors import UsageError
from bakeoff.fingerprint import digest
from bakeoff.gates.evidence import PairEvidence, own_evidence, pair_evidence, pick
from bakeoff.gates.model import (
    SCORE,
    STANDARD_METRICS,
    Absolute,
    Gate,
    GateReport,
    NonInferior,
    Outcome,
    PairedRow,
    Shown,
    Verdict,
)
from bakeoff.gates.score import paired_scores
from bakeoff.gates.verdict import absolute_verdict, non_inferior_verdict, shown_verdict
from bakeoff.stats.paired import holm
from bakeoff.task import Metric


def judge(
    gate: Gate,
    metrics: Sequence[Metric],
    rows: Sequence[PairedRow],
    *,
    subject: Mapping[str, str] | None = None,
) -> GateReport:
    """Judges the candidate against the incumbent on `rows`.

    `metrics`: what the task declares; offline_eval_score, latency_s and cost are known without. `subject`:
    digests of what is judged, kept in the report. Raises UsageError if a rule names an unknown metric or an
    example appears twice."""
    known = {metric.name: metric for metric in (*STANDARD_METRICS, *metrics)}
    _check(gate, known, rows)
    ordered = [_with_score(gate, known, row) for row in sorted(rows, key=lambda row: row.example_id)]
    paired = _non_inferior(gate, known, ordered)
    own = [
        absolute_verdict(gate, rule, own_evidence(pick(ordered, rule.rows), known[rule.column], rule, gate.alpha))
        for rule in gate.rules
        if isinstance(rule, Absolute)
    ]
    clocked = {rule.metric for rule in gate.rules if isinstance(rule, Absolute) and rule.wall_clock}
    gated = [*paired, *own]
    logical = [verdict for verdict in gated if verdict.metric not in clocked]
    return GateReport(
        gate=gate.name,
        gate_digest=gate.digest,
        subject=dict(subject or {}),
        rows=len(ordered),
        neutral_rows=sum(row.neutral for row in ordered),
        units=len({row.unit_id for row in ordered}),
        rows_digest=_rows_digest(gate, ordered),
        verdict=overall([verdict.outcome for verdict in gated]),
        verdicts=(*logical, *_shown(gate, known, metrics, ordered)),
        wall_clock=tuple(verdict for verdict in own if verdict.metric in clocked),
    )


def overall(outcomes: Sequence[Outcome]) -> Outcome:
    """FAIL if any fails; else INCONCLUSIVE if any is, or if nothing was judged; else PASS."""
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    judged = [outcome for outcome in outcomes if outcome is not Outcome.SHOWN]
    return Outcome.PASS if judged and set(judged) == {Outcome.PASS} else Outcome.INCONCLUSIVE


def _non_inferior(gate: Gate, known: Mapping[str, Metric], rows: Sequence[PairedRow]) -> list[Verdict]:
    rules = [rule for rule in gate.rules if isinstance(rule, NonInferior)]
    found = [pair_evidence(pick(rows, rule.rows), known[rule.metric], gate.alpha) for rule in rules]
    whole = [_is_whole(gate, evidence) for evidence in found]
    fallen = holm([e.comparison.p_harm for e, ok in zip(found, whole, strict=True) if ok], gate.alpha)
    harm = iter(fallen)
    return [
        non_inferior_verdict(gate, rule, known[rule.metric], evidence, harmful=next(harm) if ok else False)
        for rule, evidence, ok in zip(rules, found, whole, strict=True)
    ]


def _is_whole(gate: Gate, evidence: PairEvidence) -> bool:
    return max(evidence.missing_candidate, evidence.missing_incumbent) <= gate.maximum_missing_share


def _shown(
    gate: Gate, known: Mapping[str, Metric], metrics: Sequence[Metric], rows: Sequence[PairedRow]
) -> list[Verdict]:
    """Rules of kind 'shown', then every declared metric that no rule reads."""
    ruled = {rule.column if isinstance(rule, Absolute) else rule.metric for rule in gate.rules}
    rules = [rule for rule in gate.rules if isinstance(rule, Shown)]
    rules += [Shown(metric=metric.name) for metric in metrics if metric.name not in ruled]
    return [shown_verdict(rule, pair_evidence(pick(rows, rule.rows), known[rule.metric], gate.alpha)) for rule in rules]


def _with_score(gate: Gate, known: Mapping[str, Metric], row: PairedRow) -> PairedRow:
    if not gate.weights:
        return row
    ours, theirs = paired_scores(gate.weights, known, row.candidate, row.incumbent)
    return replace(row, candidate={**row.candidate, SCORE: ours}, incumbent={**row.incumbent, SCORE: theirs})


def _rows_digest(gate: Gate, rows: Sequence[PairedRow]) -> str:
    clocked = {"latency_s"} | {r.column for r in gate.rules if isinstance(r, Absolute) and r.wall_clock}

    def logical(values: Mapping[str, float | None]) -> dict[str, float | None]:
        return {name: value for name, value in values.items() if name not in clocked}

    return digest([[r.example_id, r.unit_id, r.neutral, logical(r.candidate), logical(r.incumbent)] for r in rows])


def _check(gate: Gate, known: Mapping[str, Metric], rows: Sequence[PairedRow]) -> None:
    named = {rule.column if isinstance(rule, Absolute) else rule.metric for rule in gate.rules}
    unknown = sorted((named | set(gate.weights)) - set(known))
    if unknown:
        raise UsageError(
            f"gate '{gate.name}' has rules about {', '.join(unknown)}; the task declares {', '.join(sorted(known))}",
            cure="correct the names in the gate file, or declare the metric in the task's `metrics`",
        )
    seen: set[str] = set()
    for row in rows:
        if row.example_id in seen:
            raise UsageError(
                f"example {row.example_id} appears twice among the paired rows; expected one row per example",
                cure="join the replay reports on example_id before judging",
            )
        seen.add(row.example_id)
