"""Progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY_S = 15.0


class TerminalProgress:
    """`lifecycle.Progress` for people. Nothing is ever written to stdout."""

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """A bar that appears with its first move; quick stages leave no trace."""
        if sys.stderr.isatty():
            yield from _bar(name)
        else:
            yield from _lines(name)


def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("  {task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(name: str) -> Iterator[Callable[[int, int], None]]:
    started = said = time.monotonic()

    def move(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _EVERY_S and 0 < done < total:
            said = now
            left = (now - started) / done * (total - done)
            print(f"  {name}: {done}/{total}, about {left:.0f} s left", file=sys.stderr, flush=True)

    yield move
