import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.datasets.build import build
from bakeoff.datasets.files import describe, from_table, load, to_table, write
from bakeoff.datasets.model import Draft, Row
from bakeoff.errors import Refused, Unreachable, UsageError
from bakeoff.fingerprint import digest
from bakeoff.task import Episode, TaskBase

Make = Callable[..., Episode]
Window = dict[str, datetime]


@pytest.fixture
def draft(task: TaskBase, episodes: list[Episode], window: Window) -> Draft:
    return build(task, episodes, **window)


def test_a_dataset_is_a_folder_of_three_files_named_after_the_end_of_its_window(draft: Draft, tmp_path: Path) -> None:
    dataset = write(str(tmp_path), draft)
    assert dataset.uri == str(tmp_path / "fruit" / "2025-03-03")
    assert dataset.version == "2025-03-03"
    assert sorted(p.name for p in Path(dataset.uri).iterdir()) == [
        "dataset_summary.md",
        "schema.json",
        "training.parquet",
    ]
    assert [p.name for p in (tmp_path / "fruit").iterdir()] == ["2025-03-03"], "no temporary folder is left"


def test_rows_read_back_as_they_were_built(draft: Draft, tmp_path: Path) -> None:
    dataset = write(str(tmp_path), draft)
    assert load(dataset.uri) == draft.rows
    assert describe(dataset.uri) == dataset
    assert (dataset.digest, dataset.rows, dataset.splits) == (draft.digest, 110, draft.summary["splits"])


def test_columns_are_nested_for_people_and_no_json_column_is_there_when_not_needed(
    draft: Draft, tmp_path: Path
) -> None:
    schema = pq.read_schema(Path(write(str(tmp_path), draft).uri) / "training.parquet")
    assert str(schema.field("request").type.field("wishes").type) == "list<element: string>"
    assert schema.names == [
        "example_id", "unit_id", "occurred_at", "split", "slice", "request_digest",
        "request", "target", "metadata",
    ]  # fmt: skip


def test_only_requests_that_arrow_cannot_say_are_kept_as_json(
    task: TaskBase, episodes: list[Episode], episode: Make, window: Window, tmp_path: Path
) -> None:
    """An int among floats comes back as a float, which is other JSON, so another digest."""
    draft = build(task, [*episodes, episode(500, budget=2)], **window)
    dataset = write(str(tmp_path), draft)
    assert load(dataset.uri) == draft.rows
    kept = pq.read_table(Path(dataset.uri) / "training.parquet").column("request_json").to_pylist()
    assert [text is not None for text in kept].count(True) == 1


def test_the_same_content_is_the_folder_that_is_there(draft: Draft, tmp_path: Path) -> None:
    first = write(str(tmp_path), draft)
    before = {path: path.stat().st_mtime_ns for path in Path(first.uri).iterdir()}
    assert write(str(tmp_path), draft) == first
    assert {path: path.stat().st_mtime_ns for path in Path(first.uri).iterdir()} == before


def test_other_content_with_the_same_date_gets_a_number(
    task: TaskBase, episodes: list[Episode], draft: Draft, window: Window, tmp_path: Path
) -> None:
    first = write(str(tmp_path), draft)
    second = write(str(tmp_path), build(task, episodes[:-30], **window))
    third = write(str(tmp_path), build(task, episodes[:-40], **window))
    assert [d.version for d in (first, second, third)] == ["2025-03-03", "2025-03-03.2", "2025-03-03.3"]
    assert write(str(tmp_path), draft) == first
    assert write(str(tmp_path), build(task, episodes[:-30], **window)) == second


def test_what_a_killed_build_left_is_swept_away(draft: Draft, tmp_path: Path) -> None:
    """A killed build leaves only its hidden folder, which nobody lists and the next build replaces."""
    part = tmp_path / "fruit" / f".2025-03-03-{draft.digest[7:19]}.part"
    part.mkdir(parents=True)
    (part / "rubbish").write_text("half")
    dataset = write(str(tmp_path), draft)
    assert not part.exists()
    assert not (Path(dataset.uri) / "rubbish").exists()


