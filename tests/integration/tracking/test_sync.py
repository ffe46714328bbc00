"""A sync that is killed anywhere is finished by another, and everything arrives once."""

import json
from pathlib import Path
from typing import Any

import pytest

from bakeoff.adapters import tracking
from bakeoff.cli.runs import send
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Refused, Unreachable, UsageError
from bakeoff.training import outbox
from bakeoff.training.metric_log import MetricLog
from bakeoff.training.outbox import Done, Started

STEPS = ("history", "log_points", "log_params", "log_artifacts", "set_tag", "read_run", "finish")


class Killed(BaseException):
    pass


class Away:
    def log_points(self, *_: Any) -> None:
        raise Unreachable("no tracker")


class Cut:
    """The real tracker; the process dies right before or right after one of its answers."""

    def __init__(self, tracker: Any, at: str, when: str) -> None:
        self.tracker, self.at, self.when = tracker, at, when

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.tracker, name)
        if name != self.at:
            return method

        def cut(*args: Any, **kwargs: Any) -> Any:
            if self.when == "after":
                method(*args, **kwargs)
            raise Killed

        return cut


@pytest.fixture
def folder(mlflow: tracking.Connections, dataset: Dataset, tmp_path: Path) -> Path:
    """A training that is over; the tracker got a third of its points."""
    run_id = mlflow.tracker.start_run("sft", {"epochs": 1}, {"task": dataset.task})
    folder = tmp_path / "runs" / "abc"
    (folder / "bundle" / "adapter").mkdir(parents=True)
    (folder / "bundle" / "adapter" / "w.safetensors").write_bytes(b"w")
    (folder / "report").mkdir()
    (folder / "report" / "eval_rows.jsonl").write_text("{}")
    outbox.start(folder, Started(run_id=run_id, task=dataset.task, name="sft", train_fingerprint="sha256:abc"))
    path = folder / outbox.POINTS
    with MetricLog(path, Away(), run_id, clock=lambda: 1.0) as log:  # type: ignore[arg-type]
        for step in range(30):
            log.log({"training_loss": 1 / (step + 1)}, step)
    points = list(outbox.read_points(path))
    mlflow.tracker.log_points(run_id, points[:10])
    return folder


def end(folder: Path) -> None:
    artifacts = {"bundle": "", "report": "report"}
    outbox.finish(folder, Done(params={"steps": 30}, tags={"adapter_digest": "sha256:w"}, artifacts=artifacts))


def assert_whole(mlflow: tracking.Connections, folder: Path) -> None:
    started = outbox.started(folder)
    assert started is not None
    record = mlflow.tracker.read_run(started.run_id)
    assert record.status == "FINISHED"
    assert record.points == {"training_loss": 30}
    assert record.params == {"epochs": "1", "steps": "30"}
    assert record.tags["adapter_digest"] == "sha256:w"
    assert record.tags["complete"] == "true"
    assert record.artifacts == ("adapter/w.safetensors", "report/eval_rows.jsonl")
    assert outbox.state(folder) == "synced"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_sync_is_finished_by_the_next(
    mlflow: tracking.Connections, folder: Path, step: str, when: str
) -> None:
    end(folder)
    with pytest.raises(Killed):
        outbox.sync(Cut(mlflow.tracker, step, when), folder)
    assert outbox.state(folder) == "waiting"
    outbox.sync(mlflow.tracker, folder)
    assert_whole(mlflow, folder)


def test_only_what_is_missing_is_sent(mlflow: tracking.Connections, folder: Path) -> None:
    end(folder)
    assert outbox.sync(mlflow.tracker, folder).points == 20
    assert outbox.sync(mlflow.tracker, folder).points == 0
    assert_whole(mlflow, folder)


def test_a_training_that_is_not_over_is_not_sent(mlflow: tracking.Connections, folder: Path) -> None:
    assert outbox.state(folder) == "open"
    with pytest.raises(UsageError, match="is not over"):
        outbox.sync(mlflow.tracker, folder)


def test_files_that_do_not_arrive_are_noticed(mlflow: tracking.Connections, folder: Path) -> None:
    class Swallows:
        def __getattr__(self, name: str) -> Any:
            return getattr(mlflow.tracker, name)

        def log_artifacts(self, *_: Any) -> None: ...

    end(folder)
    with pytest.raises(Refused, match="2 of 2 files did not arrive"):
        outbox.sync(Swallows(), folder)  # type: ignore[arg-type]
    assert outbox.state(folder) == "waiting"


def test_a_run_is_found_by_its_id_below_the_work_folder(folder: Path, tmp_path: Path) -> None:
    ((path, started),) = outbox.folders(tmp_path)
    assert (path, outbox.folder_of(tmp_path, started.run_id)) == (folder, folder)
    with pytest.raises(UsageError, match="has no folder"):
        outbox.folder_of(tmp_path, "other")


def test_a_run_of_another_tracker_is_kept_and_named(mlflow: tracking.Connections, folder: Path) -> None:
    """Somebody pointed at another server: what was trained must not be thrown away."""
    end(folder)
    stranger = Started(run_id="0" * 32, task="t", name="sft", train_fingerprint="sha256:abc")
    outbox.start(folder, stranger)
    for act in (outbox.sync_or_explain, outbox.resume):
        with pytest.raises(UsageError, match="MLFLOW_TRACKING_URI"):
            act(mlflow.tracker, folder)
    assert outbox.state(folder) == "waiting"


def test_a_run_that_cannot_be_sent_does_not_hold_up_the_others(mlflow: tracking.Connections, folder: Path) -> None:
    end(folder)
    strange = folder.with_name("aaa")
    strange.mkdir()
    outbox.start(strange, Started(run_id="0" * 32, task="t", name="sft", train_fingerprint="sha256:a"))
    outbox.finish(strange, Done(params={}, tags={}, artifacts={}))
    sent, stuck = send(mlflow.tracker, [strange, folder])
    assert_whole(mlflow, folder)
    assert len(sent) == len(stuck) == 1
    assert "0" * 32 in str(stuck[0])


def test_a_training_that_goes_on_is_open_again_and_keeps_its_points(folder: Path) -> None:
    end(folder)
    outbox.reopen(folder)
    assert outbox.state(folder) == "open"
    assert len(list(outbox.read_points(folder / outbox.POINTS))) == 30
    assert json.loads((folder / outbox.STARTED).read_text())["name"] == "sft"
