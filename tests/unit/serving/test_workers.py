"""Threads that may hang: the caller never waits longer than it has time."""

import threading
import time

import pytest

from bakeoff.serving import workers as module
from bakeoff.serving.model import NoAnswer
from bakeoff.serving.workers import Workers


def wait_until(true: object, seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < ends
        time.sleep(0.005)


def fails() -> None:
    raise ValueError("no")


def times_out() -> None:
    raise TimeoutError("the engine looked at its clock")


def test_a_call_gives_what_it_returns_or_raises() -> None:
    pool = Workers("v", size=2, late_limit=1)
    assert pool.run(lambda: 7, within_s=30) == 7
    with pytest.raises(ValueError, match="no"):
        pool.run(fails, within_s=30)
    with pytest.raises(TimeoutError, match="looked at its clock"):
        pool.run(times_out, within_s=30)
    assert pool.late == 0


def test_a_call_that_hangs_is_left_behind_and_its_place_is_taken_by_another() -> None:
    pool, go_on = Workers("v", size=1, late_limit=2), threading.Event()
    began = time.monotonic()
    with pytest.raises(NoAnswer) as raised:
        pool.run(go_on.wait, within_s=1.5)
    assert time.monotonic() - began < 30
    assert (raised.value.kind, pool.late) == ("late", 1)
    assert pool.run(lambda: 7, within_s=30) == 7
    go_on.set()
    wait_until(lambda: pool.late == 0)
    assert pool.run(lambda: 8, within_s=30) == 8


def test_with_too_many_left_behind_nothing_more_is_begun_until_one_ends() -> None:
    pool, go_on = Workers("v", size=1, late_limit=2), threading.Event()
    called: list[int] = []
    for _ in range(2):
        with pytest.raises(NoAnswer):
            pool.run(go_on.wait, within_s=1.5)
    with pytest.raises(NoAnswer, match="2 earlier answers of v have not ended yet") as raised:
        pool.run(lambda: called.append(1), within_s=30)
    assert raised.value.kind == "busy"
    assert not called
    go_on.set()
    wait_until(lambda: pool.late == 0)
    pool.run(lambda: called.append(2), within_s=30)
    assert called == [2]


def test_who_waits_too_long_for_a_place_is_busy_and_never_begins() -> None:
    pool, go_on = Workers("v", size=1, late_limit=2), threading.Event()
    first = threading.Thread(target=lambda: pool.run(go_on.wait, within_s=60))
    first.start()
    wait_until(lambda: pool._jobs == module.deque() and pool._threads == 1)
    called: list[int] = []
    with pytest.raises(NoAnswer, match="all 1 workers of v were taken") as raised:
        pool.run(lambda: called.append(1), within_s=0.05)
    assert raised.value.kind == "busy"
    go_on.set()
    first.join(60)
    assert pool.run(lambda: 3, within_s=30) == 3
    assert not called
    assert pool.late == 0


def test_no_more_run_at_once_than_there_are_places() -> None:
    pool = Workers("v", size=3, late_limit=1)
    lock, full, now, most = threading.Lock(), threading.Event(), [0], [0]

    def call() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if most[0] == 3:
                full.set()
        full.wait(60)
        time.sleep(0.002)
        with lock:
            now[0] -= 1

    threads = [threading.Thread(target=lambda: [pool.run(call, within_s=60) for _ in range(10)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most[0] == 3


def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.05)
    pool = Workers("ending", size=4, late_limit=1)
    pool.run(lambda: None, within_s=30)
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "answers ending"])
    assert pool.run(lambda: 7, within_s=30) == 7


def test_under_load_with_random_ends_every_call_is_answered_or_refused_and_nothing_leaks() -> None:
    """Ends at the very moment at which the caller gives up are the ones that go wrong."""
    pool = Workers("v", size=4, late_limit=1000)
    results: list[object] = []

    def call(n: int) -> None:
        for m in range(40):
            pause = ((n * 31 + m * 17) % 7) / 1000
            try:
                results.append(pool.run(lambda pause=pause: time.sleep(pause) or 1, within_s=0.003))  # type: ignore[misc]
            except NoAnswer as error:
                results.append(error.kind)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 320
    assert set(results) <= {1, "late", "busy"}
    wait_until(lambda: pool.late == 0)
    wait_until(lambda: pool._idle == pool._threads)
    assert 0 < pool._threads <= 4
    assert not pool._jobs
