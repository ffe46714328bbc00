"""Pure verbs: what an answer is worth, and what all answers are worth together."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bakeoff.errors import UsageError
from bakeoff.inference.model import PolicyAnswer
from bakeoff.inference.run_policy import UNRECORDED
from bakeoff.replay.model import ReplayRow
from bakeoff.replay.repeats import varying
from bakeoff.task import Example, Task


def replay_row(task: Task, example: Example, answered: PolicyAnswer) -> ReplayRow:
    """Scores the answer as the policy gave it, before any repair. One that could not be read scores as empty; where
    nobody recorded what the application answered, nothing is known: every metric is None.

    Raises UsageError where the task scores with NaN or infinity: missing is None, never a number."""
    metrics: Mapping[str, float | None] = {metric.name: None for metric in task.metrics}
    if not any(violation.rule == UNRECORDED for violation in answered.violations):
        metrics = task.score(example, answered.parsed if answered.parsed is not None else {})
    wrong = sorted(name for name, value in metrics.items() if value is not None and not math.isfinite(value))
    if wrong:
        raise UsageError(
            f"task {task.name} scores example {example.example_id} with a number that is none: {', '.join(wrong)}",
            cure="return None where a metric does not apply",
        )
    return ReplayRow(
        example_id=example.example_id,
        unit_id=example.unit_id,
        raw_answer=answered.raw,
        parsed_answer=answered.parsed,
        answer=answered.answer,
        violations=answered.violations,
        metrics=metrics,
        prompt_tokens=answered.completion.prompt_tokens,
        completion_tokens=answered.completion.completion_tokens,
        latency_s=answered.completion.latency_s,
        cost=answered.cost,
    )


def aggregate(rows: Sequence[ReplayRow]) -> dict[str, float]:
    """Means over rows by metric (None left out), coverage, tokens, cost; latency as p50 and p95 in seconds. With
    repeats also how many, and the share of examples that they do not agree on."""
    names = sorted({name for row in rows for name in row.metrics})
    figures: dict[str, float] = {"rows": float(len(rows))}
    for name in names:
        values = [value for row in rows if (value := row.metrics.get(name)) is not None]
        if values:
            figures[name] = float(np.mean(values))
        figures[f"{name}_coverage"] = len(values) / len(rows)
    figures["tokens"] = float(np.mean([row.prompt_tokens + row.completion_tokens for row in rows]))
    figures["cost"] = float(np.mean([row.cost for row in rows]))
    latencies = [row.latency_s for row in rows]
    figures["latency_p50_s"], figures["latency_p95_s"] = (float(q) for q in np.quantile(latencies, [0.5, 0.95]))
    if repeats := max(row.repeat for row in rows):
        figures |= {"repeats": float(repeats + 1), "varying": varying(rows)}
    return figures
