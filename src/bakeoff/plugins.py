"""Tasks, worlds and migrations come in by entry points: built-ins by the same door as strangers."""

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from bakeoff.errors import UsageError
from bakeoff.task import Task
from bakeoff.world import World


def _load(group: str, name: str) -> Any:
    found = {entry.name: entry for entry in entry_points(group=group)}
    if name not in found:
        raise UsageError(
            f"no {name!r} in entry-point group {group!r}; installed: {', '.join(sorted(found)) or 'none'}",
            cure="install the package that brings it into the same environment",
        )
    try:
        return found[name].load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"entry point {name!r} ({found[name].value}) cannot be loaded: {error}") from error


@cache
def load_task(name: str) -> Task:
    """The task named `name`. Raises UsageError that lists the installed ones."""
    task = _load("bakeoff.tasks", name)()
    if not isinstance(task, Task):
        parts = {*Task.__annotations__, *(part for part in vars(Task) if not part.startswith("_"))}
        missing = sorted(part for part in parts if not hasattr(task, part))
        raise UsageError(f"task {name!r} lacks {', '.join(missing)}", cure="subclass bakeoff.task.TaskBase")
    return task


def load_world(name: str) -> Callable[..., World]:
    """The function that opens the simulated world `name`: (seed, units, weeks, ends_on) -> World."""
    opened: Callable[..., World] = _load("bakeoff.worlds", name)
    return opened


def migration_folders() -> dict[str, Path]:
    """Package name -> folder of plain SQL migrations; bakeoff's own first."""
    folders = {"bakeoff": Path(__file__).parent / "migrations"}
    for entry in sorted(entry_points(group="bakeoff.migrations"), key=lambda entry: entry.name):
        folders[entry.name] = entry.load()()
    return folders
