"""A simulated world that drives the loop for demos and tests: what it must offer, and what it is given."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

from bakeoff.task import Request, Served


class Decide(Protocol):
    """Asks for a decision. The same `key` again gets the stored answer."""

    def __call__(self, *, key: str, unit_id: str, request: Request, at: datetime) -> Served: ...


class Emit(Protocol):
    """Logs one outcome. The same `event_id` again is one event."""

    def __call__(
        self,
        *,
        event_id: str,
        event_type: str,
        context: Mapping[str, str],
        at: datetime,
        payload: Mapping[str, Any],
    ) -> None: ...


class World(Protocol):
    """A simulated world that drives the loop for demos and tests. Found by the entry-point group
    ``bakeoff.worlds``: a function ``(seed: int, units: int, weeks: int, ends_on: date) -> World``.

    Week ``weeks - 1`` is the last and ends on `ends_on`. Same arguments and same answers from `decide`: same
    events, in every process. Parameters of the world (hidden tastes) never reach a request or an event."""

    weeks: int
    heuristic: str  # 'package.module:function' of the python policy that is the last resort and a comparator
    explorer: str  # the python policy of random feasible answers with known propensity
    experiment_file: Path  # TOML: the experiment that a demo runs

    def week_start(self, week: int) -> date:
        """First day of `week` (0 to weeks - 1)."""
        ...

    def units(self, week: int) -> Sequence[str]:
        """Who will ask for a decision in `week`, in the order of `step`."""
        ...

    def step(self, week: int, decide: Decide, emit: Emit, *, only: frozenset[str] | None = None) -> None:
        """Lives one week; weeks must be lived in order. `only` limits it to these units (others stand still)."""
        ...
