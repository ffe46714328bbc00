import threading
import time

import pytest

from bakeoff.adapters.generation.gate import AdapterGate


def _meet(gate: AdapterGate, adapters: list[str | None], *, patience_s: float) -> int:
    """How many of these get in while all of them wait for each other, for as long as that."""
    inside, most, lock, go = 0, 0, threading.Lock(), threading.Barrier(len(adapters))
    all_in = threading.Event()

    def answer(adapter: str | None) -> None:
        nonlocal inside, most
        go.wait()
        with gate.using(adapter):
            with lock:
                inside += 1
                most = max(most, inside)
                if most == len(adapters):
                    all_in.set()
            all_in.wait(patience_s)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=answer, args=(adapter,)) for adapter in adapters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


def test_answers_with_the_same_adapter_run_side_by_side() -> None:
    assert _meet(AdapterGate(lambda _: None), ["a", "a", "a"], patience_s=60) == 3


def test_answers_with_different_adapters_take_turns() -> None:
    switched: list[str | None] = []
    assert _meet(AdapterGate(switched.append), ["a", "b", None], patience_s=0.05) == 1
    assert {"a", "b"} <= set(switched)


def test_a_switch_happens_only_when_the_adapter_changes() -> None:
    switched: list[str | None] = []
    gate = AdapterGate(switched.append)
    for adapter in (None, "a", "a", None, "b"):
        with gate.using(adapter):
            pass
    assert switched == ["a", None, "b"]


def test_waiting_for_another_adapter_ends_at_the_deadline() -> None:
    gate = AdapterGate(lambda _: None)
    with gate.using("a"), pytest.raises(TimeoutError, match="another adapter"), gate.using("b", 0.01):
        pass


def test_loading_waits_until_nobody_answers_and_leaves_the_bare_base() -> None:
    order: list[str | None] = []
    gate = AdapterGate(order.append)

    def load() -> None:
        with gate.alone():
            order.append("loading")

    loader = threading.Thread(target=load)
    with gate.using("a"):
        loader.start()
        loader.join(0.05)
        order.append("answered")
    loader.join()
    assert order == ["a", "answered", "loading", None]


def test_a_steady_stream_with_one_adapter_keeps_nobody_waiting_who_needs_another() -> None:
    """A test of two adapters over one base: the small arm must not starve behind the large one."""
    gate, stop = AdapterGate(lambda _: None), threading.Event()

    def stream() -> None:
        while not stop.is_set():
            with gate.using("large"):
                time.sleep(0.002)

    threads = [threading.Thread(target=stream) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            with gate.using("small", 60.0):
                pass
        with gate.alone(60.0):
            pass
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def test_who_gives_up_lets_the_next_one_pass() -> None:
    gate, done = AdapterGate(lambda _: None), threading.Event()
    with gate.using("a"):
        impatient = threading.Thread(target=lambda: _given_up(gate, done))
        impatient.start()
        assert done.wait(60)
        with gate.using("a", 60.0):  # joins those who run: nobody waits before it any longer
            pass
        impatient.join(60)


def _given_up(gate: AdapterGate, done: threading.Event) -> None:
    with pytest.raises(TimeoutError), gate.using("b", 0.02):
        pass
    done.set()
