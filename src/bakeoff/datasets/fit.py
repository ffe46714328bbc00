"""What a task learns from a dataset before it scores anything, for instance how people edit."""

from collections.abc import Mapping
from typing import Any

from bakeoff.datasets import files
from bakeoff.datasets.chosen import Chosen
from bakeoff.datasets.model import Split
from bakeoff.task import Example, Task, TaskBase

SAMPLES: Mapping[Split, int] = {Split.TRAIN: 3_000, Split.VALIDATION: 1_200}
"""Rows that a fit is made from and checked on, at most."""


def frozen(task: Task, chosen: Mapping[Split, Chosen]) -> Mapping[str, Any] | None:
    """What `task` learns from samples of the rows, to be kept with them; None where it learns nothing."""
    if getattr(type(task), "fitted", None) is TaskBase.fitted:
        return None
    return task.fitted(_examples(chosen[Split.TRAIN]), _examples(chosen[Split.VALIDATION])).frozen()


def fitted(task: Task, uri: str) -> Task:
    """`task` as it was frozen with the dataset in `uri`; where nothing was frozen, fitted on its train split."""
    found = files.load_fitted(uri)
    if found is not None:
        return task.thawed(found)
    return task.fitted([row.example for row in files.load(uri, splits=(Split.TRAIN,))])


def _examples(chosen: Chosen) -> list[Example]:
    return [line.row().example for line in chosen.lines()]
