from dataclasses import replace
from datetime import datetime

import pytest

from bakeoff.datasets.build import build
from bakeoff.datasets.check import check_units
from bakeoff.datasets.model import Split
from bakeoff.errors import Refused
from bakeoff.task import Episode, TaskBase


def test_a_unit_in_two_splits_is_refused(task: TaskBase, episodes: list[Episode], window: dict[str, datetime]) -> None:
    """Rows 0 and 1 are of one unit."""
    rows = list(build(task, episodes, **window).rows)
    rows[0] = replace(rows[0], split=next(split for split in Split if split is not rows[0].split))
    with pytest.raises(Refused, match="units in two splits: unit-0"):
        check_units(rows)
