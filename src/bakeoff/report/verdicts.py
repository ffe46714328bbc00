"""The verdict per metric, drawn against its margin, and the differences behind it."""

from collections.abc import Sequence

from markupsafe import Markup

from bakeoff.gates.model import Outcome, Verdict
from bakeoff.report import charts, scores
from bakeoff.report.model import Evidence
from bakeoff.report.parts import Cell, Figure, Section, badge, table
from bakeoff.report.words import figure, needed, plain, signed

_ROWS = {"all": "all rows", "neutral": "neutral rows", "anchored": "anchored rows"}
_ORDER = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS, Outcome.SHOWN)
HEAD = ("verdict", "metric", "against what it may be", "candidate", "incumbent", "advantage", "why")


def section(evidence: Evidence) -> Section:
    """What fails first, then what lacks evidence, then what passes; in each the order of the rules."""
    verdicts = sorted(evidence.stored.report.all_verdicts(), key=lambda verdict: _ORDER.index(verdict.outcome))
    return Section(
        anchor="metrics",
        title="What was judged",
        blocks=(
            "Each bar is where the true value lies with the gate's confidence on either side; the dot is the estimate. "
            "The shaded part is what the rule allows, the dotted line is no difference. An advantage is positive "
            "where the candidate is better, whatever the metric's direction.",
            table("verdict per metric", HEAD, [row(evidence, verdict) for verdict in verdicts], numbers=(3, 4, 5)),
        ),
    )


def row(evidence: Evidence, verdict: Verdict) -> tuple[Cell, ...]:
    """One line of the table."""
    return (
        badge(verdict.outcome.value),
        _metric(evidence, verdict),
        charts.interval(verdict),
        figure(verdict.candidate),
        figure(verdict.incumbent),
        "" if verdict.kind == "absolute" else signed(verdict.estimate),
        _why(verdict),
    )


def _metric(evidence: Evidence, verdict: Verdict) -> Cell:
    column = verdict.metric
    if evidence.gate is not None:
        column = next(
            (getattr(rule, "column", verdict.metric) for rule in evidence.gate.rules if rule.metric == verdict.metric),
            verdict.metric,
        )
    known = scores.metrics(evidence.task.metrics).get(column)
    meaning = "" if known is None else f"{known.meaning}; {known.direction} is better, unit: {known.unit}"
    return Markup('<strong>{}</strong><br><small>{}</small><br><small class="quiet">{}</small>').format(
        plain(verdict.metric), meaning, f"{verdict.pairs} pairs of {verdict.units} units, {_ROWS[verdict.rows]}"
    )


def _why(verdict: Verdict) -> Cell:
    extra = [f"rule: {needed(verdict)}"]
    if verdict.noise is not None:
        extra.append(f"two runs of the remote engine differ by up to {figure(verdict.noise)}")
    if verdict.outcome is not Outcome.SHOWN and verdict.detectable is not None and verdict.kind == "non_inferior":
        extra.append(f"these rows would show a change of {figure(verdict.detectable)} four times in five")
    return Markup('{}<br><small class="quiet">{}</small>').format(verdict.reason, "; ".join(extra))


def differences(evidence: Evidence) -> Section:
    """How the advantage is spread over units, for each metric that is compared."""
    compared = [v for v in evidence.stored.report.all_verdicts() if v.kind == "non_inferior"]
    drawn = {verdict.metric: _differences(evidence, verdict) for verdict in compared}
    figures = tuple(made for made in drawn.values() if made is not None)
    unknown = [metric for metric, made in drawn.items() if made is None]
    said: Sequence[str] = ()
    if unknown:
        said = (f"Not drawn, since no row has a value on both sides here: {', '.join(map(plain, unknown))}.",)
    return Section(
        anchor="differences",
        title="Differences, unit by unit",
        blocks=(
            "Candidate minus incumbent on the same held-out requests, averaged per unit and counted. A mean may hide "
            "that many gain a little and a few lose much; here it cannot. The grey bar is about the same, the triangle "
            "the mean, the dashed line the margin.",
            figures,
            *said,
        ),
    )


def _differences(evidence: Evidence, verdict: Verdict) -> Figure | None:
    values = scores.by_unit(scores.advantages(evidence, verdict.metric, scores.judged_on(evidence, verdict)))
    if not values:
        return None
    better, worse = sum(value > 0 for value in values), sum(value < 0 for value in values)
    same = len(values) - better - worse
    return Figure(
        title=plain(verdict.metric),
        drawn=charts.differences(verdict.metric, values, verdict.margin),
        says=f"{better} better, {worse} worse, {same} the same, of {len(values)} units ({_ROWS[verdict.rows]})",
    )
