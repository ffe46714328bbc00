"""One MLflow on a real PostgreSQL for all tests of this folder: its first start takes seconds."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bakeoff.adapters import embedded, tracking
from bakeoff.datasets.model import Dataset, Split
from bakeoff.datasets.publish import publish
from bakeoff.events.canonical import canonical_bytes
from bakeoff.fingerprint import digest
from bakeoff.task import Episode, LoggedEvent, Message, Request, Role, TaskBase

SINCE = datetime(2025, 1, 1, tzinfo=UTC)
UNTIL = datetime(2025, 1, 3, tzinfo=UTC)


@pytest.fixture(scope="session")
def mlflow_dsn(postgres_server: str) -> str:
    return embedded.ensure_database(postgres_server, "mlflow_tracking_tests")


@pytest.fixture(scope="session")
def mlflow(mlflow_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tracking.Connections]:
    opened = tracking.connect(mlflow_dsn, str(tmp_path_factory.mktemp("artifacts")))
    yield opened
    opened.close()


class Named(TaskBase):
    """A task named after the test, so that tests do not meet each other's runs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def render(self, request: Request) -> Sequence[Message]:
        return [Message(role="user", content=str(request["day"]))]


@pytest.fixture
def dataset(tmp_path: Path, request: pytest.FixtureRequest) -> Dataset:
    """Three rows, all of the train split."""
    shares = {Split.TRAIN: 10_000, Split.VALIDATION: 0, Split.TEST: 0}
    task, stored = Named(request.node.name), [_stored(number) for number in range(3)]
    return publish(
        str(tmp_path), task, stored, since=SINCE, until=UNTIL, shares=shares, minimum=dict.fromkeys(Split, 0)
    )


def _stored(number: int) -> tuple[Episode, bytes]:
    asked = {"day": number}
    decided = _event(number, Role.DECISION, {})
    accepted = _event(number, Role.ACCEPT, {"accepted_by": "user", "kept": "x"})
    episode = Episode(
        need_id=str(number),
        unit_id=str(number),
        request=asked,
        request_digest=digest(asked),
        decisions=(decided,),
        outcomes=(accepted,),
    )
    return episode, canonical_bytes(asked)


def _event(number: int, role: Role, payload: dict[str, str]) -> LoggedEvent:
    return LoggedEvent(
        event_id=f"{role}-{number}",
        event_type=role,
        role=role,
        unit_id=str(number),
        decision_id=str(number),
        occurred_at=SINCE,
        experiment_id="x",
        variant_id="v",
        policy_version_id="p",
        served_policy_version_id="p" if role is Role.DECISION else None,
        payload=payload,
    )
