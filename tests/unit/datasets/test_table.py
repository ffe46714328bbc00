import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.datasets import table
from bakeoff.datasets.model import Line, Row, Split
from bakeoff.errors import Refused
from bakeoff.fingerprint import canonical_json, digest

BEGAN = datetime(2025, 1, 1, tzinfo=UTC)


def line(number: int, request: Any, *, target: Any = None, split: Split = Split.TRAIN) -> Line:
    return Line(
        example_id=str(number),
        unit_id=f"u{number}",
        occurred_at=BEGAN,
        split=split,
        slice=1 if split is Split.TEST else None,
        request_digest=digest(request),
        request=canonical_json(request).encode(),
        target=canonical_json(target or {"kept": "x"}).encode(),
        metadata=b'{"origin":"live"}',
    )


def written(folder: Path, *chunks: Iterable[Line]) -> pq.ParquetFile:
    """Each argument is a row group."""
    writer = table.Writer(folder=folder)
    for chunk in chunks:
        writer.write(list(chunk))
    return pq.ParquetFile(writer.close())


def read(file: pq.ParquetFile) -> list[Row]:
    return list(table.read(file, "here"))


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    lines = [line(n, {"day": n, "wishes": ["fig"] * n}) for n in range(5)]
    file = written(tmp_path, lines)
    assert read(file) == [each.row() for each in lines]
    assert "request_json" not in file.schema_arrow.names
    assert [path.name for path in tmp_path.iterdir()] == ["training.parquet"]


def test_only_rows_that_arrow_cannot_say_are_kept_as_json(tmp_path: Path) -> None:
    """A key that is null here, missing there, and a number elsewhere."""
    lines = [line(n, {"day": n, "note": n}) for n in range(8)]
    lines += [line(8, {"day": 8, "note": None}), line(9, {"day": 9})]
    file = written(tmp_path, lines)
    assert read(file) == [each.row() for each in lines]
    kept = file.read(columns=["request_json"])["request_json"].to_pylist()
    assert kept == [None] * 9 + ['{"day":9}']
    assert "target_json" not in file.schema_arrow.names


LATER: list[list[Any]] = [
    [{"day": 1}, {"day": 2}],
    [{"day": 3, "note": "new"}],
    [{"day": 4.5, "note": "new"}],
    [{"day": "five"}],
    [{"day": 6, "note": None}, {"day": 7}],
    [{f"id-{n}": n for n in range(100)}],
]


def test_what_turns_up_late_widens_the_types_of_the_whole_file(tmp_path: Path) -> None:
    chunks = [[line(10 * n + m, value) for m, value in enumerate(part)] for n, part in enumerate(LATER)]
    file = written(tmp_path, *chunks)
    assert read(file) == [each.row() for chunk in chunks for each in chunk]
    assert file.num_row_groups == len(LATER)
    assert [path.name for path in tmp_path.iterdir()] == ["training.parquet"], "no part is left"


def test_the_file_is_the_same_however_the_types_were_found(tmp_path: Path) -> None:
    """A writer that knew all types beforehand writes the same bytes."""
    chunks = [[line(10 * n + m, value) for m, value in enumerate(part)] for n, part in enumerate(LATER)]
    first = table.Writer(folder=_made(tmp_path / "a"))
    for chunk in chunks:
        first.write(chunk)
    surprised = first.close().read_bytes()
    second = table.Writer(folder=_made(tmp_path / "b"), shapes=first.shapes, texts=first.texts)
    for chunk in chunks:
        second.write(chunk)
    assert len(second.parts) == 1
    assert second.close().read_bytes() == surprised


def test_some_splits_only(tmp_path: Path) -> None:
    lines = [line(n, {"day": n}, split=split) for n, split in enumerate([*Split, *Split])]
    file = written(tmp_path, lines[:4], lines[4:])
    found = table.read(file, "here", frozenset({Split.TEST, Split.TRAIN}))
    assert [row.example.example_id for row in found] == ["0", "2", "3", "5"]


def test_a_changed_request_is_refused(tmp_path: Path) -> None:
    good, forged = line(1, {"day": 1}), line(2, {"day": 2})
    forged.request = b'{"day":3}'
    with pytest.raises(Refused, match="the request of row 2 is not the one that was stored"):
        read(written(tmp_path, [good, forged]))


def test_a_chunk_ends_after_so_many_rows_or_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "ROW_GROUP", 3)
    monkeypatch.setattr(table, "ROW_GROUP_BYTES", 200)
    lines = [line(n, {"day": "x" * (300 if n == 4 else 1)}) for n in range(7)]
    assert [len(chunk) for chunk in table.chunks(iter(lines))] == [3, 2, 2]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aé"\n'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)
requests = st.dictionaries(st.sampled_from("abc"), json_values, max_size=3)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(chunks=st.lists(st.lists(requests, min_size=1, max_size=4), min_size=1, max_size=4))
def test_every_request_reads_back_with_its_digest(chunks: list[list[Any]], tmp_path: Path) -> None:
    """Whatever JSON it is, and whenever it turns up: missing and null keys, mixed kinds, integers of any size."""
    made = [[line(10 * n + m, value) for m, value in enumerate(part)] for n, part in enumerate(chunks)]
    back = read(written(tmp_path, *made))
    assert [digest(row.example.request) for row in back] == [digest(request) for part in chunks for request in part]


def test_columns_are_nested_for_people(tmp_path: Path) -> None:
    schema = written(tmp_path, [line(1, {"wishes": ["fig"], "by_day": {"mon": {"n": 1}}})]).schema_arrow
    assert str(schema.field("request").type.field("wishes").type) == "list<element: string not null>"
    assert schema.names == [
        "example_id", "unit_id", "occurred_at", "split", "slice", "request_digest",
        "request", "target", "metadata",
    ]  # fmt: skip
    assert json.dumps(schema.field("occurred_at").type.tz) == '"UTC"'


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
