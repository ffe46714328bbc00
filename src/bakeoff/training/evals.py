"""The offline evaluator on validation rows: one line of scores for each row, kept beside the run."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from bakeoff.datasets.model import Row, Split
from bakeoff.errors import UsageError
from bakeoff.inference.model import Engines, PolicySpec
from bakeoff.inference.run_policy import run_policy
from bakeoff.task import Task

EVAL_FILE = "eval_rows.jsonl"
EVAL_ROWS = 24
"""Validation rows that the offline evaluator answers at the end of a run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalRow:
    """Scores of one answer; missing is None, never 0."""

    example_id: str
    unit_id: str
    scores: Mapping[str, float | None]


def evaluate(
    engines: Engines, task: Task, rows: Iterable[Row], spec: PolicySpec, *, limit: int = EVAL_ROWS
) -> list[EvalRow]:
    """Answers up to `limit` validation rows with `spec` and scores them; an answer that could not be read scores as
    empty."""
    engine = engines.open(spec)
    found = []
    for row in islice((row for row in rows if row.split is Split.VALIDATION), limit):
        answered = run_policy(task, spec, row.example.request, engine=engine)
        scores = task.score(row.example, answered.parsed or {})
        found.append(EvalRow(example_id=row.example.example_id, unit_id=row.example.unit_id, scores=dict(scores)))
    return found


def means(rows: Sequence[EvalRow]) -> dict[str, float]:
    """Mean of each metric over the rows that have it."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.scores.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    return {name: float(np.mean(found)) for name, found in values.items()}


def write(path: Path, rows: Iterable[EvalRow]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(asdict(row), sort_keys=True) + "\n" for row in rows), encoding="utf-8")


def read(path: Path) -> list[EvalRow]:
    """The inverse of `write`; also of a file that another trainer wrote. Raises UsageError that names the line."""
    return list(_read(path))


def _read(path: Path) -> Iterator[EvalRow]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            body = json.loads(line)
            scores = {str(name): _score(value) for name, value in body["scores"].items()}
            row = EvalRow(example_id=str(body["example_id"]), unit_id=str(body["unit_id"]), scores=scores)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"line {number} of {path.name} is no row of scores: {error!r}",
                cure='expected {"example_id": "...", "unit_id": "...", "scores": {"metric": 0.5}}',
            ) from error
        yield row


def _score(value: object) -> float | None:
    if value is None:
        return None
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError(f"{value} is no score; missing is null")
    return number
