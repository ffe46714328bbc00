"""``bakeoff dataset build`` as people type it, on a real PostgreSQL and MLflow."""

from typing import Any

import pytest

import stages
from bakeoff.lifecycle import Deps

pytestmark = pytest.mark.usefixtures("toy_task")


def test_a_build_says_what_it_made_and_later_that_there_is_nothing_new(
    bakeoff: Any, deps: Deps, clock: stages.Clock
) -> None:
    stages.open_shop(deps)
    stages.live(deps, clock, day=1, shoppers=120)
    clock.turn(days=4)
    first = bakeoff("dataset", "build", "--task", "toy", "--json").json
    assert first["new"] is True
    clock.turn(days=3)
    again = bakeoff("dataset", "build", "--task", "toy")
    assert f"nothing new since {first['version']} (same {first['rows']} rows)" in again.out
    assert bakeoff("dataset", "build", "--task", "toy", "--json").json == first | {"new": False}
    assert len(bakeoff("dataset", "list", "--json").json["datasets"]) == 1
