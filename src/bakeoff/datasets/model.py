"""Split, Row, Line (a row as texts) and Dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from bakeoff.events.canonical import loads
from bakeoff.task import Example

SCHEMA_VERSION = "2"  # of the files; changes when the same rows would be written otherwise
VERSIONS = ("schema_version", "request_version", "prompt_version")  # that a dataset is made by


class Split(StrEnum):
    """What a row may be used for."""

    TRAIN = "train"
    VALIDATION = "validation"  # tuning, early stopping, eval scores of the contract
    TEST = "test"  # the gate, nothing else


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposer:
    """A policy version that may have proposed rows, as a summary speaks of it."""

    name: str  # as people type it: 'planner_policy/3'
    is_trained: bool  # whether we trained its model


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One example with its place in the dataset."""

    example: Example  # metadata holds the task's own fields and those of `build.PROVENANCE`
    split: Split
    slice: int | None  # 1 to 4 in the test split, None elsewhere
    request_digest: str  # of example.request, as the log knows it


@dataclass(kw_only=True, slots=True)
class Line:
    """A `Row` as it is written: its three nested parts are canonical JSON texts, so that nobody has to make them
    again for the digest, the file and the checks."""

    example_id: str
    unit_id: str
    occurred_at: datetime  # UTC
    split: Split
    slice: int | None
    request_digest: str
    request: bytes
    target: bytes
    metadata: bytes

    def logical(self) -> bytes:
        """What makes this row this row: canonical JSON, with the request by its digest."""
        return (
            b'{"example_id":%b,"metadata":%b,"occurred_at":"%b","request_digest":"%b","slice":%b,"split":"%b",'
            b'"target":%b,"unit_id":%b}'
        ) % (
            orjson.dumps(self.example_id),
            self.metadata,
            self.occurred_at.isoformat().encode(),
            self.request_digest.encode(),
            b"null" if self.slice is None else b"%d" % self.slice,
            self.split.value.encode(),
            self.target,
            orjson.dumps(self.unit_id),
        )

    def row(self) -> Row:
        return Row(
            example=Example(
                example_id=self.example_id,
                unit_id=self.unit_id,
                occurred_at=self.occurred_at,
                request=loads(self.request),
                target=loads(self.target),
                metadata=loads(self.metadata),
            ),
            split=self.split,
            slice=self.slice,
            request_digest=self.request_digest,
        )


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
    def rows_digest(self) -> str | None:
        """Of the rows alone: the same rows seen through another window have the same. None for old datasets."""
        return self.summary.get("rows_digest")

    @property
    def version(self) -> str:
        """The folder's name: '2025-01-03', or '2025-01-03.2' for other content with the same last day."""
        return self.uri.rstrip("/").rpartition("/")[2]
