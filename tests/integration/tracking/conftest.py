"""One MLflow on a real PostgreSQL for all tests of this folder: its first start takes seconds."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bakeoff.adapters import embedded, tracking
from bakeoff.datasets.files import write
from bakeoff.datasets.model import Dataset, Draft, Row, Split
from bakeoff.fingerprint import digest
from bakeoff.task import Example


@pytest.fixture(scope="session")
def mlflow_dsn(postgres_server: str) -> str:
    return embedded.ensure_database(postgres_server, "mlflow_tracking_tests")


@pytest.fixture(scope="session")
def mlflow(mlflow_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tracking.Connections]:
    opened = tracking.connect(mlflow_dsn, str(tmp_path_factory.mktemp("artifacts")))
    yield opened
    opened.close()


@pytest.fixture
def dataset(tmp_path: Path, request: pytest.FixtureRequest) -> Dataset:
    """Three rows of a task named after the test, so that tests do not meet each other's runs."""
    since, until = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 3, tzinfo=UTC)
    task = request.node.name
    rows = tuple(_row(number, since) for number in range(3))
    splits = {"train": 3, "validation": 0, "test": 0}
    summary = {
        "title": task,
        "rows": 3,
        "units": 3,
        "fell_back": 0,
        "targets": ["kept"],
        **dict.fromkeys(("schema_version", "request_version", "prompt_version"), "1"),
        **dict.fromkeys(("splits", "units_by_split"), splits),
        **{name: {} for name in ("slices", "proposed_by", "origin", "excluded")},
    }
    draft = Draft(digest=digest(task), task=task, since=since, until=until, rows=rows, summary=summary)
    return write(str(tmp_path), draft)


def _row(number: int, at: datetime) -> Row:
    asked = {"day": number}
    return Row(
        example=Example(
            example_id=str(number),
            unit_id=str(number),
            occurred_at=at,
            request=asked,
            target={"kept": "x"},
            metadata={"origin": "live"},
        ),
        split=Split.TRAIN,
        slice=None,
        request_digest=digest(asked),
    )
