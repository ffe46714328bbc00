"""What is in memory: loaded once, before it serves where that can be known, and freed when nobody needs it."""

import threading
import time
from typing import Any

import pytest

from bakeoff.inference.model import PolicySpec
from bakeoff.policies.model import PolicyVersion
from bakeoff.serving import models as module
from bakeoff.serving.model import NoAnswer
from bakeoff.serving.models import Models


class Shelf:
    """Engines that can be told to be slow or broken."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.released: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.fails = False

    def open(self, spec: PolicySpec, *, threads: int | None = None) -> Any:
        self.opened.append(spec.prompt_version)
        self.go_on.wait(20)
        if self.fails:
            raise OSError("the disk is gone")
        return f"engine {spec.prompt_version}"

    def release(self, spec: PolicySpec) -> None:
        self.released.append(spec.prompt_version)


def version(number: int, **spec: Any) -> PolicyVersion:
    made = PolicySpec(task="toy", prompt_version=str(number), **{"engine": "transformers", **spec})
    return PolicyVersion(
        policy_version_id=str(number), policy_id="p", version=number, spec=made, fingerprint=made.fingerprint,
        status="approved",
    )  # fmt: skip


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def models(shelf: Shelf, clock: Clock | None = None) -> Models:
    return Models(shelf, lambda *_: None, clock=clock or Clock())


def test_many_that_ask_at_once_load_once(shelf: Shelf) -> None:
    shelf.go_on.clear()
    loaded, found = models(shelf), []
    threads = [threading.Thread(target=lambda: found.append(loaded.engine(version(1), within_s=20))) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    shelf.go_on.set()
    for thread in threads:
        thread.join(20)
    assert found == ["engine 1"] * 5
    assert shelf.opened == ["1"]


def test_who_cannot_wait_goes_without_and_the_load_goes_on(shelf: Shelf) -> None:
    shelf.go_on.clear()
    loaded = models(shelf)
    with pytest.raises(NoAnswer, match="p/1 was not in memory within 0.0 s") as raised:
        loaded.engine(version(1), within_s=0.01)
    assert raised.value.kind == "loading"
    assert loaded.problem(version(1)) == "it is being loaded"
    shelf.go_on.set()
    assert loaded.engine(version(1), within_s=20) == "engine 1"
    assert loaded.problem(version(1)) is None
    assert shelf.opened == ["1"]


def test_a_failed_load_is_told_at_once_and_tried_again_later(shelf: Shelf) -> None:
    shelf.fails, clock = True, Clock()
    loaded = models(shelf, clock)
    for _ in range(3):
        with pytest.raises(OSError, match="the disk is gone"):
            loaded.engine(version(1), within_s=20)
    assert shelf.opened == ["1"]
    assert loaded.problem(version(1)) == "OSError: the disk is gone"
    shelf.fails, clock.now = False, module.RETRY_S + 1
    assert loaded.engine(version(1), within_s=20) == "engine 1"


def test_only_what_nobody_needs_or_uses_is_freed_and_only_after_a_while(shelf: Shelf) -> None:
    clock = Clock()
    loaded = models(shelf, clock)
    old, new, busy = version(1), version(2), version(3)
    loaded.preload([old, new, busy], within_s=20)
    with loaded.used(busy):
        clock.now = module.KEEP_S - 1
        loaded.free([new])
        assert shelf.released == []
        clock.now = module.KEEP_S + 1
        loaded.free([new])
        assert shelf.released == ["1"]
    loaded.free([new])
    assert shelf.released == ["1"], "its last answer was just now"
    clock.now += module.KEEP_S + 1
    loaded.free([new])
    assert shelf.released == ["1", "3"]
    assert loaded.engine(old, within_s=20) == "engine 1", "and it comes back when it is needed"


def test_functions_are_loaded_too_and_a_missing_one_is_a_problem(shelf: Shelf) -> None:
    loaded = models(shelf)
    there, absent = version(1, engine="python", function="toy:good"), version(2, engine="python", function="toy:none")
    loaded.preload([there, absent], within_s=20)
    assert loaded.problem(there) is None
    assert "toy:none" in str(loaded.problem(absent))
    assert shelf.opened == []
