"""What is in memory: each version's function or engine is loaded once, before it serves where that can be known, and
freed when nobody has needed it for a while."""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from bakeoff.inference.model import Engine, Engines
from bakeoff.inference.python_policy import load_function
from bakeoff.policies.model import PolicyVersion
from bakeoff.serving.model import Count, NoAnswer

KEEP_S = 600.0
"""How long what nobody needs stays in memory: a rollback soon after a promotion finds it there."""
RETRY_S = 15.0
"""How long after a failed load the next one is tried."""


@dataclass(slots=True, eq=False)
class _Slot:
    version: PolicyVersion
    future: "Future[Engine | None]" = field(default_factory=Future)  # None: it needs no engine
    users: int = 0  # answers in progress, those left behind too
    used_at: float = 0.0
    failed_at: float | None = None


class Models:
    """By spec: two policies may share one. Loads run in threads of their own, beside the answers."""

    def __init__(self, engines: Engines, on_count: Count, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds; only differences matter."""
        self._engines, self._count, self._clock = engines, on_count, clock
        self._lock = threading.Lock()
        self._slots: dict[str, _Slot] = {}

    def engine(self, version: PolicyVersion, *, within_s: float) -> Engine | None:
        """Waits for a load where there is need. Raises NoAnswer 'loading' after `within_s`, and what the load raised;
        the load goes on, so that the next request may find it done."""
        slot = self._slot(version)
        try:
            return slot.future.result(max(within_s, 0))
        except TimeoutError:
            if slot.future.done():
                return slot.future.result()
            raise NoAnswer("loading", f"{version.name} was not in memory within {within_s:.1f} s") from None

    @contextmanager
    def used(self, version: PolicyVersion) -> Iterator[None]:
        """While an answer of it is in progress it is not freed."""
        slot = self._slot(version)
        with self._lock:
            slot.users += 1
        try:
            yield
        finally:
            with self._lock:
                slot.users -= 1
                slot.used_at = self._clock()

    def preload(self, versions: Collection[PolicyVersion], *, within_s: float = 0.0) -> None:
        """Begins what is not loaded yet, and waits for all of it for up to `within_s` seconds."""
        ends = time.monotonic() + within_s
        for slot in [self._slot(version) for version in versions]:
            if within_s and not slot.future.done():
                try:
                    slot.future.exception(max(ends - time.monotonic(), 0))
                except TimeoutError:
                    return

    def problem(self, version: PolicyVersion) -> str | None:
        """Why it is not in memory; None where it is."""
        with self._lock:
            slot = self._slots.get(version.fingerprint)
        if slot is None or not slot.future.done():
            return "it is being loaded"
        error = slot.future.exception()
        return None if error is None else f"{type(error).__name__}: {error}"

    def free(self, needed: Collection[PolicyVersion]) -> None:
        """Forgets what is not among `needed`, is not in use, and has not been for `KEEP_S`."""
        keep, now = {version.fingerprint for version in needed}, self._clock()
        with self._lock:
            gone = [
                name
                for name, slot in self._slots.items()
                if name not in keep and not slot.users and slot.future.done() and now - slot.used_at > KEEP_S
            ]
            freed = [self._slots.pop(name).version for name in gone]
        for version in freed:
            if version.spec.needs_engine:
                self._engines.release(version.spec)
            self._count("frees", {"policy": version.policy_id, "version": str(version.version)})

    def _slot(self, version: PolicyVersion) -> _Slot:
        """The slot of a version; a load begins where there was none, or it failed a while ago."""
        with self._lock:
            slot = self._slots.get(version.fingerprint)
            failed_at = None if slot is None else slot.failed_at
            if slot is None or (failed_at is not None and self._clock() - failed_at > RETRY_S):
                slot = self._slots[version.fingerprint] = _Slot(version)
                threading.Thread(target=self._load, args=(slot,), name=f"loads {version.name}", daemon=True).start()
            slot.used_at = self._clock()
            return slot

    def _load(self, slot: _Slot) -> None:
        version = slot.version
        labels = {"policy": version.policy_id, "version": str(version.version)}
        try:
            engine = None
            if version.spec.needs_engine:
                engine = self._engines.open(version.spec)
            elif version.spec.function is not None:
                load_function(version.spec.function)
        except BaseException as error:
            slot.failed_at = self._clock()
            slot.future.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))
            self._count("loads", labels | {"result": "failed"})
        else:
            slot.future.set_result(engine)
            self._count("loads", labels | {"result": "done"})
