"""Several answers to the same question: which policies they say something about, and one row out of many."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from bakeoff.errors import UsageError
from bakeoff.inference.model import PolicySpec
from bakeoff.replay.model import ReplayRow

_WHY = {
    "transformers": "a local model answers greedily, so every repeat would be the same answer",
    "logged": "the application answered once, and that is what the log has",
}


def check_repeats(spec: PolicySpec, repeats: int) -> None:
    """Raises UsageError for fewer than one, and for more than one where they would say nothing."""
    if repeats < 1:
        raise UsageError(f"{repeats} repeats; expected 1 or more")
    if repeats > 1 and spec.engine in _WHY:
        raise UsageError(
            f"{_WHY[spec.engine]}", cure="leave out --repeats; it is for randomised python policies and remote models"
        )


def averaged(rows: Iterable[ReplayRow]) -> list[ReplayRow]:
    """One row per example, in order of example id: what a gate compares.

    Metrics and cost are means over the repeats; a metric that lacks a value in one of them is None, for missing is
    never a number. Violations are those of all repeats. Answer, tokens and latency are the first repeat's: a mean of
    latencies would hide the slow ones."""
    ordered = sorted(rows, key=lambda row: row.key)
    return [_mean(list(same)) for _, same in groupby(ordered, key=lambda row: row.example_id)]


def _mean(rows: Sequence[ReplayRow]) -> ReplayRow:
    if len(rows) == 1:
        return rows[0]
    names = sorted({name for row in rows for name in row.metrics})
    return replace(
        rows[0],
        violations=tuple(violation for row in rows for violation in row.violations),
        metrics={name: _mean_value([row.metrics.get(name) for row in rows]) for name in names},
        cost=float(np.mean([row.cost for row in rows])),
    )


def _mean_value(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def varying(rows: Iterable[ReplayRow]) -> float:
    """Share of the examples whose repeats are not all the same answer, 0 to 1."""
    ordered = sorted(rows, key=lambda row: row.key)
    answers = [{row.answer_digest for row in same} for _, same in groupby(ordered, key=lambda row: row.example_id)]
    return float(np.mean([len(each) > 1 for each in answers])) if answers else 0.0
