import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.datasets import table
from bakeoff.datasets.files import describe, load, load_fitted, read_text, some, split_of_example
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


def test_rows_of_some_examples_come_in_the_dataset_s_order(
    publish: Publish, episodes: list[Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever row group they lie in; nothing is opened for none."""
    monkeypatch.setattr(table, "ROW_GROUP", 40)
    dataset = publish(episodes)
    everything = load(dataset.uri)
    wanted = [everything[at].example.example_id for at in (105, 3, 4)]
    assert tuple(some(dataset.uri, [*wanted, "nobody"])) == tuple(everything[at] for at in (3, 4, 105))
    assert list(some("/nowhere", [])) == []
    with pytest.raises(UsageError, match="is no dataset"):
        list(some("/nowhere", wanted))


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
