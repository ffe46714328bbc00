"""Small training.parquet files for tests, written with plain pyarrow: their readers must not need the builder."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bakeoff.fingerprint import digest

START = datetime(2025, 1, 6, 8, tzinfo=UTC)
PROVENANCE: dict[str, Any] = {
    "policy_version_id": "v1",
    "served_policy_version_id": "v1",
    "experiment_id": "e",
    "variant_id": "c",
    "assignment_probability": 1.0,
    "action_propensity": None,
    "origin": "live",
    "fell_back": False,
    "proposed_by": "v1",
}
KINDS = {"action_propensity": pa.float64(), "assignment_probability": pa.float64()}


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A row; `metadata` is laid over `PROVENANCE`."""
    plain = {
        "example_id": f"example-{number:06d}",
        "unit_id": f"unit-{number // 2}",
        "occurred_at": START + timedelta(hours=number),
        "split": ("train", "train", "validation", "test")[number // 2 % 4],
        "slice": 1 if number // 2 % 4 == 3 else None,
        "request": {"size": number % 3, "pantry": ["egg"] * (number % 4)},
        "target": {"drink": "tea"},
    }
    made = {**plain, **changes}
    return {
        **made,
        "request_digest": digest(made["request"]),
        "metadata": {**PROVENANCE, **changes.get("metadata", {})},
    }


def write(path: Path, rows: Sequence[Mapping[str, Any]], *, row_group: int = 5_000) -> pq.ParquetFile:
    """The file of these rows, in their order."""
    table = pa.table({name: _column(name, [each[name] for each in rows]) for name in _NAMES})
    pq.write_table(table, path, row_group_size=row_group)
    return pq.ParquetFile(path)


_NAMES = ("example_id", "unit_id", "occurred_at", "split", "slice", "request_digest", "request", "target", "metadata")


def _column(name: str, values: list[Any]) -> pa.Array:
    if name == "slice":
        return pa.array(values, pa.int8())
    if name != "metadata":
        return pa.array(values)
    parts = {key: pa.array([value[key] for value in values], KINDS.get(key)) for key in values[0]}
    return pa.StructArray.from_arrays(list(parts.values()), names=list(parts))
