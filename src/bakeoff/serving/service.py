"""Answers requests and takes events for one process. Thin: to be replaced by the whole one."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from bakeoff.errors import BakeoffError, Refused, UsageError
from bakeoff.events import model as event_model
from bakeoff.events import store as events
from bakeoff.inference.model import Engines
from bakeoff.policies import store as policies
from bakeoff.serving.decide import Transactions, decide
from bakeoff.task import Request, RequestKey, Served, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    event_id: str
    status: Literal["stored", "known", "refused"]
    reason: str | None = None
    cure: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    ready: bool
    database: bool
    last_poll_at: datetime | None
    policies: tuple[Any, ...]
    missing: tuple[str, ...]


class PerThread:
    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._mine, self._all = make, threading.local(), list[Any]()

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        if not hasattr(self._mine, "db"):
            self._mine.db = self._make()
            self._all.append(self._mine.db)
        with self._mine.db.transaction() as conn:
            yield conn

    def close(self) -> None:
        for each in self._all:
            each.close()


class Service:
    def __init__(
        self,
        db: Transactions,
        engines: Engines,
        load_task: Callable[[str], Task],
        *,
        clock: Callable[[], datetime],
        poll_s: float = 3.0,
        deadline_s: float = 10.0,
        on_count: Callable[[str, Mapping[str, str]], None] = lambda name, labels: None,
    ) -> None:
        self._db, self._engines, self._load, self._clock = db, engines, load_task, clock
        self._deadline_s, self._count = deadline_s, on_count

    def start(self) -> None: ...

    def stop(self, drain_s: float = 30.0) -> None: ...

    def decide(
        self,
        policy_id: str,
        *,
        key: str,
        unit_id: str,
        request: Request | None,
        need: RequestKey | None = None,
        at: datetime | None = None,
        deadline_s: float | None = None,
    ) -> Served:
        with self._db.transaction() as conn:
            task = self._load(policies.find_policy(conn, policy_id).task)
            if request is None and need is not None:
                request = task.requests(conn, [need])[0]
        if request is None:
            raise UsageError("the task cannot build the request")
        event_model.need_of(task, request)
        try:
            return decide(
                self._db, self._engines, task, policy_id, key=key, unit_id=unit_id, request=request,
                at=at or self._clock(), deadline_s=deadline_s or self._deadline_s,
            )  # fmt: skip
        except BakeoffError:
            raise
        except Exception as error:
            raise Refused(f"nobody has an answer: {type(error).__name__}: {error}") from error

    def log(self, task: str, rows: Sequence[Mapping[str, Any]]) -> list[Receipt]:
        return [self._one(self._load(task), row) for row in rows]

    def _one(self, task: Task, row: Mapping[str, Any]) -> Receipt:
        try:
            outcome = event_model.outcome(
                task.event_types,
                task=task.name,
                event_id=row["event_id"],
                event_type=row["event_type"],
                unit_id=row["unit_id"],
                context={"decision_id": row["decision_id"], **row["context"]},
                occurred_at=datetime.fromisoformat(row["occurred_at"]),
                payload=row["payload"],
            )
            with self._db.transaction() as conn:
                is_new = events.append_outcome(conn, outcome, received_at=self._clock())
            return Receipt(event_id=outcome.event_id, status="stored" if is_new else "known")
        except UsageError as error:
            return Receipt(
                event_id=str(row.get("event_id", "")), status="refused", reason=error.args[0], cure=error.cure
            )

    def readiness(self) -> Readiness:
        with self._db.transaction() as conn:
            conn.execute("select 1")
        return Readiness(ready=True, database=True, last_poll_at=self._clock(), policies=(), missing=())
