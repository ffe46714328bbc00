"""The file is the truth, the tracker follows it, and training never waits."""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from bakeoff.errors import Unreachable
from bakeoff.training.metric_log import MetricLog, read_points
from bakeoff.training.tracker import MetricPoint


class Flaky:
    """A tracker that can be down, or hang."""

    def __init__(self) -> None:
        self.down = False
        self.free = threading.Event()
        self.free.set()
        self.tries = 0
        self.kept: list[tuple[str, float, int]] = []

    def log_points(self, run_id: str, points: Iterable[MetricPoint]) -> None:
        assert run_id == "r1"
        self.tries += 1
        self.free.wait(60)
        if self.down:
            raise Unreachable("no tracker")
        self.kept += [(point.name, point.value, point.step) for point in points]


def opened(path: Path, tracker: Flaky, *, pause_s: float = 0.0, retry_s: float = 0.01) -> MetricLog:
    return MetricLog(path, tracker, "r1", clock=lambda: 1.5, pause_s=pause_s, retry_s=retry_s)  # type: ignore[arg-type]


def wait_for(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_points_go_to_the_file_and_to_the_tracker_while_training_goes_on(path: Path) -> None:
    tracker = Flaky()
    with opened(path, tracker) as log:
        log.log({"training_loss": 0.5, "learning_rate": 0.1}, 1)
        wait_for(lambda: len(tracker.kept) == 2)
    assert list(read_points(path)) == [
        MetricPoint(name="training_loss", value=0.5, step=1, at_ms=1500),
        MetricPoint(name="learning_rate", value=0.1, step=1, at_ms=1500),
    ]


def test_points_of_one_pause_travel_together(path: Path) -> None:
    class Pause(threading.Event):
        """Lasts until all is said, however long that takes."""

        def wait(self, timeout: float | None = None) -> bool:
            asked.append(timeout)
            said.wait(60)
            return self.is_set()

    tracker, asked, said = Flaky(), list[float | None](), threading.Event()
    with opened(path, tracker, pause_s=0.2) as log:
        log._stopping = Pause()
        for step in range(50):
            log.log({"training_loss": 0.1}, step)
        said.set()
        wait_for(lambda: len(tracker.kept) == 50)
    assert tracker.tries == 1
    assert asked[0] == 0.2


def test_an_outage_stops_nothing_and_the_curve_catches_up_without_doubles(path: Path) -> None:
    tracker = Flaky()
    tracker.down = True
    with opened(path, tracker) as log:
        for step in range(3):
            log.log({"training_loss": 0.1}, step)
        wait_for(lambda: tracker.tries >= 2)
        assert tracker.kept == []
        tracker.down = False
        wait_for(lambda: len(tracker.kept) == 3)
        log.log({"training_loss": 0.1}, 3)
        wait_for(lambda: len(tracker.kept) == 4)
    assert [step for _, _, step in tracker.kept] == [0, 1, 2, 3]


def test_a_tracker_that_hangs_delays_neither_a_step_nor_the_end(path: Path) -> None:
    tracker = Flaky()
    tracker.free.clear()
    began = time.monotonic()
    with opened(path, tracker) as log:
        log.log({"training_loss": 0.1}, 0)
        wait_for(lambda: tracker.tries == 1)
        for step in range(1, 100):
            log.log({"training_loss": 0.1}, step)
        log.close(0.05)
    assert time.monotonic() - began < 30
    assert len(list(read_points(path))) == 100
    tracker.free.set()


@pytest.mark.parametrize("broken", [ValueError("bad answer"), RuntimeError("half a page of HTML")])
def test_whatever_a_tracker_raises_stays_in_its_thread(path: Path, broken: Exception) -> None:
    class Odd(Flaky):
        def log_points(self, run_id: str, points: Iterable[MetricPoint]) -> None:
            self.tries += 1
            raise broken

    tracker = Odd()
    with opened(path, tracker) as log:
        log.log({"training_loss": 0.1}, 0)
        wait_for(lambda: tracker.tries >= 2)
    assert len(list(read_points(path))) == 1


def test_a_resumed_run_repeats_steps_but_no_point(path: Path) -> None:
    """Killed at step 3 with a torn line, gone on from the checkpoint of step 1."""
    with opened(path, Flaky()) as log:
        for step in (1, 2, 3):
            log.log({"training_loss": step / 10}, step)
    with path.open("a") as file:
        file.write('{"name": "training_loss", "val')
    assert [point.step for point in read_points(path)] == [1, 2, 3], "the torn line is left out"
    with opened(path, Flaky()) as log:
        for step in (2, 3, 4):
            log.log({"training_loss": step / 10}, step)
    assert [(point.step, point.value) for point in read_points(path)] == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]


def test_a_loss_that_is_no_number_is_kept_as_it_is(path: Path) -> None:
    with opened(path, Flaky()) as log:
        log.log({"training_loss": float("nan")}, 1)
    (point,) = read_points(path)
    assert point.value != point.value


def test_a_file_that_is_missing_has_no_points(path: Path) -> None:
    assert list(read_points(path)) == []
