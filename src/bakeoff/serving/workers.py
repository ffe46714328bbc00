"""Threads for what may hang: a caller waits as long as it has time, then leaves its answer behind.

Python cannot end a thread. What is left behind goes on until it ends by itself; while too many have not, nothing more
is begun. Each version has workers of its own, so that one that hangs takes no place of another."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bakeoff.serving.model import NoAnswer

T = TypeVar("T")
IDLE_S = 30.0
"""After so long without work a thread ends."""


@dataclass(slots=True, eq=False)
class _Job:
    call: Callable[[], Any]
    future: "Future[Any]" = field(default_factory=Future)
    is_late: bool = False


class Workers:
    """At most `size` calls at once, and up to `late_limit` more that were left behind."""

    def __init__(self, name: str, *, size: int, late_limit: int) -> None:
        self.name, self._size, self._late_limit = name, size, late_limit
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._threads = 0  # that take jobs: late ones do not count
        self._idle = 0
        self._late = 0

    @property
    def late(self) -> int:
        """Calls that were left behind and have not ended."""
        return self._late

    def run(self, call: Callable[[], T], *, within_s: float) -> T:
        """What `call` returns or raises. Raises NoAnswer: 'busy' where it did not begin within `within_s` seconds,
        or must not because too many are late; 'late' where it began and did not end."""
        job = _Job(call)
        with self._changed:
            if self._late >= self._late_limit:
                raise NoAnswer("busy", f"{self._late} earlier answers of {self.name} have not ended yet")
            self._jobs.append(job)
            if len(self._jobs) > self._idle and self._threads < self._size:
                self._begin_thread()
            else:
                self._changed.notify()
        try:
            result: T = job.future.result(max(within_s, 0))
        except TimeoutError:
            result = self._leave(job, within_s)
        return result

    def _leave(self, job: _Job, within_s: float) -> Any:
        """Nobody waits for this job any longer; where it ended at the last moment, its own result counts."""
        with self._changed:
            if not job.future.done():
                if job.future.cancel():  # it has not begun
                    self._jobs.remove(job)
                    raise NoAnswer("busy", f"all {self._size} workers of {self.name} were taken for {within_s:.1f} s")
                job.is_late = True
                self._late += 1
                self._threads -= 1
                if self._jobs and not self._idle:
                    self._begin_thread()
                raise NoAnswer("late", f"{self.name} did not stop after {within_s:.1f} s and was left behind")
        return job.future.result()

    def _begin_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"answers {self.name}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            result, error = None, None
            try:
                result = job.call()
            except Exception as raised:
                error = raised
            except BaseException as raised:  # a policy that wants to end the process ends its answer
                error = RuntimeError(f"{type(raised).__name__}: {raised}")
            with self._changed:  # so that nobody calls it late at the same moment
                if error is None:
                    job.future.set_result(result)
                else:
                    job.future.set_exception(error)
                if job.is_late:
                    self._late -= 1
                    if self._threads >= self._size:
                        return
                    self._threads += 1
            del job, result, error

    def _next(self) -> _Job | None:
        """The next job, begun; None: there was none for long."""
        ends = time.monotonic() + IDLE_S
        with self._changed:
            while not self._jobs:
                self._idle += 1
                woken = self._changed.wait(ends - time.monotonic())
                self._idle -= 1
                if not woken and not self._jobs:
                    self._threads -= 1
                    return None
            job = self._jobs.popleft()
            job.future.set_running_or_notify_cancel()
            return job
