"""Who answers a replay: this process, or several side by side, each with a model of its own and one thread.

Processes are spawned, not forked (torch and database connections do not survive a fork), and know neither database
nor dataset: a question goes in, an answer comes out. The parent alone writes."""

import multiprocessing
import os
import pickle
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

from bakeoff.errors import Refused, Unreachable, UsageError
from bakeoff.inference.model import Engines, PolicyAnswer, PolicySpec
from bakeoff.replay.answer import answer, stamp, witness
from bakeoff.replay.workers import Ask, Key, Pool
from bakeoff.task import Task

ROWS_WORTH_A_PROCESS = 8
"""Starting one costs seconds (torch, weights), so that few rows are answered sooner by fewer."""
_PATIENCE_S = 5.0
_GONE = (EOFError, BrokenPipeError, ConnectionResetError)


class ReplayWorkers:
    """Implements `bakeoff.replay.workers.Workers`."""

    def __init__(self, *, engines: Engines, elsewhere: Callable[[], Engines], cores: Callable[[], int]) -> None:
        """`engines`: those of this process. `elsewhere`: wires engines in another one, so it has to be picklable."""
        self._engines, self._elsewhere, self._cores = engines, elsewhere, cores

    @contextmanager
    def open(self, task: Task, spec: PolicySpec, *, workers: int | None, rows: int) -> Iterator[Pool]:
        """See `Workers.open`."""
        if workers is not None and workers < 1:
            raise UsageError(f"{workers} workers; expected 1 or more")
        most = workers or (min(self._cores(), _worth(rows)) if spec.engine == "transformers" else 1)
        if most == 1:
            yield _Here(task, spec, self._engines)
            return
        processes = _Processes(task, spec, self._elsewhere, most, asked_for=workers is not None)
        try:
            processes.begin()
            yield processes
        finally:
            processes.end()


class _Here:
    """This process answers, one row after the other."""

    def __init__(self, task: Task, spec: PolicySpec, engines: Engines) -> None:
        self._task, self._spec = task, spec
        self._engine = engines.open(spec, threads=1) if spec.needs_engine else None
        self.stamp: Mapping[str, Any] = stamp(spec, self._engine)

    @property
    def witness(self) -> Mapping[str, Any]:
        return witness(self._engine)

    def answers(self, asks: Sequence[Ask], *, again: bool = False) -> Iterator[tuple[Ask, PolicyAnswer]]:  # noqa: ARG002
        # `again` asks for another process than before, and here is only one.
        for ask in asks:
            yield ask, answer(self._task, self._spec, ask, self._engine)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ready:
    """What a process says when its model is loaded."""

    stamp: Mapping[str, Any]
    witness: Mapping[str, Any]
    resident: int  # bytes of memory that it took


@dataclass(kw_only=True, slots=True, eq=False)
class _Worker:
    number: int  # from 1
    process: BaseProcess
    connection: Connection
    ready: _Ready | None = None  # None while it loads
    ask: Ask | None = None  # what it is answering


