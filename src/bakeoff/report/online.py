"""What the first online stage can and cannot detect, from the log's own history."""

from collections.abc import Sequence

from bakeoff.experiments.history import Past
from bakeoff.experiments.model import MAX_FIRST_BP, ExperimentSpec
from bakeoff.experiments.plan import ExperimentPlan, History, plan
from bakeoff.report.model import Evidence
from bakeoff.report.parts import Block, Section, table
from bakeoff.report.words import figure, plain, share
from bakeoff.task import Metric

WEEKS = (1, 2, 4, 8)


def section(evidence: Evidence) -> Section:
    title = "What the first online stage can detect"
    past = evidence.past
    if past is None or not past.histories:
        said = "The log has no matured need in the weeks before this report, so nothing can be planned from it yet."
        return Section(anchor="online", title=title, blocks=(said,))
    metrics = {metric.name: metric for metric in evidence.task.outcome_metrics}
    rows = [_row(metrics[history.metric], history) for history in past.histories]
    head = ("metric", "mean now", *(f"{weeks} week{'s' if weeks > 1 else ''}" for weeks in WEEKS))
    blocks: tuple[Block, ...] = (
        f"From {past.needs:,} needs of {past.units:,} units between {past.since:%Y-%m-%d} and "
        f"{past.until:%Y-%m-%d}. At 10 % of the units, the most that a first stage may take, with as many units as "
        "control and the intervals that hold at every look (defaults of a test's file):",
        table("smallest change that 10 % would show", head, rows, numbers=range(1, len(head))),
        *_said(metrics, past),
    )
    return Section(anchor="online", title=title, blocks=blocks)


def _row(metric: Metric, history: History) -> Sequence[str]:
    return (plain(metric.name), figure(history.mean), *(_cell(_planned(metric, history, weeks)) for weeks in WEEKS))


def _planned(metric: Metric, history: History, weeks: int) -> ExperimentPlan:
    spec = ExperimentSpec(
        hypothesis="superiority",
        primary=metric.name,
        primary_direction=metric.direction,
        stages=(MAX_FIRST_BP,),
        horizon_weeks=float(weeks),
    )
    return plan(spec, history, weeks=float(weeks))


def _cell(found: ExperimentPlan) -> str:
    reach = found.reaches[0]
    if reach.detectable is None:
        return f"nothing ({reach.units_per_arm} units per arm)"
    relative = "" if reach.relative is None else f", {share(reach.relative)}"
    return f"±{figure(reach.detectable)}{relative} ({reach.units_per_arm} per arm)"


def _said(metrics: dict[str, Metric], past: Past) -> Sequence[str]:
    """The first metric in words: it is what a test is usually decided by."""
    history = past.histories[0]
    found = _planned(metrics[history.metric], history, WEEKS[2])
    reach, name = found.reaches[0], plain(history.metric)
    if reach.detectable is None:
        return (f"In {WEEKS[2]} weeks 10 % can decide nothing: {found.reason}.",)
    return (
        f"So in {WEEKS[2]} weeks at 10 % a change of {name} from {figure(history.mean)} by "
        f"{figure(reach.detectable)} or more would show with probability .8. A smaller one, for better or worse, will "
        "look like nothing: then the ramp widens on the guardrails alone, or ends without a decision.",
    )
