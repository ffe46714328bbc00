"""judge: a frozen gate and paired rows in, a report out. Pure, and independent of the order of the rows.

A gate needs evidence to pass. Per metric: FAIL by interval (significant harm, Holm over the metrics); else
INCONCLUSIVE below the minimum of effective units; else PASS by interval (not worse than the margin); else
INCONCLUSIVE. "No significant difference" alone never passes: with few rows nothing is ever significant.
"""

from collections.abc import Mapping, Sequence

from bakeoff.errors import UsageError
from bakeoff.gates.columns import Pairs, check_ranges, pairs_of, rows_digest
from bakeoff.gates.evidence import PairEvidence, chosen, own_evidence, pair_evidence
from bakeoff.gates.findings import CalibrationCheck
from bakeoff.gates.model import (
    SCORE,
    STANDARD_METRICS,
    Absolute,
    Gate,
    GateReport,
    PairedRow,
    Shown,
    Verdict,
    overall,
)
from bakeoff.gates.prediction import checked, misplaced
from bakeoff.gates.score import ends, with_score
from bakeoff.gates.verdict import (
    absolute_verdict,
    is_too_few,
    is_whole,
    non_inferior_verdict,
    rests_on,
    shown_verdict,
)
from bakeoff.stats.paired import holm
from bakeoff.task import Calibration, Metric

Known = Mapping[str, Metric]


def judge(
    gate: Gate,
    metrics: Sequence[Metric],
    rows: Sequence[PairedRow] | Pairs,
    *,
    subject: Mapping[str, str] | None = None,
    calibrations: Sequence[Calibration] = (),
    noise: Mapping[str, float] | None = None,
) -> GateReport:
    """Judges the candidate against the incumbent on `rows`.

    `metrics`: what the task declares; offline_eval_score, latency_s and cost are known without. `subject`: digests of
    what is judged, kept in the report. `calibrations`: of the predicted ones. `noise`: metric -> how far its mean may
    move from run to run, where an engine is remote (a metric that is left out may move without limit); None: answers
    are the same in every run. Raises UsageError if a rule names an unknown metric or an example appears twice."""
    pairs = rows if isinstance(rows, Pairs) else pairs_of(rows)
    known = known_metrics(metrics)
    _check(gate, known)
    check_ranges(pairs, known, {metric.name for metric in metrics} | _named(gate) - {SCORE})
    pairs = with_score(gate.weights, known, pairs)
    checks = checked(calibrations, gate.rules, gate.alpha)
    paired = _non_inferior(gate, known, pairs, checks, noise)
    own = [
        absolute_verdict(gate, rule, own_evidence(pairs, chosen(pairs, rule.rows), rule, gate.alpha))
        for rule in gate.absolute()
    ]
    clocked = {rule.metric for rule in gate.absolute() if rule.wall_clock}
    return GateReport(
        gate=gate.name,
        gate_digest=gate.digest,
        subject=dict(subject or {}),
        rows=len(pairs),
        neutral_rows=int(pairs.neutral.sum()),
        units=len(set(pairs.units.tolist())),
        rows_digest=rows_digest(pairs, without=gate.clocked()),
        verdict=overall(verdict.outcome for verdict in (*paired, *own)),
        verdicts=(
            *paired,
            *(verdict for verdict in own if verdict.metric not in clocked),
            *_shown(gate, known, metrics, pairs),
        ),
        wall_clock=tuple(verdict for verdict in own if verdict.metric in clocked),
        anchored=_anchored(gate, known, pairs),
        calibrations=checks,
    )


def known_metrics(metrics: Sequence[Metric]) -> dict[str, Metric]:
    """The task's metrics and the standard ones, by name."""
    return {metric.name: metric for metric in (*STANDARD_METRICS, *metrics)}


def _non_inferior(
    gate: Gate,
    known: Known,
    pairs: Pairs,
    checks: Sequence[CalibrationCheck],
    noise: Mapping[str, float] | None,
) -> list[Verdict]:
    rules = gate.non_inferior()
    found = [pair_evidence(pairs, chosen(pairs, rule.rows), known[rule.metric], gate.alpha) for rule in rules]
    whole = [is_whole(gate, evidence) for evidence in found]
    fallen = iter(holm([e.comparison.p_harm for e, ok in zip(found, whole, strict=True) if ok], gate.alpha))
    harmful = [next(fallen) if ok else False for ok in whole]
    verdicts = [
        non_inferior_verdict(
            gate, rule, known[rule.metric], evidence, harmful=harm, noise=_noise(gate, known, noise, rule.metric)
        )
        for rule, evidence, harm in zip(rules, found, harmful, strict=True)
    ]
    by_metric = {verdict.metric: verdict for verdict in verdicts}
    check_of = {check.metric: check for check in checks}
    return [
        rests_on(rule, verdict, by_metric[rule.fallback], check_of.get(rule.fallback))
        if rule.fallback is not None and is_too_few(gate, evidence) and not harm
        else verdict
        for rule, verdict, evidence, harm in zip(rules, verdicts, found, harmful, strict=True)
    ]


def _noise(gate: Gate, known: Known, noise: Mapping[str, float] | None, name: str) -> float | None:
    """Of one metric; of the score, that of its noisiest part on the scale of 0 to 1, which it cannot exceed."""
    if noise is None:
        return None
    if name != SCORE or name in noise:
        return noise.get(name, float("inf"))
    return max(noise.get(part, float("inf")) / ends(known[part])[1] for part in gate.weights)


def _shown(gate: Gate, known: Known, metrics: Sequence[Metric], pairs: Pairs) -> list[Verdict]:
    """Rules of kind 'shown', then every declared metric that no rule reads."""
    ruled = _named(gate)
    rules = [rule for rule in gate.rules if isinstance(rule, Shown)]
    rules += [Shown(metric=metric.name) for metric in metrics if metric.name not in ruled]
    return [shown_verdict(rule.metric, rule.rows, _evidence(gate, known, pairs, rule)) for rule in rules]


def _evidence(gate: Gate, known: Known, pairs: Pairs, rule: Shown) -> PairEvidence:
    return pair_evidence(pairs, chosen(pairs, rule.rows), known[rule.metric], gate.alpha)


def _anchored(gate: Gate, known: Known, pairs: Pairs) -> tuple[Verdict, ...]:
    """What is judged on neutral rows, over the others: they favour whoever wrote the log, so nothing rests on them."""
    where = chosen(pairs, "anchored")
    names = [rule.metric for rule in gate.rules if rule.rows == "neutral" and not isinstance(rule, Absolute)]
    found = ((name, pair_evidence(pairs, where, known[name], gate.alpha)) for name in names)
    return tuple(shown_verdict(name, "anchored", evidence) for name, evidence in found if evidence.comparison.rows)


def _named(gate: Gate) -> set[str]:
    return {rule.column if isinstance(rule, Absolute) else rule.metric for rule in gate.rules}


def _check(gate: Gate, known: Known) -> None:
    unknown = sorted((_named(gate) | set(gate.weights)) - set(known))
    if unknown:
        raise UsageError(
            f"gate '{gate.name}' has rules about {', '.join(unknown)}; the task declares {', '.join(sorted(known))}",
            cure="correct the names in the gate file, or declare the metric in the task's `metrics`",
        )
    wrong = misplaced(gate.rules)
    if wrong:
        raise UsageError(f"gate '{gate.name}': {wrong}", cure="correct the gate file")
