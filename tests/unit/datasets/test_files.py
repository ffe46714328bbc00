import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.datasets.files import describe, load, load_fitted, read_text, split_of_example
from bakeoff.datasets.model import Dataset, Split
from bakeoff.errors import UsageError
from bakeoff.task import Episode

Publish = Callable[..., Dataset]


def test_rows_of_some_splits(publish: Publish, episodes: list[Episode]) -> None:
    dataset = publish(episodes)
    everything = load(dataset.uri)
    assert len(everything) == 110
    for splits in ((Split.TEST,), (Split.TRAIN, Split.VALIDATION)):
        assert load(dataset.uri, splits=splits) == tuple(row for row in everything if row.split in splits)


def test_a_folder_that_is_no_dataset_is_a_usage_error(tmp_path: Path) -> None:
    for look in (describe, load, load_fitted, lambda uri: split_of_example(uri, "x")):
        with pytest.raises(UsageError, match="is no dataset"):
            look(str(tmp_path))


def test_a_folder_without_schema_is_no_dataset_yet(publish: Publish, episodes: list[Episode]) -> None:
    dataset = publish(episodes)
    (Path(dataset.uri) / "schema.json").unlink()
    with pytest.raises(UsageError, match=r"schema.json is missing"):
        describe(dataset.uri)


def test_a_schema_that_nobody_can_read_is_a_usage_error(publish: Publish, episodes: list[Episode]) -> None:
    dataset = publish(episodes)
    for text in ("{", "[]", '{"dataset": 1}'):
        (Path(dataset.uri) / "schema.json").write_text(text)
        with pytest.raises(UsageError, match=r"schema.json is unreadable"):
            describe(dataset.uri)


def test_the_split_of_one_row(publish: Publish, episodes: list[Episode]) -> None:
    dataset = publish(episodes)
    row = load(dataset.uri)[3]
    assert split_of_example(dataset.uri, row.example.example_id) == row.split
    assert split_of_example(dataset.uri, "nobody") is None


def test_schema_json_lists_the_other_files_with_their_digests(publish: Publish, episodes: list[Episode]) -> None:
    dataset = publish(episodes)
    found = json.loads(read_text(dataset.uri, "schema.json"))["files"]
    assert sorted(found) == ["dataset_summary.md", "training.parquet"]
    for name, about in found.items():
        assert about["bytes"] == (Path(dataset.uri) / name).stat().st_size
