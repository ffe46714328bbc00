"""What changed between two datasets, on small files."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataset_files as made
from bakeoff.datasets import diff as module
from bakeoff.datasets.diff import Some, diff, diff_fields, diff_rows
from bakeoff.errors import UsageError

ROWS = [made.row(number) for number in range(40)]


def rows(path: Path, before: list[Any], after: list[Any], group: int = 7) -> Any:
    return diff_rows(made.write(path / "a.parquet", before), made.write(path / "b.parquet", after, row_group=group))


def test_the_same_rows_differ_in_nothing(tmp_path: Path) -> None:
    found = rows(tmp_path, ROWS, ROWS)
    assert (found.added, found.gone, found.changed) == (Some(count=0, first=()),) * 3
    assert (found.units_added, found.units_gone) == (0, 0)


def test_rows_and_units_come_and_go(tmp_path: Path) -> None:
    found = rows(tmp_path, ROWS[:30], ROWS[7:])
    assert found.added == Some(count=10, first=tuple(f"example-{n:06d}" for n in range(30, 35)))
    assert found.gone == Some(count=7, first=tuple(f"example-{n:06d}" for n in range(5)))
    assert found.changed == Some(count=0, first=())
    assert (found.units_added, found.units_gone) == (5, 3)  # unit 3 keeps one of its two rows


@given(
    gone=st.sets(st.integers(0, 39)), late=st.sets(st.integers(0, 39)), changed=st.sets(st.integers(0, 39)),
    group=st.integers(1, 50), batch=st.integers(1, 9),
)  # fmt: skip
def test_exactly_the_changed_targets_are_found(
    tmp_path_factory: pytest.TempPathFactory, gone: set[int], late: set[int], changed: set[int], group: int, batch: int
) -> None:
    """Wherever rows are missing on either side and however the files are cut."""
    before = [row for n, row in enumerate(ROWS) if n not in late]
    after = [
        {**row, "target": {"drink": "mate"}} if n in changed else row for n, row in enumerate(ROWS) if n not in gone
    ]
    if not before or not after:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH", batch)
        found = rows(tmp_path_factory.mktemp("diff"), before, after, group)
    expected = [f"example-{n:06d}" for n in sorted(changed - gone - late)]
    assert found.changed == Some(count=len(expected), first=tuple(expected[:5]))


def test_targets_are_compared_as_values_and_not_as_types(tmp_path: Path) -> None:
    """A field that some rows of the later dataset have changes the column's type, and only these rows."""
    later = [{**row, "target": {"drink": "tea", "cups": 2 if n == 3 else None}} for n, row in enumerate(ROWS)]
    now = [{**row, "target": {"drink": "tea", "cups": None}} for row in ROWS]
    assert rows(tmp_path, now, later).changed == Some(count=1, first=("example-000003",))


def test_rows_in_another_order_are_not_compared(tmp_path: Path) -> None:
    assert rows(tmp_path, ROWS, ROWS[::-1]).changed is None


def test_fields_come_go_and_change() -> None:
    def field(name: str, kind: str = "int64", nullable: bool = False) -> dict[str, Any]:
        return {"name": name, "type": kind, "nullable": nullable}

    found = diff_fields(
        [field("a"), field("b"), field("c"), field("d", nullable=True)],
        [field("b", "double"), field("c", nullable=True), field("d"), field("e")],
    )
    assert (found.added, found.gone) == (("e",), ("a",))
    assert found.retyped == ("b: int64 -> double",)
    assert found.nullability == ("c: may be null now", "d: never null now")


def folder(path: Path, rows: list[Any], **about: Any) -> str:
    """A dataset's folder, of which only what a diff reads is there."""
    path.mkdir()
    made.write(path / "training.parquet", rows)
    versions = {"schema_version": "1", "request_version": "1", "prompt_version": "1"}
    dataset = {"since": "2025-01-01", "until": "2025-02-01", "summary": versions | about}
    (path / "schema.json").write_text(json.dumps({"fields": [], "dataset": dataset}))
    return str(path)


def test_two_folders(tmp_path: Path) -> None:
    """Profiles are taken from the files where the summaries have none."""
    moved = [{**row, "metadata": {**row["metadata"], "origin": "backfill"}} for row in ROWS]
    before, after = folder(tmp_path / "a", ROWS), folder(tmp_path / "b", moved[5:], prompt_version="2")
    found = diff(before, after)
    assert found.versions == {"prompt_version": ("1", "2")}
    assert found.windows == (("2025-01-01", "2025-02-01"),) * 2
    assert found.rows.gone.count == 5
    assert [drift.column for drift in found.drift.moved] == ["metadata.origin"]


def test_a_folder_without_a_dataset_is_a_usage_error(tmp_path: Path) -> None:
    here = folder(tmp_path / "a", ROWS)
    with pytest.raises(UsageError, match="is no dataset"):
        diff(here, str(tmp_path / "nowhere"))
    (tmp_path / "a" / "training.parquet").unlink()
    with pytest.raises(UsageError, match=r"training\.parquet is missing"):
        diff(here, here)