def test_a_changed_file_is_refused(draft: Draft, tmp_path: Path) -> None:
    dataset = write(str(tmp_path), draft)
    row = draft.rows[0]
    forged = replace(row, example=replace(row.example, request={**row.example.request, "budget": 99.0}))
    pq.write_table(to_table([forged, *draft.rows[1:]]), Path(dataset.uri) / "training.parquet")
    with pytest.raises(Refused, match=row.example.example_id):
        load(dataset.uri)


def test_a_folder_that_is_no_dataset_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no dataset"):
        describe(str(tmp_path))
    with pytest.raises(UsageError, match="is no dataset"):
        load(str(tmp_path))


def test_a_root_that_cannot_be_written_is_unreachable(draft: Draft, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unreachable, match="cannot write below"):
        write(str(tmp_path / "file"), draft)


def test_schema_json_names_type_nullability_and_meaning_of_each_field(draft: Draft, tmp_path: Path) -> None:
    schema = json.loads((Path(write(str(tmp_path), draft).uri) / "schema.json").read_text())
    fields = {field["name"]: field for field in schema["fields"]}
    assert (schema["task"], schema["schema_version"]) == ("fruit", "1")
    assert fields["slice"] == {
        "name": "slice",
        "type": "int8",
        "nullable": True,
        "meaning": "sealed part of the test split, 1 to 4; null elsewhere",
    }
    assert fields["request.wishes"]["type"] == "list<string>"
    assert fields["metadata.action_propensity"]["nullable"] is True
    assert fields["metadata.variant_id"]["nullable"] is False
    assert fields["metadata.proposed_by"]["meaning"] != ""


def test_the_summary_states_rows_fields_tasks_targets_and_notes(draft: Draft, tmp_path: Path) -> None:
    text = (Path(write(str(tmp_path), draft).uri) / "dataset_summary.md").read_text()
    assert "**Rows**: 110 of 55 units" in text
    assert "**Fields**: `example_id`, " in text
    assert "**Tasks**: fruit basket (supervised)" in text
    assert "**Targets**: accepted_by, basket" in text
    assert draft.digest in text
    assert "| nothing was accepted | 10 |" in text
    assert f"| train | {draft.summary['splits']['train']} |" in text


def test_bytes_are_equal_in_every_process(draft: Draft, tmp_path: Path) -> None:
    """Under one set of pinned versions: the order of hashing must not reach the file."""
    dataset = write(str(tmp_path / "a"), draft)
    code = (
        "import sys; from bakeoff.datasets.files import load, to_table; import pyarrow.parquet as pq\n"
        "pq.write_table(to_table(load(sys.argv[1])), sys.argv[2], compression='zstd', row_group_size=5000)"
    )
    again = tmp_path / "again.parquet"
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, dataset.uri, str(again)], check=True, env=env)
    assert again.read_bytes() == (Path(dataset.uri) / "training.parquet").read_bytes()


def test_any_file_system_will_do(task: TaskBase, episodes: list[Episode], draft: Draft, window: Window) -> None:
    """As on S3: no folders, no atomic rename, the same three files."""
    root = f"memory://{uuid.uuid4().hex}"
    first = write(root, draft)
    assert load(first.uri) == draft.rows
    assert write(root, draft) == first
    second = write(root, build(task, episodes[:-30], **window))
    assert (first.version, second.version) == ("2025-03-03", "2025-03-03.2")
    assert first.uri.startswith("memory://")
    left = fsspec.filesystem("memory").find(root)
    assert len(left) == 6, "no temporary file is left"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aé"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(st.dictionaries(st.sampled_from("abc"), json_values, max_size=3), min_size=1, max_size=5))
def test_every_request_reads_back_with_its_digest(draft: Draft, requests: list[dict[str, Any]]) -> None:
    """Whatever JSON it is: missing and null keys, mixed kinds, integers of any size."""
    rows = [_with_request(row, request) for row, request in zip(draft.rows, requests, strict=False)]
    back = from_table(to_table(rows), "memory")
    assert [digest(row.example.request) for row in back] == [digest(request) for request in requests]


def _with_request(row: Row, request: dict[str, Any]) -> Row:
    return replace(row, example=replace(row.example, request=request), request_digest=digest(request))