class _Processes:
    """One process at first; as soon as it has told what it answers with, the others, as far as they are worth it."""

    def __init__(
        self, task: Task, spec: PolicySpec, elsewhere: Callable[[], Engines], most: int, *, asked_for: bool
    ) -> None:
        self._what = (elsewhere if spec.needs_engine else None, task, spec)  # wiring costs a second of imports
        self._most, self._asked_for = most, asked_for
        self._workers: list[_Worker] = []
        self._by: dict[Key, _Worker] = {}  # who answered what

    @property
    def stamp(self) -> Mapping[str, Any]:
        return self._first.stamp

    @property
    def witness(self) -> Mapping[str, Any]:
        """What the first process heard before its first answer."""
        return self._first.witness

    @property
    def _first(self) -> _Ready:
        ready = self._workers[0].ready
        assert ready is not None  # `begin` waits for it
        return ready

    def begin(self) -> None:
        """Starts the first process and waits until its model is loaded."""
        self._start()
        self._receive(self._workers[0])
        if self.stamp.get("device", "cpu") != "cpu":
            if self._asked_for and self._most > 1:
                raise UsageError(
                    f"one {self.stamp['device']} answers here; {self._most} workers would only share it",
                    cure="leave out --workers, or type --workers 1",
                )
            self._most = 1
        elif not self._asked_for:
            self._most = min(self._most, 1 + _more_that_fit(self._first.resident))

    def answers(self, asks: Sequence[Ask], *, again: bool = False) -> Iterator[tuple[Ask, PolicyAnswer]]:
        """See `Pool.answers`."""
        waiting = list(reversed(asks))
        while len(self._workers) < min(self._most, len(asks) + again if self._asked_for else _worth(len(asks))):
            self._start()
        for worker in self._workers:
            self._hand_out(worker, waiting, again)
        while waiting or any(worker.ask for worker in self._workers):
            for worker in self._speaking():
                told, ask = self._receive(worker), worker.ask
                if told is not None and ask is not None:
                    worker.ask, self._by[ask.key] = None, worker
                    yield ask, told
                self._hand_out(worker, waiting, again)

    def end(self) -> None:
        """Idle processes end when nobody is there to ask them; those that are answering are stopped."""
        for worker in self._workers:
            worker.connection.close()
            if worker.ask is not None or worker.ready is None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_PATIENCE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, *self._what), daemon=True)
        worker = _Worker(number=len(self._workers) + 1, process=process, connection=ours)
        try:
            with _deaf_to_interrupts():
                process.start()
                self._workers.append(worker)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise UsageError(
                f"the task cannot be sent to another process: {error}",
                cure="keep open files and connections out of it, or type --workers 1",
            ) from error
        finally:
            theirs.close()

    def _speaking(self) -> list[_Worker]:
        listened = {id(w.connection): w for w in self._workers if w.ask is not None or w.ready is None}
        spoken = wait([worker.connection for worker in listened.values()])
        return [listened[id(connection)] for connection in spoken]

    def _receive(self, worker: _Worker) -> PolicyAnswer | None:
        """An answer; None where it only says that it is ready. Raises what it raises."""
        try:
            said = worker.connection.recv()
        except _GONE as error:
            raise self._died(worker) from error
        if isinstance(said, BaseException):
            raise said
        if isinstance(said, _Ready):
            worker.ready = said
            if said.stamp != self.stamp:
                raise Refused(f"worker {worker.number} answers with {said.stamp}, the first with {self.stamp}")
            return None
        return cast(PolicyAnswer, said)

    def _hand_out(self, worker: _Worker, waiting: list[Ask], again: bool) -> None:
        """The next question that this process may answer; `waiting` is consumed from its end."""
        if worker.ready is None or worker.ask is not None:
            return
        for place in range(len(waiting) - 1, -1, -1):
            if not (again and len(self._workers) > 1 and self._by.get(waiting[place].key) is worker):
                worker.ask = waiting.pop(place)
                break
        if worker.ask is not None:
            try:
                worker.connection.send(worker.ask)
            except _GONE as error:
                raise self._died(worker) from error

    def _died(self, worker: _Worker) -> Unreachable:
        worker.process.join(_PATIENCE_S)
        code = worker.process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        doing = "loading the model" if worker.ask is None else f"answering example {worker.ask.example_id}"
        return Unreachable(
            f"worker {worker.number} of {len(self._workers)} {how} while {doing}",
            cure="rows that are there stay: type the same again. Where memory was short, with --workers 1",
        )


def _worth(rows: int) -> int:
    """How many processes so many rows are worth."""
    return max(1, rows // ROWS_WORTH_A_PROCESS)


def _work(connection: Connection, elsewhere: Callable[[], Engines] | None, task: Task, spec: PolicySpec) -> None:
    """The life of one process. It ends when nobody is at the other end of the line."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    said: Any
    with suppress(*_GONE):
        try:
            engine = None if elsewhere is None else elsewhere().open(spec, threads=1)
            said = _Ready(stamp=stamp(spec, engine), witness=witness(engine), resident=_resident())
        except Exception as error:
            said = _sendable(error)
        connection.send(said)
        while True:
            ask = connection.recv()
            try:
                said = answer(task, spec, ask, engine)
            except Exception as error:
                said = _sendable(error)
            connection.send(said)


def _end_with_the_parent() -> None:
    """At once, also in the middle of an answer: a killed parent cannot tell."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    """With where it happened, for whoever sees its traceback; as text where it cannot be pickled."""
    error.add_note(f"in a worker process:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("\n".join([f"{type(error).__name__}: {error}", *error.__notes__]))
    return error


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C goes to every process of the terminal: what starts in here does not hear it, its parent ends it."""
    resource_tracker.ensure_running()  # where it is started only now, it opens the ears again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _resident() -> int:
    """The most memory that this process has held, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _more_that_fit(resident: int) -> int:
    """How many more processes of that size the free memory holds; where the system does not tell, any number."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return sys.maxsize
    return int(0.9 * free // max(resident, 1))
