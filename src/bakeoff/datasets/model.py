"""Split, Row, Draft (checked, not yet written) and Dataset (written)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from bakeoff.task import Example

SCHEMA_VERSION = "1"  # of the files; changes when the same rows would be written otherwise


class Split(StrEnum):
    """What a row may be used for."""

    TRAIN = "train"
    VALIDATION = "validation"  # tuning, early stopping, eval scores of the contract
    TEST = "test"  # the gate, nothing else


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One example with its place in the dataset."""

    example: Example  # metadata holds the task's own fields and those of `build.PROVENANCE`
    split: Split
    slice: int | None  # 1 to 4 in the test split, None elsewhere
    request_digest: str  # of example.request, as the log knows it

    def logical(self) -> dict[str, Any]:
        """What makes this row this row: JSON values, with the request by its digest."""
        return {
            "example_id": self.example.example_id,
            "unit_id": self.example.unit_id,
            "occurred_at": self.example.occurred_at,
            "split": self.split.value,
            "slice": self.slice,
            "request_digest": self.request_digest,
            "target": self.example.target,
            "metadata": self.example.metadata,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """Rows that passed every check, ready to be written."""

    digest: str  # of the logical content
    task: str
    since: datetime  # UTC, inclusive
    until: datetime  # UTC, exclusive
    rows: tuple[Row, ...]  # by time, then example id
    summary: Mapping[str, Any]  # see `build.summarise`

    @property
    def date(self) -> str:
        """The end of the window, which names the folder."""
        return self.until.date().isoformat()


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """An immutable folder with training.parquet, schema.json and dataset_summary.md."""

    digest: str  # of the logical content
    task: str
    uri: str  # of the folder: a path, or any URI that fsspec opens
    since: datetime  # UTC, inclusive
    until: datetime  # UTC, exclusive
    rows: int
    splits: Mapping[str, int]  # rows by split
    summary: Mapping[str, Any]  # counts, versions, notes: what dataset_summary.md says

    @property
    def version(self) -> str:
        """The folder's name: '2025-01-03', or '2025-01-03.2' for other content with the same last day."""
        return self.uri.rstrip("/").rpartition("/")[2]
