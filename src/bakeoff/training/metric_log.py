"""Metrics that survive a tracker outage: a file first, the tracker after it (design rule 3).

The file is the truth. A thread of its own passes points on, so training never waits for a tracker that is slow
or away; what the tracker lacks in the end, `outbox.sync` sends.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bakeoff.training.tracker import MetricPoint, Tracker

PAUSE_S = 1.0  # points of this time travel in one request
RETRY_S = 10.0  # a tracker that is away is asked again after this time


class MetricLog:
    """Writes each point to a JSON-lines file and has a thread pass it on. A point that is in the file already (by
    name and step: a resumed run repeats some) is left out. Use as a context: the thread ends with it."""

    def __init__(
        self,
        path: Path,
        tracker: Tracker,
        run_id: str,
        *,
        clock: Callable[[], float],
        pause_s: float = PAUSE_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """`clock`: seconds since the epoch. What the file holds already is kept, but a torn last line."""
        self.path, self._tracker, self._run_id, self._clock = path, tracker, run_id, clock
        self._pause_s, self._retry_s = pause_s, retry_s
        self._known = {(point.name, point.step) for point in read_points(path)}
        _mend(path)
        self._waiting: list[MetricPoint] = []
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._pass_on, name=f"metrics of {run_id}", daemon=True)
        self._thread.start()

    def __enter__(self) -> "MetricLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Never raises for the tracker's sake and never waits for it."""
        now = int(self._clock() * 1000)
        points = [
            MetricPoint(name=name, value=float(value), step=step, at_ms=now)
            for name, value in metrics.items()
            if (name, step) not in self._known
        ]
        self._known.update((point.name, point.step) for point in points)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(_line(point) for point in points)
        with self._changed:
            self._waiting += points
            self._changed.notify()

    def close(self, wait_s: float = 0.0) -> None:
        """Ends the thread; waits at most `wait_s` seconds for what it is sending."""
        self._stopping.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(wait_s)

    def _pass_on(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping.is_set())
            self._stopping.wait(self._pause_s)
            with self._changed:
                batch = list(self._waiting)
            try:
                self._tracker.log_points(self._run_id, batch)
            except Exception:  # whatever a tracker does, training goes on; `sync` reports what stays unsent
                self._stopping.wait(self._retry_s)
                continue
            with self._changed:
                del self._waiting[: len(batch)]


def read_points(path: Path) -> Iterator[MetricPoint]:
    """Points of a file in their order; none where it is missing. A torn last line (the process was killed) is left
    out."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield MetricPoint(**json.loads(line))


def _line(point: MetricPoint) -> str:
    body = {"name": point.name, "value": point.value, "step": point.step, "at_ms": point.at_ms}
    return json.dumps(body) + "\n"  # NaN and inf are written as Python reads them back


def _mend(path: Path) -> None:
    """Cuts off a torn last line, so that the next one begins on a line of its own."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
