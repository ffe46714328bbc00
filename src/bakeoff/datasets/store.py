"""Datasets in PostgreSQL. The caller owns the transaction."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection
from psycopg.types.json import Jsonb

from bakeoff.datasets.model import Dataset
from bakeoff.errors import UsageError

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]


def insert(conn: Conn, dataset: Dataset, *, mlflow_run_id: str | None, created_at: datetime) -> Dataset:
    """Records `dataset`; the same content again changes nothing. Returns what is recorded.

    Raises UsageError where its folder is recorded with other content."""
    there = by_uri(conn, dataset.uri)
    if there is not None and there.digest != dataset.digest:
        raise UsageError(
            f"{dataset.uri} is recorded as {there.digest}, not as {dataset.digest}",
            cure="datasets are immutable; build again, which makes another folder",
        )
    queries.insert_dataset(
        conn,
        digest=dataset.digest,
        task=dataset.task,
        uri=dataset.uri,
        since=dataset.since,
        until=dataset.until,
        rows=dataset.rows,
        summary=Jsonb({**dataset.summary, "splits": dict(dataset.splits)}),
        mlflow_run_id=mlflow_run_id,
        created_at=created_at,
    )
    recorded = by_digest(conn, dataset.digest)
    assert recorded is not None
    return recorded


def lock(conn: Conn, task: str) -> None:
    """Waits until nobody else builds a dataset of `task`; nobody else can until the transaction ends."""
    list(queries.lock(conn, task=task))


def by_digest(conn: Conn, digest: str) -> Dataset | None:
    return _dataset(queries.by_digest(conn, digest=digest))


def by_uri(conn: Conn, uri: str) -> Dataset | None:
    """By its folder."""
    return _dataset(queries.by_uri(conn, uri=uri.rstrip("/")))


def latest(conn: Conn, task: str) -> Dataset | None:
    """The dataset of `task` whose window ends last."""
    return _dataset(queries.latest(conn, task=task))


def all_datasets(conn: Conn, task: str | None = None) -> list[Dataset]:
    """Oldest window first."""
    return [_known(row) for row in queries.all_datasets(conn, task=task)]


def mlflow_run_id(conn: Conn, digest: str) -> str | None:
    """The MLflow run that registers the dataset, or None."""
    row = queries.by_digest(conn, digest=digest)
    return None if row is None else row["mlflow_run_id"]


def _dataset(row: Mapping[str, Any] | None) -> Dataset | None:
    return None if row is None else _known(row)


def _known(row: Mapping[str, Any]) -> Dataset:
    return Dataset(
        digest=row["digest"],
        task=row["task"],
        uri=row["uri"],
        since=row["window_since"],
        until=row["window_until"],
        rows=row["rows"],
        splits=row["summary"]["splits"],
        summary=row["summary"],
    )
