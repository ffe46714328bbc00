"""The demo's ending on one screen, and as one JSON object."""

import textwrap
from typing import Any

from bakeoff.demo.story import Story
from bakeoff.promotion.model import HOLDBACK_BP
from bakeoff.replay.model import ReplayReport

_SHOWN = ("plan_alignment_score", "predicted_edits", "constraint_respect_score", "meal_diversity_score")


def as_json(story: Story) -> dict[str, Any]:
    """What `bakeoff demo --json` prints."""
    return {
        "stages": story.stages,
        "seconds": round(sum(stage["seconds"] for stage in story.stages), 1),
        "dataset": _dataset(story),
        "replay": {name: dict(report.aggregates) for name, report in story.replays.items()},
        "gate": None if story.report is None else story.report.to_json(),
        "experiment": _experiment(story),
        "ending": story.ending,
        "reason": story.reason,
    }


def _dataset(story: Story) -> dict[str, Any] | None:
    found = story.dataset
    if found is None:
        return None
    return {"digest": found.digest, "uri": found.uri, "rows": found.rows, "splits": dict(found.splits)}


def _experiment(story: Story) -> dict[str, Any] | None:
    if story.experiment is None:
        return None
    return {
        "experiment_id": story.experiment.experiment_id,
        "status": story.experiment.status,
        "snapshots": [
            {
                "verdict": s.advice.verdict,
                "reason": s.advice.reason,
                "missing_units": s.advice.missing_units,
                "analysis": s.analysis.to_json(),
            }
            for s in story.snapshots
        ],
    }


def as_text(story: Story) -> str:
    """One screen for people."""
    parts = [
        "",
        "=" * 78,
        f"  {_title(story)}",
        *textwrap.wrap(story.reason, 76, initial_indent="  ", subsequent_indent="  "),
        "=" * 78,
        *_replays(story),
        *_arms(story),
        "",
        *_times(story),
        "",
        *_next(story),
    ]
    return "\n".join(parts)


def _title(story: Story) -> str:
    name = story.version.name if story.version else "the new version"
    titles = {
        "shipped": f"SHIPPED: {name} serves everyone but {HOLDBACK_BP / 100:g} %, who are held back and watched",
        "held": f"HELD: {name} needs more evidence",
        "kept": f"KEPT: the incumbent stays, {name} did not prove better",
        "rolled_back": f"ROLLED BACK: {name} did harm",
        "held_at_gate": f"HELD AT THE GATE: {name} met nobody",
        "not_approved": f"NOT APPROVED: {name} met nobody",
    }
    return titles[story.ending]


def _replays(story: Story) -> list[str]:
    if not story.replays:
        return []
    names = [name for name in _SHOWN if any(name in r.aggregates for r in story.replays.values())]
    names = names or sorted(next(iter(story.replays.values())).aggregates)[:4]
    head = "  " + "replay".ljust(12) + "".join(name.removesuffix("_score").rjust(20) for name in names)
    return ["", head, *(_replay_line(side, report, names) for side, report in story.replays.items())]


def _replay_line(side: str, report: ReplayReport, names: list[str]) -> str:
    cells = (f"{report.aggregates[n]:.3f}" if n in report.aggregates else "-" for n in names)
    return "  " + side.ljust(12) + "".join(cell.rjust(20) for cell in cells)


def _arms(story: Story) -> list[str]:
    if not story.snapshots:
        return []
    analysis = story.snapshots[-1].analysis
    lines = ["", f"  {'experiment':<14}{'treated':>12}{'control':>12}{'advantage':>12}   interval (at every look)"]
    for found in analysis.metrics:
        sides = [f"{arm.value:.3g}" if arm else "-" for arm in (found.treated, found.control)]
        estimate = "-" if found.estimate is None else f"{found.estimate:+.3g}"
        interval = found.reason if found.lower is None else f"[{found.lower:+.3g}, {found.upper:+.3g}]"
        lines.append(f"  {found.metric:<14}{sides[0]:>12}{sides[1]:>12}{estimate:>12}   {interval}")
    matured = analysis.matured
    lines.append(f"  households: {matured['treated']} treated, {matured['control']} control, matured")
    return lines


def _times(story: Story) -> list[str]:
    total = sum(stage["seconds"] for stage in story.stages)
    spent = ", ".join(f"{stage['name']} {stage['seconds']:.0f} s" for stage in story.stages)
    return textwrap.wrap(f"{total / 60:.1f} minutes: {spent}", 76, initial_indent="  ", subsequent_indent="  ")


def _next(story: Story) -> list[str]:
    lines = ["  Look closer:", "    bakeoff status"]
    if story.sample_decision:
        lines.append(f"    bakeoff trace {story.sample_decision}")
    lines.append("    bakeoff ui            (MLflow: runs, curves, models)")
    if story.dataset:
        lines.append(f"    less {story.dataset.uri}/dataset_summary.md")
    return lines
