"""What a profile says of each kind of column, and that it says the same of any order and cut of the rows."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

import dataset_files as made
from bakeoff.datasets.profile import MOST_VALUES, profile, quantile, units_by_split


def columns(path: Path, rows: list[dict[str, Any]], **how: int) -> dict[str, Any]:
    found: dict[str, Any] = profile(made.write(path / "training.parquet", rows, **how))["columns"]
    return found


def test_a_few_numbers_are_kept_with_their_counts(tmp_path: Path) -> None:
    found = columns(tmp_path, [made.row(n, request={"size": n % 3, "pantry": []}) for n in range(10)])["request.size"]
    assert found == {
        "kind": "number",
        "rows": 10,
        "nulls": 0,
        "deciles": [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2],
        "values": [[0, 4], [1, 3], [2, 3]],
    }


def test_many_numbers_are_kept_as_percentiles(tmp_path: Path) -> None:
    rows = [made.row(n, request={"size": n / 4, "pantry": []}) for n in range(1000)]
    found = columns(tmp_path, rows)["request.size"]
    assert "values" not in found
    assert found["percentiles"][0] == 0 and found["percentiles"][100] == 249.75
    assert found["percentiles"][50] == 124.75  # the 500th of 1000
    assert found["deciles"] == found["percentiles"][::10]


def test_of_a_list_its_length_is_profiled(tmp_path: Path) -> None:
    rows = [made.row(n, request={"pantry": [{"item": "egg", "tags": ["x"]}] * (n % 3)}) for n in range(6)]
    found = columns(tmp_path, rows)
    assert found["request.pantry[]"]["values"] == [[0, 2], [1, 2], [2, 2]]
    assert not [name for name in found if "item" in name or "tags" in name]


def test_a_list_in_an_object_that_is_null_has_no_length(tmp_path: Path) -> None:
    rows = [made.row(n, request={"last": {"kept": ["a"] * n} if n else None}) for n in range(4)]
    assert columns(tmp_path, rows)["request.last.kept[]"] == {
        "kind": "number", "rows": 4, "nulls": 1, "deciles": [1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3],
        "values": [[1, 1], [2, 1], [3, 1]],
    }  # fmt: skip


def test_scalars_are_profiled_two_names_deep(tmp_path: Path) -> None:
    rows = [made.row(n, request={"a": 1, "b": {"c": "x", "d": {"e": 2}}}) for n in range(3)]
    assert [name for name in columns(tmp_path, rows) if name.startswith("request")] == ["request.a", "request.b.c"]


def test_categories_keep_the_most_frequent_and_break_ties_by_name(tmp_path: Path) -> None:
    rows = [made.row(n, metadata={"region": f"r{n % 60:02d}"}) for n in range(600)]
    found = columns(tmp_path, rows)["metadata.region"]
    assert (found["kind"], found["distinct"], found["rest"]) == ("category", 60, 100)
    assert found["top"] == [[f"r{n:02d}", 10] for n in range(MOST_VALUES)]


def test_booleans_are_categories_and_nulls_are_counted(tmp_path: Path) -> None:
    rows = [made.row(n, metadata={"hard": (True, False, None)[n % 3]}) for n in range(9)]
    found = columns(tmp_path, rows)["metadata.hard"]
    assert found == {
        "kind": "category",
        "rows": 9,
        "nulls": 3,
        "distinct": 2,
        "top": [["false", 3], ["true", 3]],
        "rest": 0,
    }


def test_values_that_hardly_come_twice_are_text(tmp_path: Path) -> None:
    found = columns(tmp_path, [made.row(n, metadata={"note": f"note {n}"}) for n in range(99)])["metadata.note"]
    assert found == {"kind": "text", "rows": 99, "nulls": 0, "distinct": 99}


def test_long_values_are_text(tmp_path: Path) -> None:
    found = columns(tmp_path, [made.row(n, metadata={"note": "x" * 201}) for n in range(9)])["metadata.note"]
    assert found["kind"] == "text"


def test_dates_keep_their_ends_only(tmp_path: Path) -> None:
    rows = [made.row(n, metadata={"week": f"2025-01-{n + 1:02d}", "at": f"2025-01-01T08:{n:02d}Z"}) for n in range(9)]
    found = columns(tmp_path, rows)
    assert found["metadata.week"] == {
        "kind": "date",
        "rows": 9,
        "nulls": 0,
        "first": "2025-01-01",
        "last": "2025-01-09",
    }
    assert found["metadata.at"]["kind"] == "date"


def test_one_value_that_is_no_date_makes_a_category(tmp_path: Path) -> None:
    rows = [made.row(n, metadata={"week": "soon" if n == 8 else "2025-01-01"}) for n in range(9)]
    assert columns(tmp_path, rows)["metadata.week"]["kind"] == "category"


def test_nothing_but_nulls_is_empty(tmp_path: Path) -> None:
    found = columns(tmp_path, [made.row(n) for n in range(9)])["metadata.action_propensity"]
    assert found == {"kind": "empty", "rows": 9, "nulls": 9}


def test_units_are_counted_by_split(tmp_path: Path) -> None:
    file = made.write(tmp_path / "training.parquet", [made.row(n) for n in range(20)], row_group=3)
    assert units_by_split(file) == {"test": 2, "train": 6, "validation": 2}
    assert profile(file)["units"] == 10


def test_a_file_without_rows_has_a_profile(tmp_path: Path) -> None:
    made.write(tmp_path / "full.parquet", [made.row(0)])
    table = pq.read_table(tmp_path / "full.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    found = profile(pq.ParquetFile(tmp_path / "empty.parquet"))
    assert (found["rows"], found["units"]) == (0, 0)
    assert {column["kind"] for column in found["columns"].values()} == {"empty"}


def test_a_quantile_is_a_value_that_is_there() -> None:
    """Of 1, 1, 1, 5: three quarters of the rows do not exceed 1."""
    values, counts = np.array([1.0, 5.0]), np.array([3, 1])
    assert quantile(values, counts, (0, 25, 75, 76, 100)) == [1, 1, 1, 5, 5]


REGIONS = st.sampled_from(["north", "south", "2025-01-01", None])
SIZES = st.one_of(st.none(), st.integers(-3, 60), st.floats(-5, 5, allow_nan=False))


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.tuples(REGIONS, SIZES, st.integers(0, 5)), min_size=1, max_size=80),
    group=st.integers(1, 90),
    seed=st.randoms(use_true_random=False),
)
def test_order_and_row_groups_do_not_matter(values: list[Any], group: int, seed: Any) -> None:
    rows = [
        made.row(
            n,
            request={"size": None if size is None else float(size), "pantry": ["egg"] * length},
            metadata={"region": region},
        )
        for n, (region, size, length) in enumerate(values)
    ]
    shuffled = seed.sample(rows, len(rows))
    with tempfile.TemporaryDirectory() as folder:
        first = made.write(Path(folder) / "a.parquet", rows)
        again = made.write(Path(folder) / "b.parquet", shuffled, row_group=group)
        assert profile(first) == profile(again)


def test_columns_of_other_types_are_left_alone(tmp_path: Path) -> None:
    made.write(tmp_path / "t.parquet", [made.row(0)])
    table = pq.read_table(tmp_path / "t.parquet")
    counts = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
    request = pa.StructArray.from_arrays([counts], names=["counts"])
    pq.write_table(
        table.set_column(table.schema.get_field_index("request"), "request", request), tmp_path / "m.parquet"
    )
    assert not [name for name in profile(pq.ParquetFile(tmp_path / "m.parquet"))["columns"] if "counts" in name]
