"""Tuned hyperparameters in PostgreSQL, append-only: the newest of a task, base and recipe counts. The caller owns the
transaction."""

import uuid
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection
from psycopg.types.json import Jsonb

from bakeoff.training.tuning.model import Tuned

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]
_RENAMED = {"rows": "train_rows", "distinct": "is_distinct"}  # words of SQL


def insert(conn: Conn, tuned: Tuned) -> None:
    """The state of one study after the same number of trials is kept once, whoever of its workers writes it."""
    values = {_RENAMED.get(name, name): value for name, value in asdict(tuned).items()}
    ident = uuid.uuid5(uuid.NAMESPACE_URL, f"bakeoff/tuned/{tuned.study}/{tuned.trials}/{tuned.best_trial}")
    queries.insert_tuned(
        conn, **values | {"tuned_id": ident, "rows_bucket": tuned.rows_bucket, "params": Jsonb(dict(tuned.params))}
    )


def tuned_spec(conn: Conn, task: str, base_digest: str, recipe: str) -> Tuned | None:
    """The newest hyperparameters for this task, base and recipe. Whether they still hold: `stale.staleness`."""
    row = queries.newest(conn, task=task, base_digest=base_digest, recipe=recipe)
    return None if row is None else _tuned(row)


def known(conn: Conn, task: str) -> list[Tuned]:
    """The newest of each base and recipe."""
    return [_tuned(row) for row in queries.newest_of_each(conn, task=task)]


def _tuned(row: dict[str, Any]) -> Tuned:
    values = {field.name: row[_RENAMED.get(field.name, field.name)] for field in fields(Tuned)}
    assert isinstance(values["created_at"], datetime)
    return Tuned(**values)
