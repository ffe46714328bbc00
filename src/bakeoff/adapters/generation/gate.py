"""Turns for answers that share one base model: those with the same adapter may run side by side."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class AdapterGate:
    """Switches adapters only while nobody is answering, so that no answer sees half of a switch."""

    def __init__(self, switch: Callable[[str | None], None]) -> None:
        self._switch = switch
        self._changed = threading.Condition()
        self._active: str | None = None
        self._running = 0

    @contextmanager
    def using(self, adapter: str | None, timeout_s: float | None = None) -> Iterator[None]:
        """Runs with `adapter` switched on (None = the bare base). Raises TimeoutError after `timeout_s` of waiting."""
        with self._changed:
            free = self._changed.wait_for(lambda: self._running == 0 or self._active == adapter, timeout_s)
            if not free:
                raise TimeoutError("the deadline passed while another adapter was answering")
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
    def alone(self) -> Iterator[None]:
        """Runs while nobody answers and nobody can begin; leaves the bare base switched on."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0)
            yield
            self._switch(None)
            self._active = None
