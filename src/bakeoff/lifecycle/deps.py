"""What the arrows need from outside, as ports."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from bakeoff.gates.model import Gate
from bakeoff.inference.model import Engines
from bakeoff.registry.model import ModelRegistry
from bakeoff.replay.workers import Workers
from bakeoff.serving.model import Transactions
from bakeoff.training.run import Bases
from bakeoff.training.tracker import Tracker


class Progress(Protocol):
    """Tells a person what is going on; a silent one is fine."""

    def stage(self, name: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """A bar named `name`; the function that it gives moves it to (done, total)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Deps:
    """Everything outside, as ports. Wired in `bootstrap`, nowhere else."""

    db: Transactions
    tracker: Tracker
    models: ModelRegistry
    engines: Engines
    workers: Workers  # who answer a replay
    bases: Bases  # base models by name
    datasets_root: str
    work: Path  # scratch folder for adapters and bundles
    reports: Path  # folder for the pages that people read before they sign
    gate_in_force: Callable[[str], Gate | None]  # the rules of a task, by its name; None where it brings none
    clock: Callable[[], datetime]  # UTC
    progress: Progress
    threads: int  # for a local model
    provenance: Callable[[], Mapping[str, str]]  # git commit and lock digest of the running code; read when asked for
