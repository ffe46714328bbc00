"""Things by the names that people type."""

from datetime import UTC, datetime

import click
import pytest

from bakeoff.cli.lookup import dataset_name, matches, moment
from bakeoff.datasets.model import Dataset

DAY = datetime(2025, 1, 3, tzinfo=UTC)


def dataset(version: str, digest: str) -> Dataset:
    return Dataset(
        digest=f"sha256:{digest}", task="toy", uri=f"/data/toy/{version}", since=DAY, until=DAY, rows=1, splits={},
        summary={},
    )  # fmt: skip


KNOWN = [dataset("2025-01-03", "aaaaaa1"), dataset("2025-01-03.2", "aaaaaa2"), dataset("2025-01-04", "bbbbbbb")]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("2025-01-03", ["2025-01-03"]),
        ("/data/toy/2025-01-04/", ["2025-01-04"]),
        ("sha256:bbbbbb", ["2025-01-04"]),
        ("bbbbbbb", ["2025-01-04"]),
        ("aaaaaa", ["2025-01-03", "2025-01-03.2"]),
        ("bbb", []),
        ("2025-01", []),
    ],
)
def test_a_dataset_goes_by_folder_name_place_or_digest(name: str, found: list[str]) -> None:
    assert [each.version for each in matches(KNOWN, name)] == found


def test_moments_are_utc_unless_they_say_otherwise() -> None:
    assert moment("2025-01-03") == DAY
    assert moment("2025-01-03T02:00+02:00") == DAY
    assert moment("2025-01-03T00:00Z").tzinfo is UTC
    with pytest.raises(click.BadParameter, match="expected for instance 2025-01-03"):
        moment("yesterday")


def test_a_dataset_that_is_not_recorded_goes_by_its_digest() -> None:
    assert dataset_name(KNOWN, "sha256:bbbbbbb") == "2025-01-04"
    assert dataset_name(KNOWN, "sha256:cccccccccccccccc") == "cccccccccccc"
    assert dataset_name(KNOWN, None) is None
