import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from bakeoff.errors import Unreachable
from bakeoff.training.metric_log import MetricLog


class Flaky:
    """Keeps what it could not send, as the port asks."""

    def __init__(self) -> None:
        self.down = False
        self.calls = 0
        self.kept: list[tuple[float, int]] = []

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        assert run_id == "r1"
        self.calls += 1
        self.kept.append((metrics["training_loss"], step))
        if self.down:
            raise Unreachable("no tracker")


def _log(path: Path, tracker: Flaky) -> MetricLog:
    return MetricLog(path, tracker, "r1")  # type: ignore[arg-type]


def test_points_go_to_the_file_and_to_the_tracker(tmp_path: Path) -> None:
    tracker = Flaky()
    log = _log(tmp_path / "metrics.jsonl", tracker)
    log.log({"training_loss": 0.5}, 1)
    assert tracker.kept == [(0.5, 1)]
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "training_loss": 0.5}


def test_an_outage_neither_stops_training_nor_loses_or_doubles_a_point(tmp_path: Path) -> None:
    """Step 2 finds the tracker down and stays in its buffer; 3 and 4 wait here; all arrive once."""
    tracker = Flaky()
    log = _log(tmp_path / "metrics.jsonl", tracker)
    log.log({"training_loss": 0.1}, 1)
    tracker.down = True
    for step in (2, 3, 4):
        log.log({"training_loss": step / 10}, step)
    assert tracker.calls == 2, "a tracker that is down is not asked at each step"
    tracker.down = False
    log.send()
    log.log({"training_loss": 0.5}, 5)
    assert tracker.kept == [(0.1, 1), (0.2, 2), (0.3, 3), (0.4, 4), (0.5, 5)]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 5


def test_a_tracker_that_stays_down_is_reported_at_the_end(tmp_path: Path) -> None:
    tracker = Flaky()
    log = _log(tmp_path / "metrics.jsonl", tracker)
    tracker.down = True
    log.log({"training_loss": 0.1}, 1)
    log.log({"training_loss": 0.2}, 2)
    with pytest.raises(Unreachable):
        log.send()
    tracker.down = False
    log.send()
    assert tracker.kept == [(0.1, 1), (0.2, 2)]
