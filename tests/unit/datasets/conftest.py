"""A toy task and episodes of it: shoppers say which of three fruits they want, and keep one."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bakeoff.datasets.model import Dataset
from bakeoff.datasets.publish import publish as publish_
from bakeoff.events.canonical import canonical_bytes
from bakeoff.fingerprint import digest
from bakeoff.task import Episode, Example, LoggedEvent, Message, Request, Role, TaskBase

SINCE = datetime(2025, 1, 1, tzinfo=UTC)
UNTIL = datetime(2025, 3, 3, tzinfo=UTC)
INCUMBENT, EXPLORER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


class FruitTask(TaskBase):
    name = "fruit"
    title = "fruit basket (supervised)"

    def render(self, request: Request) -> Sequence[Message]:
        return [Message(role="user", content=f"a basket for {', '.join(request['wishes'])}")]

    def examples(self, episodes: Any) -> Iterator[Example]:
        for example in super().examples(episodes):
            yield replace(example, metadata={"region": "north"}) if isinstance(example, Example) else example


def _event(role: Role, number: int, moment: datetime, payload: Mapping[str, Any], served: str) -> LoggedEvent:
    decision_id = str(uuid.UUID(int=10_000 + number))
    return LoggedEvent(
        event_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{role}{number}")),
        event_type=role.value,
        role=role,
        unit_id=f"unit-{number // 2}",
        decision_id=decision_id,
        occurred_at=moment,
        experiment_id=str(uuid.UUID(int=3)),
        variant_id=str(uuid.UUID(int=4)),
        policy_version_id=served,
        served_policy_version_id=served if role is Role.DECISION else None,
        payload=payload,
    )


def _episode(number: int, *, accepted: bool = True, **request: Any) -> Episode:
    """Each unit has two episodes, each fifth of which was proposed by the explorer."""
    asked: dict[str, Any] = {"day": number, "wishes": ["fig", "kiwi"], "budget": 2.5, "note": None} | request
    at = SINCE + timedelta(hours=number % 1000)
    explored = number % 5 == 0
    served = EXPLORER if explored else INCUMBENT
    kept = {"accepted_by": "user", "basket": {"mon": "fig", "tue": f"plum-{number % 3}"}}
    return Episode(
        need_id=str(number),
        unit_id=f"unit-{number // 2}",
        request=asked,
        request_digest=digest(asked),
        decisions=(
            replace(
                _event(Role.DECISION, number, at, {"answer": {}}, served),
                assignment_probability=0.1 if explored else 0.9,
                action_propensity=0.25 if explored else None,
            ),
        ),
        outcomes=(_event(Role.ACCEPT, number, at + timedelta(hours=1), kept, served),) if accepted else (),
    )


@pytest.fixture
def task() -> FruitTask:
    return FruitTask()


@pytest.fixture
def episode() -> Callable[..., Episode]:
    return _episode


@pytest.fixture
def episodes() -> list[Episode]:
    """120 episodes of 60 units, of which the last ten were never accepted."""
    return [_episode(number, accepted=number < 110) for number in range(120)]


@pytest.fixture
def stored() -> Callable[[Iterable[Episode]], list[tuple[Episode, bytes]]]:
    """Episodes as the log gives them: in canonical order, each once, with the text of its request."""

    def ordered(episodes: Iterable[Episode]) -> list[tuple[Episode, bytes]]:
        once = {episode.decision.decision_id: episode for episode in episodes}
        ranked = sorted(once.values(), key=lambda e: (e.decision.occurred_at, str(e.decision.decision_id)))
        return [(episode, canonical_bytes(episode.request)) for episode in ranked]

    return ordered


@pytest.fixture
def publish(
    task: FruitTask, stored: Callable[[Iterable[Episode]], list[tuple[Episode, bytes]]], tmp_path: Path
) -> Callable[..., Dataset]:
    """Publishes episodes below `root`, the test's own folder where none is named."""

    def published(episodes: Iterable[Episode], *, root: str = "", by: TaskBase | None = None, **how: Any) -> Dataset:
        how = {"since": SINCE, "until": UNTIL} | how
        return publish_(root or str(tmp_path), by or task, stored(episodes), **how)

    return published


@pytest.fixture
def window() -> dict[str, datetime]:
    return {"since": SINCE, "until": UNTIL}
