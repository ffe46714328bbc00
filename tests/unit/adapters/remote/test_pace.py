"""Turns in a rate limit, by a clock that only waiting moves; and over a real socket."""

import asyncio
import time

from hypothesis import given, settings
from hypothesis import strategies as st

import served
from bakeoff.adapters.remote.connection import Connection, Endpoint, Pace


class Time:
    """Moves only when somebody waits or the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def starts(pace: Pace, clock: Time, pauses: list[float]) -> list[float]:
    found = []
    for pause in pauses:
        clock.now += pause
        await pace()
        found.append(clock.now)
    return found


@settings(deadline=None)  # a machine may be busy
@given(per_minute=st.floats(1, 6000), pauses=st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_two_requests_never_begin_closer_than_the_limit_and_nobody_waits_for_nothing(
    per_minute: float, pauses: list[float]
) -> None:
    clock = Time()
    found = asyncio.run(starts(Pace(per_minute, clock, clock.sleep), clock, pauses))
    every, ready = 60 / per_minute, 0.0
    for begun, pause, before in zip(found, pauses, [-1e9, *found], strict=False):
        ready = max((before if before > -1e9 else 0.0) + pause, before + every)
        assert abs(begun - ready) < 1e-6


def test_retries_and_threads_wait_for_their_turn_too() -> None:
    with served.serving() as server:
        server.fails(served.refuse(503, "busy", retry_after_ms="1"))
        connection = Connection(Endpoint(name="house", base_url=server.url, requests_per_minute=300))
        began = time.monotonic()
        for _ in range(2):  # three requests: two gaps of 0.2 s
            connection.ask(
                lambda client: client.chat.completions.create(model=served.MODEL, messages=[])  # type: ignore[arg-type]
            )
        assert time.monotonic() - began >= 0.39
        connection.close()
