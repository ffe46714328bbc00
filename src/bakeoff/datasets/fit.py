"""What a task learns from a dataset before it scores anything, for instance how people edit."""

from collections.abc import Iterable, Mapping
from typing import Any

from bakeoff.datasets import files, views
from bakeoff.datasets.chosen import Chosen
from bakeoff.datasets.model import Row, Split
from bakeoff.task import Example, Task, TaskBase

SAMPLES: Mapping[Split, int] = {Split.TRAIN: 3_000, Split.VALIDATION: 1_200}
"""Rows that a fit is made from and checked on, at most."""


def frozen(task: Task, chosen: Mapping[Split, Chosen]) -> Mapping[str, Any] | None:
    """What `task` learns from samples of the rows, to be kept with them; None where it learns nothing."""
    if not _learns(task):
        return None
    train, held_out = (_examples(chosen[split].rows()) for split in (Split.TRAIN, Split.VALIDATION))
    return task.fitted(train, held_out).frozen() if train else None


def fitted(task: Task, uri: str) -> Task:
    """`task` as it was frozen with the dataset in `uri`; where nothing was frozen, fitted on its train split."""
    if not _learns(task):
        return task
    found = files.load_fitted(uri)
    if found is not None:
        return task.thawed(found)
    train = _examples(files.load(uri, splits=(Split.TRAIN,)))
    return task.fitted(train) if train else task


def _learns(task: Task) -> bool:
    return getattr(type(task), "fitted", None) is not TaskBase.fitted


def _examples(rows: Iterable[Row]) -> list[Example]:
    return [row.example for row in views.learnable(rows)]
