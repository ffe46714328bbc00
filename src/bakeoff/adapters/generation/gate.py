"""Turns for answers that share one base model: those with the same adapter may run side by side."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class AdapterGate:
    """Switches adapters only while nobody is answering, so that no answer sees half of a switch. First come, first
    served: a steady stream of answers with one adapter keeps nobody waiting who needs another."""

    def __init__(self, switch: Callable[[str | None], None]) -> None:
        self._switch = switch
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()  # oldest first
        self._active: str | None = None
        self._running = 0

    @contextmanager
    def using(self, adapter: str | None, timeout_s: float | None = None) -> Iterator[None]:
        """Runs with `adapter` switched on (None = the bare base). Raises TimeoutError after `timeout_s` of waiting."""
        with self._changed:
            self._wait(lambda: self._running == 0 or self._active == adapter, timeout_s)
            if self._active != adapter:
                self._switch(adapter)
                self._active = adapter
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, timeout_s: float | None = None) -> Iterator[None]:
        """Runs while nobody answers and nobody can begin; leaves the bare base switched on. Raises TimeoutError."""
        with self._changed:
            self._wait(lambda: self._running == 0, timeout_s)
            yield
            self._switch(None)
            self._active = None

    def _wait(self, is_free: Callable[[], bool], timeout_s: float | None) -> None:
        """Until it is free, and all who came before had their turn."""
        ticket = object()
        self._waiting.append(ticket)
        try:
            if not self._changed.wait_for(lambda: self._waiting[0] is ticket and is_free(), timeout_s):
                raise TimeoutError("the deadline passed while another adapter was answering")
        finally:
            self._waiting.remove(ticket)
            self._changed.notify_all()  # whoever is first now may be able to go on
