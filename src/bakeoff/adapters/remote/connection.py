"""A server, and requests to it under a deadline and a rate limit, by the `openai` library.

The library retries what may pass (no connection, 408, 409, 429, 5xx) after exponential waits with jitter, and keeps
to Retry-After up to two minutes. It knows no deadline for all of that together. So requests run in an event loop,
which cuts a call off in the middle of whatever it does: a wait, a body that drips, a turn in the rate limit.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bakeoff.adapters.remote.problems import explained, too_slow
from bakeoff.errors import UsageError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")
CONNECT_S = 5.0
"""Seconds to wait for a connection, once; a model may think for minutes, a socket opens at once."""
NO_KEY = "none"
"""The library wants a key; a server that asks for none does not look at it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server as this machine reaches it."""

    name: str  # as policies call it
    base_url: str  # with '/v1' where the server has it
    key: str | None = None
    key_variable: str | None = None  # where the key comes from, for people
    timeout_s: float = 120.0  # for one answer, retries and turns in the rate limit included
    retries: int = 3
    requests_per_minute: float | None = None  # of this process, retries included
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r}, {self.base_url!r})"  # never the key


class Pace:
    """Lets a request begin every ``60 / per_minute`` seconds: bursts are what servers answer with 429."""

    def __init__(
        self,
        per_minute: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._every, self._clock, self._sleep = 60.0 / per_minute, clock, sleep
        self._next = float("-inf")

    async def __call__(self, _request: object = None) -> None:
        """Waits for a turn; the HTTP client hands the request to its hooks."""
        now = self._clock()
        turn = max(now, self._next)
        self._next = turn + self._every
        if turn > now:
            await self._sleep(turn - now)


class Connection:
    """One server for any number of calls, from any thread: they share sockets and the rate limit."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Opens nothing yet."""
        self.endpoint = endpoint
        self._lock = threading.Lock()
        self._opened: tuple[AsyncOpenAI, _Loop] | None = None

    def ask(self, question: "Callable[[AsyncOpenAI], Awaitable[T]]", limit_s: float | None = None, what: str = "") -> T:
        """What the server says to `question`, in at most `limit_s` seconds, or the endpoint's own limit where that
        is shorter. `what`: the model asked, for messages.

        Raises TimeoutError at `limit_s`; Unreachable where the server does not answer (at the endpoint's own limit
        one that is a TimeoutError too); UsageError where it does not take the question or the key, and where the
        `openai` library is not installed."""
        client, loop = self._open()
        import openai

        patience = self.endpoint.timeout_s
        limit = patience if limit_s is None else min(limit_s, patience)
        try:
            return loop.run(_within(limit, question(client)))
        except TimeoutError as error:
            if limit == limit_s:
                raise TimeoutError(f"the deadline passed: endpoint {self.endpoint.name!r} took {limit:g} s") from error
            raise too_slow(self.endpoint) from error
        except (openai.OpenAIError, ValueError) as error:  # ValueError: a body that is no JSON
            raise explained(error, self.endpoint, what) from error

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                client, loop = self._opened
                loop.close(client.close())
                self._opened = None

    def _open(self) -> "tuple[AsyncOpenAI, _Loop]":
        """Client and loop of this process: a fork has the parent's objects, but not the thread that drives them."""
        with self._lock:
            if self._opened is None or not self._opened[1].is_alive:
                self._opened = (_client(self.endpoint), _Loop())
            return self._opened


def _client(endpoint: Endpoint) -> "AsyncOpenAI":
    try:
        import httpx2
        import openai
    except ImportError as error:
        raise UsageError(
            f"endpoint {endpoint.name!r} needs the openai library: {error}", cure="pip install 'bakeoff[openai]'"
        ) from error
    turns: list[Callable[..., Any]] = [Pace(endpoint.requests_per_minute)] if endpoint.requests_per_minute else []
    timeout = httpx2.Timeout(endpoint.timeout_s, connect=min(CONNECT_S, endpoint.timeout_s))
    return openai.AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.key or NO_KEY,
        max_retries=endpoint.retries,
        timeout=timeout,
        http_client=openai.DefaultAsyncHttpxClient(timeout=timeout, event_hooks={"request": turns}),
    )


async def _within(seconds: float, answer: Awaitable[T]) -> T:
    async with asyncio.timeout(seconds):
        return await answer


class _Loop:
    """An event loop in a thread of its own. The thread is a daemon: nobody has to close it for a process to end."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for `work`; whatever interrupts the wait ends the work."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        self.run(last)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
