"""Which engine opens which spec."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from bakeoff.errors import UsageError
from bakeoff.inference.model import Engine, PolicySpec


class EnginesByKind:
    """One opener per engine kind, made when the first spec of that kind is opened: a policy on a server needs no
    torch. Implements `bakeoff.inference.model.Engines`."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        """`makers`: kind -> what makes its `Engines`, which may have a `close`."""
        self._makers = makers
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()

    def open(self, spec: PolicySpec, *, threads: int | None = None) -> Engine:
        """Raises UsageError for a kind that needs no engine, and like the kind's own `open`."""
        if spec.engine not in self._makers:
            raise UsageError(f"a policy of engine '{spec.engine}' has no model", cure="run it without an engine")
        with self._lock:
            if spec.engine not in self._made:
                self._made[spec.engine] = self._makers[spec.engine]()
        engine: Engine = self._made[spec.engine].open(spec, threads=threads)
        return engine

    def release(self, spec: PolicySpec) -> None:
        made = self._made.get(spec.engine)
        if made is not None:
            made.release(spec)

    def close(self) -> None:
        for made in self._made.values():
            if hasattr(made, "close"):
                made.close()
        self._made = {}
