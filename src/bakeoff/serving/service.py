"""A process that serves: many threads ask it, several processes share one PostgreSQL and need nothing of each other."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from bakeoff.errors import Unreachable, UsageError
from bakeoff.events.model import SKEW, plain
from bakeoff.events.store import Conn
from bakeoff.inference.model import Engines, PolicyAnswer
from bakeoff.inference.run_policy import run_policy
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion import replicas
from bakeoff.serving import cost, fallback, ingest, roster
from bakeoff.serving.decide import begin, check, check_answerable, finish
from bakeoff.serving.model import (
    Answered,
    Asked,
    Connections,
    Count,
    NoAnswer,
    Plan,
    PolicyReadiness,
    Readiness,
    Receipt,
    Stopping,
    VersionReadiness,
)
from bakeoff.serving.models import Models
from bakeoff.serving.record import decision
from bakeoff.serving.workers import Workers
from bakeoff.task import Request, RequestKey, Served, Task

T = TypeVar("T")
AT_ONCE = {"python": 16, "openai": 32, "transformers": 2}
"""Answers of one version at once, by engine. A local model computes with all cores: more would only slow each other."""
LATE_LIMIT = 8
"""Answers of one version that may be left behind before it is asked no more until some of them end."""
RESERVE, RESERVE_S = 0.25, 2.0
"""Share of the deadline that is kept for the last resort and for writing, and the most that is kept."""
EARLIER = 0.1
"""Share of its time by which an engine is told to stop before it is left behind."""
PAUSE_S = 0.05
STALE = 4
"""After so many polls that found no database, one that answered before counts no more."""


def _nobody(_: str, __: Mapping[str, str]) -> None:
    """Counts nothing."""


class Service:
    """Answers requests and takes events for one process; thread-safe.

    What it counts, as `on_count(name, labels)`:
    'decisions' (policy, version: assigned, served: who answered, fallback: its kind or 'none');
    'answered_again' (policy): the stored answer, for a retry;
    'failed' (policy, reason: class of the error): requests without an answer;
    'late' (policy, version): answers left behind; 'over_cost' (policy, version): dearer than the limit;
    'loads' (policy, version, result: 'done' or 'failed'), 'frees' (policy, version): models in memory;
    'events' (task, status: 'stored', 'known' or 'refused'); 'polls' (result: 'done' or 'failed')."""

    def __init__(
        self,
        db: Connections,
        engines: Engines,
        load_task: Callable[[str], Task],
        *,
        clock: Callable[[], datetime],
        poll_s: float = 3.0,
        deadline_s: float = 10.0,
        on_count: Count = _nobody,
        cost_limits: Mapping[str, float] | None = None,
    ) -> None:
        """`clock`: UTC. `poll_s`: seconds between looks at who serves. `deadline_s`: wall-clock seconds of a decision
        for which the caller names no other. `cost_limits`: policy -> the most that one answer of a model may cost, in
        the currency of its declared price; a policy that is not named has none."""
        self._db, self._load_task, self._now = db, load_task, clock
        self._poll_s, self._deadline_s, self._on_count = poll_s, deadline_s, on_count
        self._cost_limits = dict(cost_limits or {})
        self._models, self._ingest = Models(engines, on_count), ingest.Ingest()
        self._workers: dict[tuple[str, str], Workers] = {}
        self._changed, self._telling = threading.Condition(), threading.Lock()
        self._running, self._is_stopping = 0, False
        self._name, self._started_at = socket.gethostname(), clock()
        self._rosters: list[roster.Roster] = []
        self._last_poll_at: datetime | None = None
        self._seen_at: float | None = None  # seconds of the monotonic clock, of the same poll
        self._trouble: str | None = "it has not started"  # what went wrong at the last poll
        self._was_ready = False
        self._unknown_tasks: dict[str, str] = {}  # task -> why it cannot be loaded
        self._ended = threading.Event()
        self._poller: threading.Thread | None = None

    # ---- life ----

    def start(self, *, load_s: float = 300.0) -> None:
        """Loads what serves now, for up to `load_s` seconds, then looks again every `poll_s` seconds in a thread.

        Raises Unreachable where PostgreSQL does not answer. A model that cannot be loaded is told by `readiness`: its
        requests are answered by the last resort."""
        self._poll(load_s=load_s)
        self._poller = threading.Thread(target=self._keep_polling, name="looks who serves", daemon=True)
        self._poller.start()

    def stop(self, drain_s: float = 30.0) -> None:
        """Takes nothing new, and waits up to `drain_s` seconds for what is in progress."""
        with self._changed:
            self._is_stopping = True
            self._changed.wait_for(lambda: self._running == 0, drain_s)
        self._ended.set()
        if self._poller is not None:
            self._poller.join(self._poll_s)
        with suppress(Exception), self._telling, self._db.transaction() as conn:
            replicas.forget(conn, name=self._name, pid=os.getpid())

    @contextmanager
    def _in_progress(self) -> Iterator[None]:
        with self._changed:
            if self._is_stopping:
                raise Stopping("this process is stopping", cure="ask again with the same key: another process answers")
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                if self._running == 0:
                    self._changed.notify_all()

    # ---- decisions ----

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
        """Answers the request of a unit, or the one that the task builds of `need`. The same `key` again gets the
        stored answer. `at`: the moment of the decision, with time zone (default: now).

        Raises UsageError for a key that was used for another request, keys that lead to no request, and a moment that
        is not now; Refused where nobody has an answer; Unreachable where PostgreSQL does not answer or the last
        resort was too slow: then it is unknown whether a decision was written, and the same key again is right."""
        try:
            with self._in_progress():
                now, ends = self._now(), time.monotonic() + self._patience(deadline_s)
                asked = check(policy_id, key=key, unit_id=unit_id, request=request, need=need, at=at or now)
                plan = self._patiently(
                    ends,
                    self._db.statements,
                    partial(begin, asked=asked, task_of=self._task_of, versions_of=self._versions_of),
                )
                if isinstance(plan, Served):
                    self._on_count("answered_again", {"policy": policy_id})
                    return plan
                return self._answered(asked, plan, now, ends)
        except Exception as error:
            self._on_count("failed", {"policy": policy_id, "reason": type(error).__name__})
            raise

    def _patience(self, deadline_s: float | None) -> float:
        if deadline_s is not None and not 0 < deadline_s <= 3600:
            raise UsageError(f"a deadline of {deadline_s} seconds", cure="expected more than 0 and up to 3600")
        return self._deadline_s if deadline_s is None else deadline_s

    def _answered(self, asked: Asked, plan: Plan, now: datetime, ends: float) -> Served:
        """`ends`: when the caller's time is over, by the monotonic clock. No transaction is open while it thinks."""
        _check_moment(asked.at, now)
        check_answerable(plan.version, None)
        task = self._task_of(plan.version)
        for_model = ends - min((ends - time.monotonic()) * RESERVE, RESERVE_S)
        answered = fallback.answer(
            plan,
            lambda version: self._run(task, version, plan.request, for_model, "assigned"),
            lambda version: self._run(task, version, plan.request, ends, "last resort"),
        )
        made = decision(task, asked, plan, answered)
        # Without an exposure there is one statement to write, which is a transaction by itself.
        way = self._db.statements if plan.assigned.exposure is None else self._db.transaction
        served = self._patiently(ends, way, lambda conn: finish(conn, asked, plan, made, received_at=self._now()))
        self._tell(plan, answered)
        return served

    def _run(self, task: Task, version: PolicyVersion, request: Request, ends: float, part: str) -> PolicyAnswer:
        """In a thread of the version's own, by `ends` or not at all."""
        spec, limit = version.spec, self._cost_limits.get(version.policy_id)
        if spec.needs_engine and limit is not None:
            spec = cost.within(task, spec, request, limit)
        engine = self._models.engine(version, within_s=ends - time.monotonic())

        def call() -> PolicyAnswer:
            # A copy: what is stored is the request as it came, whatever the policy does to its own.
            own, left = plain("request", request), ends - time.monotonic()
            with self._models.used(version):
                return run_policy(task, spec, own, engine=engine, deadline_s=left * (1 - EARLIER))

        try:
            result = self._workers_of(version, part).run(call, within_s=ends - time.monotonic())
        except NoAnswer as error:
            if error.kind == "late":
                self._on_count("late", _labels(version))
            raise
        if limit is not None and result.cost > limit:
            self._on_count("over_cost", _labels(version))
        return result

    def _workers_of(self, version: PolicyVersion, part: str) -> Workers:
        key = (version.policy_version_id, part)
        found = self._workers.get(key)
        if found is None:
            with self._changed:
                fresh = Workers(version.name, size=AT_ONCE.get(version.spec.engine, 1), late_limit=LATE_LIMIT)
                found = self._workers.setdefault(key, fresh)
        return found

    def _versions_of(self, conn: Conn, policy_id: str, ident: str) -> tuple[PolicyVersion, PolicyVersion | None]:
        """From memory where the last look found them: versions do not change. Which one is the last resort may be as
        old as that look."""
        posts = next((each.posts for each in self._rosters if each.policy.policy_id == policy_id), ())
        found = next((post.version for post in posts if post.version.policy_version_id == ident), None)
        if found is None:
            return policies.serving_versions(conn, policy_id, ident)
        return found, next((post.version for post in posts if "last resort" in post.roles), None)

    def _task_of(self, version: PolicyVersion) -> Task:
        return self._load_task(version.spec.task)

    def _patiently(self, ends: float, way: Callable[[], AbstractContextManager[Conn]], block: Callable[[Conn], T]) -> T:
        """`block` with a connection; where the server is away for a moment (a restart), again until `ends`. Every block
        may be repeated: a decision that was committed unheard is found by its key."""
        while True:
            try:
                with way() as conn:
                    return block(conn)
            except Unreachable:
                if time.monotonic() + PAUSE_S >= ends:
                    raise
            time.sleep(PAUSE_S)

    def _tell(self, plan: Plan, answered: Answered) -> None:
        kind = answered.fallback.kind if answered.fallback else "none"
        self._on_count("decisions", _labels(plan.version) | {"served": str(answered.by.version), "fallback": kind})

    # ---- events ----

    def log(self, task: str, rows: Sequence[Mapping[str, Any]]) -> list[Receipt]:
        """Outcomes, as `bakeoff.events.incoming` describes a row; one transaction, one receipt a row, in their order.
        A row that is refused does not keep the others out. Raises UsageError for a task that is not installed,
        Unreachable where PostgreSQL does not answer: then the same rows again are right."""
        with self._in_progress():
            known, now, ends = self._load_task(task), self._now(), time.monotonic() + self._deadline_s
            within = partial(self._patiently, ends, self._db.transaction)
            reader, checked = self._ingest.check(within, known, rows, now)
            receipts = self._patiently(
                ends, self._db.transaction, lambda conn: ingest.store(conn, reader, rows, checked)
            )
        for receipt in receipts:
            self._on_count("events", {"task": task, "status": receipt.status})
        return receipts

    # ---- who serves ----

    def _keep_polling(self) -> None:
        while not self._ended.wait(self._poll_s):
            try:
                self._poll()
            except Exception:  # the reason is kept for `readiness`; the next look may do better
                continue

    def _poll(self, *, load_s: float = 0.0) -> None:
        try:
            with self._db.transaction() as conn:
                rosters = roster.read(conn)
        except Exception as error:
            self._trouble = f"{type(error).__name__}: {error}"
            self._on_count("polls", {"result": "failed"})
            raise
        self._rosters = rosters
        self._last_poll_at, self._seen_at, self._trouble = self._now(), time.monotonic(), None
        self._on_count("polls", {"result": "done"})
        self._load_tasks({each.policy.task for each in rosters})
        needed = [post.version for each in rosters for post in each.posts if not post.version.is_external]
        self._models.preload(needed, within_s=load_s)
        self._models.free(needed)
        self._tell_of_itself([version for version in needed if self._models.problem(version) is None])

    def _tell_of_itself(self, loaded: Sequence[PolicyVersion]) -> None:
        """For `bakeoff doctor`. A process that cannot say what it holds serves all the same; one that has ended is not
        told of again by a look that was under way."""
        with suppress(Exception), self._telling, self._db.transaction() as conn:
            if self._ended.is_set():
                return
            replicas.report(
                conn,
                name=self._name,
                pid=os.getpid(),
                started_at=self._started_at,
                seen_at=self._now(),
                loaded=[version.policy_version_id for version in loaded],
            )

    def _load_tasks(self, names: set[str]) -> None:
        unknown = {}
        for name in sorted(names):
            try:
                self._load_task(name)
            except Exception as error:  # a task's own code is run by its import
                unknown[name] = f"task {name} cannot be loaded: {error}"
        self._unknown_tasks = unknown

    def readiness(self) -> Readiness:
        """As of the last look at the database; asks nobody, so that it cannot hang.

        A process is ready once all that serves is in memory. From then on a version that cannot be loaded is told as
        missing, but does not make it unready: it would do so everywhere at once, and the last resort answers."""
        rosters = self._rosters
        seen = self._seen_at is not None and time.monotonic() - self._seen_at < STALE * self._poll_s + 1
        policies = tuple(self._policy_readiness(each) for each in rosters)
        if self._last_poll_at is not None and not self._unknown_tasks:
            serving = [version for policy in policies for version in policy.versions if version.serves]
            self._was_ready = self._was_ready or all(version.loaded for version in serving)
        missing = [self._trouble] if self._trouble else []
        missing += sorted(self._unknown_tasks.values())
        missing += [f"{each.name}: {each.problem}" for policy in policies for each in policy.versions if each.problem]
        missing += ["it is stopping"] if self._is_stopping else []
        return Readiness(
            ready=seen and self._was_ready and not self._is_stopping,
            database=seen and self._trouble is None,
            last_poll_at=self._last_poll_at,
            policies=policies,
            missing=tuple(missing),
            running=self._running,
            late=sum(workers.late for workers in list(self._workers.values())),
        )

    def _policy_readiness(self, each: roster.Roster) -> PolicyReadiness:
        versions = []
        for post in each.posts:
            problem = None if post.version.is_external else self._models.problem(post.version)
            versions.append(
                VersionReadiness(name=post.version.name, roles=post.roles, loaded=problem is None, problem=problem)
            )
        return PolicyReadiness(policy_id=each.policy.policy_id, versions=tuple(versions))


def _labels(version: PolicyVersion) -> dict[str, str]:
    return {"policy": version.policy_id, "version": str(version.version)}


def _check_moment(at: datetime, now: datetime) -> None:
    """A decision happens now: one that claims another time would count in phases that it was not drawn in."""
    if abs(at - now) > SKEW:
        raise UsageError(
            f"a decision was asked for at {at.isoformat()}, but it is {now.isoformat()} here",
            cure=f"leave the moment out; clocks may differ by {SKEW // timedelta(minutes=1)} minutes. History comes in "
            "by bakeoff events import",
        )
