"""What a dataset says about itself, as people ask for it: build, list, show, diff, on a real PostgreSQL and MLflow."""

from typing import Any

import pytest

import stages
from bakeoff.lifecycle import Deps

pytestmark = pytest.mark.usefixtures("toy_task")


@pytest.fixture
def two_datasets(bakeoff: Any, deps: Deps, clock: stages.Clock) -> list[str]:
    """A day of 120 shoppers, then a second one of other shoppers; the second dataset holds both."""
    stages.open_shop(deps)
    versions = []
    for day, shoppers in ((1, 120), (5, 160)):
        stages.live(deps, clock, day=day, shoppers=shoppers)
        clock.turn(days=4)
        versions.append(bakeoff("dataset", "build", "--task", "toy", "--json").json["version"])
    return versions


def test_two_datasets_are_compared_in_words_and_as_json(bakeoff: Any, two_datasets: list[str]) -> None:
    first, second = two_datasets
    counts = {each["version"]: each["rows"] for each in bakeoff("dataset", "list", "--json").json["datasets"]}
    found = bakeoff("dataset", "diff", first, second, "--task", "toy", "--json").json
    assert found["rows"]["added"]["count"] == counts[second] - counts[first] > 0
    assert (found["rows"]["gone"]["count"], found["rows"]["changed"]["count"]) == (0, 0)
    assert found["rows"]["units_added"] > 0
    assert found["fields"] == {"added": [], "gone": [], "retyped": [], "nullability": []}
    assert "request.likes" in {drift["column"] for drift in found["drift"]["drifts"]}

    said = bakeoff("dataset", "diff", first, "--task", "toy").out  # with the newest
    assert f"dataset {first} ({counts[first]} rows) -> {second} ({counts[second]} rows) of toy" in said
    assert "rows gone: 0\n" in said
    assert "drift: Of " in said

    same = bakeoff("dataset", "diff", second, second, "--task", "toy", "--json").json
    assert same["rows"]["added"]["count"] == 0
    assert all(drift["psi"] == 0 for drift in same["drift"]["drifts"])


def test_the_newest_summary_tells_what_changed_since_the_one_before(bakeoff: Any, two_datasets: list[str]) -> None:
    shown = bakeoff("dataset", "show", "--task", "toy").out
    assert f"# Dataset toy / {two_datasets[1]}" in shown
    assert f"## What changed since {two_datasets[0]}" in shown
    for title in ("## Neutral rows", "## Who is in it", "checks passed: "):
        assert title in shown
    body = bakeoff("dataset", "show", two_datasets[0], "--task", "toy", "--json").json
    assert body["summary"]["units"] == sum(body["summary"]["units_by_split"].values())
    assert body["summary"]["neutral"]["unaided"] == body["rows"]


def test_a_dataset_that_is_not_there_is_a_usage_error(bakeoff: Any, two_datasets: list[str]) -> None:
    said = bakeoff("dataset", "diff", "2001-01-01", two_datasets[0], "--task", "toy", code=2)
    assert two_datasets[0] in said.err
