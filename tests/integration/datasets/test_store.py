from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from bakeoff.adapters.postgres import Connection
from bakeoff.datasets import store
from bakeoff.datasets.model import Dataset
from bakeoff.errors import UsageError

NOW = datetime(2025, 3, 3, 8, tzinfo=UTC)
FIRST = Dataset(
    digest="sha256:" + "1" * 64,
    task="toy",
    uri="/data/toy/2025-03-03",
    since=datetime(2025, 1, 1, tzinfo=UTC),
    until=datetime(2025, 3, 3, tzinfo=UTC),
    rows=10,
    splits={"train": 6, "validation": 2, "test": 2},
    summary={"title": "toy", "splits": {"train": 6, "validation": 2, "test": 2}, "excluded": {}},
)
SECOND = replace(FIRST, digest="sha256:" + "2" * 64, uri="/data/toy/2025-03-10", until=FIRST.until + timedelta(days=7))


def test_a_dataset_comes_back_by_digest_and_by_folder(conn: Connection) -> None:
    assert store.insert(conn, FIRST, mlflow_run_id="run", created_at=NOW) == FIRST
    assert store.by_digest(conn, FIRST.digest) == FIRST
    assert store.by_uri(conn, FIRST.uri + "/") == FIRST
    assert store.mlflow_run_id(conn, FIRST.digest) == "run"
    assert store.by_digest(conn, SECOND.digest) is None
    assert store.by_uri(conn, SECOND.uri) is None
    assert store.mlflow_run_id(conn, SECOND.digest) is None


def test_the_same_content_again_changes_nothing(conn: Connection) -> None:
    store.insert(conn, FIRST, mlflow_run_id="run", created_at=NOW)
    moved = replace(FIRST, uri="/elsewhere/toy/2025-03-03")
    assert store.insert(conn, moved, mlflow_run_id="other", created_at=NOW + timedelta(1)) == FIRST
    assert store.mlflow_run_id(conn, FIRST.digest) == "run"


def test_one_folder_never_holds_two_contents(conn: Connection) -> None:
    store.insert(conn, FIRST, mlflow_run_id=None, created_at=NOW)
    with pytest.raises(UsageError, match="datasets are immutable"):
        store.insert(conn, replace(SECOND, uri=FIRST.uri), mlflow_run_id=None, created_at=NOW)


def test_latest_is_by_the_end_of_the_window(conn: Connection) -> None:
    """Not by the time of building: an old window that is built again is not the news."""
    store.insert(conn, SECOND, mlflow_run_id=None, created_at=NOW)
    store.insert(conn, FIRST, mlflow_run_id=None, created_at=NOW + timedelta(days=30))
    assert store.latest(conn, "toy") == SECOND
    assert store.latest(conn, "other") is None
    assert store.all_datasets(conn) == store.all_datasets(conn, "toy") == [FIRST, SECOND]
    assert store.all_datasets(conn, "other") == []


def test_the_store_never_commits(conn: Connection, dsn: str) -> None:
    store.insert(conn, FIRST, mlflow_run_id=None, created_at=NOW)
    with psycopg.connect(dsn) as other:
        assert other.execute("select count(*) from exp.datasets").fetchone() == (0,)
