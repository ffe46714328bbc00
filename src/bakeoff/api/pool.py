"""A bounded number of threads for what blocks, so that the event loop never does."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from bakeoff.api.problems import Problem

T = TypeVar("T")


class WorkPool:
    """Used from one event loop only, which also keeps the count."""

    def __init__(self, *, threads: int, waiting: int) -> None:
        self.threads, self.waiting = threads, waiting
        self.inside = 0
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="bakeoff-api")

    async def run(self, function: Callable[..., T], *args: Any, **named: Any) -> T:
        """Runs `function` in a thread. Raises Problem where enough wait already."""
        if self.inside >= self.threads + self.waiting:
            raise Problem(
                "busy",
                f"{self.threads} requests are worked on and {self.waiting} wait",
                headers={"retry-after": "1"},
            )
        self.inside += 1
        future = self._executor.submit(partial(function, *args, **named))
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _at_once(loop, self._leave))
        # The thread goes on where the caller is gone: what it does becomes durable or not, never half of it.
        return await asyncio.shield(asyncio.wrap_future(future))

    def _leave(self) -> None:
        self.inside -= 1

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


def _at_once(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)
