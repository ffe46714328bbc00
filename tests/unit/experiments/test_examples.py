"""The library of specs loads, and asks for what the planner measures."""

from pathlib import Path

import pytest

from bakeoff.experiments.check import check
from bakeoff.experiments.load import read_spec
from bakeoff.experiments.needs import metrics
from planner.task import PlannerTask
from planner.town.world import Town

FILES = sorted((Path(__file__).parents[3] / "examples/experiments").glob("*.toml"))


@pytest.mark.parametrize("path", [*FILES, Town.experiment_file], ids=lambda path: path.stem)
def test_an_example_loads_and_fits_the_planner(path: Path) -> None:
    check(read_spec(path), metrics(PlannerTask()), source=path.name)


def test_there_is_one_for_every_hypothesis() -> None:
    assert {read_spec(path).hypothesis for path in FILES} == {"superiority", "non_inferior", "thresholds"}
