"""Where it comes from and what it costs: training, dataset, spending, anchored rows, attempts, lineage."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bakeoff.gates import slices
from bakeoff.replay.model import ReplayRow
from bakeoff.report import charts, verdicts
from bakeoff.report.model import Evidence, Pair, Side
from bakeoff.report.parts import Block, Figure, Section, table
from bakeoff.report.words import figure, plain

_LOSSES = ("training_loss", "validation_loss")
_PARAMS = (
    "recipe", "learning_rate", "epochs", "batch_size", "seed", "model_architecture", "rows", "steps", "tokens",
    "trainable_parameters", "dataset_version",
)  # fmt: skip


def training(evidence: Evidence) -> Section:
    run = evidence.training
    if run is None:
        return Section(anchor="training", title="Training", blocks=(evidence.why_no_training,))
    curves = {name: run.curves[name] for name in _LOSSES if run.curves.get(name)}
    drawn = charts.curve(curves)
    blocks: list[Block] = []
    if drawn:
        says = "; ".join(f"{plain(name)} ends at {figure(points[-1][1])}" for name, points in curves.items())
        blocks.append(Figure(title="Loss by step", drawn=drawn, says=f"{says}. Run {run.run_id}."))
    else:
        blocks.append(f"Run {run.run_id} has no curve of losses.")
    shown = [(plain(name), run.params[name]) for name in _PARAMS if name in run.params]
    blocks.append(table("parameters of the run", ("parameter", "value"), shown))
    return Section(anchor="training", title="Training", blocks=tuple(blocks))


def dataset(evidence: Evidence) -> Section:
    found = evidence.dataset
    rows = [
        ("version", found.version),
        ("window", f"{found.since:%Y-%m-%d} to {found.until:%Y-%m-%d} (UTC)"),
        ("rows", f"{found.rows:,}"),
        *((f"rows for {name}", f"{count:,}") for name, count in sorted(found.splits.items())),
        *_counts(found.summary),
        ("digest", found.digest),
    ]
    judged = evidence.stored.report
    shown = len(evidence.pairs)
    missing = "" if shown == judged.rows else f" This page shows {shown} of them; the others are no longer there."
    said = (
        f"Judged on {judged.rows} of its held-out rows, of {judged.units} units; {judged.neutral_rows} rows are "
        f"neutral: people started from a proposal of neither version, or from none.{missing}"
    )
    return Section(anchor="dataset", title="Dataset", blocks=(said, table("the dataset", ("what", "value"), rows)))


def _counts(summary: Any) -> list[tuple[str, str]]:
    """What a summary says in single numbers and words."""
    left_out = ("digest", "rows_digest", "splits", "rows")
    return [
        (plain(name), f"{value:,}" if isinstance(value, int) else str(value))
        for name, value in sorted(summary.items())
        if name not in left_out and isinstance(value, int | float | str) and len(str(value)) < 80
    ]


def spending(evidence: Evidence) -> Section:
    sides = [(evidence.candidate, [p.candidate for p in evidence.pairs])]
    sides.append((evidence.incumbent, [p.incumbent for p in evidence.pairs]))
    names = ("candidate", "incumbent")
    columns = [_spent(side, rows) for side, rows in sides]
    rows = [(what, *(column[what] for column in columns)) for what in columns[0]]
    said = (
        "Cost is tokens times the declared price, so it is the same wherever it is computed. Latency was measured "
        "where the replay ran, one answer at a time; online it is watched as a budget."
    )
    return Section(
        anchor="cost",
        title="Tokens, latency and cost",
        blocks=(said, table("per answer", ("per answer", *names), rows, numbers=(1, 2))),
    )


def _spent(side: Side, rows: Sequence[ReplayRow]) -> dict[str, str]:
    spec = side.version.spec
    latency = [row.latency_s for row in rows]
    cost = [row.cost for row in rows]
    return {
        "engine": f"{spec.engine}{f', {spec.dtype}' if spec.dtype else ''}",
        "prompt tokens, mean": figure(_mean([row.prompt_tokens for row in rows])),
        "completion tokens, mean": figure(_mean([row.completion_tokens for row in rows])),
        "seconds, median": figure(_quantile(latency, 0.5)),
        "seconds, 95th percentile": figure(_quantile(latency, 0.95)),
        f"cost, mean ({spec.price.currency})": figure(_mean(cost)),
        f"cost of 1,000 answers ({spec.price.currency})": figure(1000 * _mean(cost)),
    }


def apart(evidence: Evidence) -> Section:
    """Anchored rows beside neutral ones."""
    neutral = [pair for pair in evidence.pairs if pair.neutral]
    anchored = [pair for pair in evidence.pairs if not pair.neutral]
    rows = []
    for metric in evidence.task.metrics:
        cells = [plain(metric.name)]
        for pairs in (neutral, anchored):
            cells += [figure(value) for value in _means(metric.name, pairs)]
        rows.append(cells)
    head = ("metric", "candidate, neutral", "incumbent, neutral", "candidate, anchored", "incumbent, anchored")
    blocks: list[Block] = [
        _anchored(len(anchored), len(evidence.pairs)),
        table("neutral and anchored rows", head, rows, numbers=(1, 2, 3, 4)),
    ]
    judged = [verdicts.row(evidence, verdict) for verdict in evidence.stored.report.anchored]
    if judged:
        blocks.append(table("anchored rows, shown and never gated", verdicts.HEAD, judged, numbers=(3, 4, 5)))
    return Section(anchor="anchored", title="Anchored rows, apart", blocks=tuple(blocks))


def _anchored(some: int, of: int) -> str:
    if not some:
        return "Every row is neutral: people started from a proposal of neither version, or from none."
    return (
        f"On {some} of {of} rows people started from a proposal of one of the two versions and edited it. What they "
        "kept then resembles that proposal, so the version that wrote it looks better than it is. Such rows are shown "
        "here and never decide about alignment."
    )


def _means(metric: str, pairs: Sequence[Pair]) -> list[float | None]:
    sides: tuple[list[float], list[float]] = ([], [])
    for pair in pairs:
        ours, theirs = (side.get(metric) for side in pair.values)
        if ours is not None and theirs is not None:
            sides[0].append(ours)
            sides[1].append(theirs)
    return [_mean(values) if values else None for values in sides]


def attempts(evidence: Evidence) -> Section:
    attempt, alpha = evidence.stored.attempt, 0.05 if evidence.gate is None else evidence.gate.alpha
    read = slices.read_by(evidence.stored.report.subject)
    where = "these held-out rows" if read is None else f"{read} of the test split"
    used = slices.warning(attempt, alpha)
    said = "Nothing was chosen by looking at them before." if used is None else f"{used[0].upper()}{used[1:]}."
    return Section(
        anchor="attempts",
        title="Attempts on these rows",
        blocks=(f"This is report {attempt} on {where}. {said}",),
    )


def lineage(evidence: Evidence) -> Section:
    stored, run = evidence.stored, evidence.training
    subject = stored.report.subject
    version, other = evidence.candidate.version, evidence.incumbent.version
    model = f"models:/{version.mlflow_model_name}/{version.mlflow_model_version}" if version.mlflow_model_name else "–"
    adapter = version.spec.model.adapter_digest if version.spec.model else None
    rows = [
        ("candidate", f"{version.name}, {version.what or version.spec.engine}"),
        ("its policy spec", version.fingerprint),
        ("its registered model", model),
        ("its adapter", adapter or "–"),
        ("its training run", version.mlflow_run_id or "–"),
        ("code that trained it", "–" if run is None else run.tags.get("git_commit", "unknown")),
        ("incumbent", f"{other.name}, {other.what or other.spec.engine}"),
        ("its policy spec", other.fingerprint),
        ("dataset", evidence.dataset.digest),
        ("rules", f"{stored.report.gate}, {stored.report.gate_digest}{_in_force(evidence)}"),
        ("replay of the candidate", _replay(evidence.candidate, subject.get("candidate_replay"))),
        ("replay of the incumbent", _replay(evidence.incumbent, subject.get("incumbent_replay"))),
        ("rows as judged", stored.report.rows_digest),
        ("code that wrote this page", evidence.provenance.get("git_commit", "unknown")),
        ("report", stored.report.digest),
    ]
    sides = (("candidate", evidence.candidate), ("incumbent", evidence.incumbent))
    engines = [(name, _engine(side)) for name, side in sides]
    blocks: tuple[Block, ...] = (
        "All of this is known by content: the same digest is the same thing. To follow it both ways: "
        f"bakeoff trace {version.name}",
        table("where it comes from", ("what", "which"), rows),
        table("engines of the replays", ("side", "engine, libraries, numbers"), engines),
    )
    return Section(anchor="lineage", title="Lineage", blocks=blocks)


def _in_force(evidence: Evidence) -> str:
    return "" if evidence.gate is not None else " (not the rules that are in force now)"


def _replay(side: Side, digest: str | None) -> str:
    again = side.replay.certificate
    intact = "" if side.is_intact else "; THE STORED ROWS ARE NOT THOSE THAT WERE JUDGED"
    return f"{digest}; {again.equal} of {again.rows} answers were the same when asked again{intact}"


def _engine(side: Side) -> str:
    return (
        ", ".join(f"{plain(name)} {value}" for name, value in sorted(side.replay.engine.items())) or "none: a function"
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _quantile(values: Sequence[float], level: float) -> float | None:
    return float(np.quantile(values, level, method="inverted_cdf")) if values else None
