"""Scores of training runs on the validation rows that they share, for ranking them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bakeoff.errors import UsageError
from bakeoff.gates.load import read_gate
from bakeoff.gates.model import SCORE
from bakeoff.gates.score import offline_eval_score
from bakeoff.task import Metric, Task
from bakeoff.training import compare
from bakeoff.training.compare import Ranked, Scored
from bakeoff.training.evals import EVAL_FILE, EvalRow, read
from bakeoff.training.tracker import RunSummary, Tracker

_PATH = f"report/{EVAL_FILE}"


def rank_runs(tracker: Tracker, task: Task, runs: Sequence[RunSummary], metric: str | None) -> tuple[str, list[Ranked]]:
    """The name of the score, and the runs ranked by it. Raises UsageError for runs without scores of rows."""
    rows = {run.run_id: eval_rows(tracker, run.run_id) for run in runs}
    name, weights = weights_of(task, metric)
    scored = score_rows(rows, weights, {each.name: each for each in task.metrics})
    return name, list(compare.rank(scored, span=1.0))


def has_rows(tracker: Tracker, run: RunSummary) -> bool:
    """Whether anything says how the run did on which row."""
    return _PATH in tracker.read_run(run.run_id).artifacts


def eval_rows(tracker: Tracker, run_id: str) -> list[EvalRow]:
    """What the offline evaluator said about each validation row. Raises UsageError where the run has none."""
    if _PATH not in tracker.read_run(run_id).artifacts:
        raise UsageError(
            f"run {run_id} has no artefact {_PATH}: nothing says how it did on which row",
            cure="`bakeoff train` logs it; other trainers write one JSON object a row: example_id, unit_id, scores",
        )
    with TemporaryDirectory(prefix="bakeoff-") as scratch:
        return read(tracker.download(run_id, Path(scratch), _PATH))


def weights_of(task: Task, metric: str | None) -> tuple[str, Mapping[str, float]]:
    """The score to rank by: `metric`, else offline_eval_score with the weights of the task's gate, else the task's
    first metric. Raises UsageError for a metric that the task does not have."""
    known = [each.name for each in task.metrics]
    if metric is not None:
        if metric not in known:
            raise UsageError(f"task {task.name} has no metric {metric!r}", cure=f"known: {', '.join(known)}")
        return metric, {metric: 1.0}
    weights = read_gate(task.gate_file).weights if task.gate_file is not None else {}
    return (SCORE, weights) if weights else (known[0], {known[0]: 1.0})


def score_rows(
    runs: Mapping[str, Sequence[EvalRow]], weights: Mapping[str, float], metrics: Mapping[str, Metric]
) -> dict[str, list[Scored]]:
    """One score from 0 to 1 (1 = best) for each row that all runs answered, over the metrics that all of them have
    for it. Raises UsageError where the runs share no row."""
    by_id = {run_id: {row.example_id: row for row in rows} for run_id, rows in runs.items()}
    shared = sorted(set.intersection(*(set(rows) for rows in by_id.values())))
    found: dict[str, list[Scored]] = {run_id: [] for run_id in runs}
    for example_id in shared:
        here = {run_id: rows[example_id] for run_id, rows in by_id.items()}
        both = {n: w for n, w in weights.items() if all(row.scores.get(n) is not None for row in here.values())}
        for run_id, row in here.items():
            value = offline_eval_score(both, metrics, row.scores)
            if value is not None:
                found[run_id].append(Scored(example_id=example_id, unit_id=row.unit_id, value=value))
    if not all(found.values()):
        raise UsageError(
            f"the {len(runs)} runs share no validation row with a value of {', '.join(sorted(weights))}",
            cure="compare runs of one dataset",
        )
    return found


def as_rows(ranked: Sequence[Ranked], names: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ranked runs as JSON values, with `names` of each run in front."""
    return [
        {
            "run": each.run_id,
            **names.get(each.run_id, {}),
            "score": round(each.mean, 4),
            "rows": each.rows,
            "to_leader": None if each.to_leader is None else round(each.to_leader.estimate, 4),
            "lower": None if each.to_leader is None else round(each.to_leader.lower, 4),
            "upper": None if each.to_leader is None else round(each.to_leader.upper, 4),
            "standing": each.standing,
        }
        for each in ranked
    ]
