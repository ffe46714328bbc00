"""Metrics that survive a tracker outage: a file first, the tracker after it (design rule 3)."""

import json
from collections.abc import Mapping
from pathlib import Path

from bakeoff.errors import Unreachable
from bakeoff.training.tracker import Tracker


class MetricLog:
    """Writes each point to a JSON-lines file and passes it on to the tracker. While the tracker is down the
    file goes on alone, so training is not disturbed; `send` catches up."""

    def __init__(self, path: Path, tracker: Tracker, run_id: str) -> None:
        self.path = path
        self.tracker = tracker
        self.run_id = run_id
        self._waiting: list[tuple[dict[str, float], int]] = []  # the tracker has never been given these
        self._down = False

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Never raises for the tracker's sake."""
        point = {name: float(value) for name, value in metrics.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **point}) + "\n")
        if self._down:
            self._waiting.append((point, step))
            return
        try:
            self.tracker.log_metrics(self.run_id, point, step)
        except Unreachable:
            self._down = True  # not asked again before the end: each try may take seconds

    def send(self) -> None:
        """Gives the tracker what it has not got. Raises Unreachable where it is still down: then the run is
        not complete and its model cannot be registered."""
        while self._waiting:
            point, step = self._waiting.pop(0)
            try:
                self.tracker.log_metrics(self.run_id, point, step)
            except Unreachable:  # this point is in the tracker's buffer, the rest still waits here
                self._down = True
                raise
        self._down = False
