"""Tracker: the port to the experiment tracker. There is no ambient run: every call names the run it means."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from bakeoff.datasets.model import Dataset

FINGERPRINT_TAG = "train_fingerprint"
COMPLETE_TAG = "complete"  # 'true' once everything kept here was sent and the run ended well
Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricPoint:
    """One value of a metric. Name, step and moment are its identity: the same point twice is one point."""

    name: str
    value: float
    step: int
    at_ms: int  # when it was measured, milliseconds since the epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """A run as a line of a list."""

    run_id: str
    name: str
    status: Status
    started_at: datetime  # UTC
    params: Mapping[str, str]
    tags: Mapping[str, str]  # without the tracker's own
    metrics: Mapping[str, float]  # last value by name


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """A run as the tracker has it, read back."""

    run_id: str
    task: str
    name: str
    status: Status
    params: Mapping[str, str]
    tags: Mapping[str, str]  # without the tracker's own
    metrics: Mapping[str, float]  # last value by name
    points: Mapping[str, int]  # length of each metric's history
    artifacts: tuple[str, ...]  # paths of all files, relative to the run, sorted
    datasets: tuple[str, ...]  # digests (first 32 hex digits) of the datasets that it names as input


class Tracker(Protocol):
    """All methods raise Unreachable where the tracker does not answer, and UsageError for an unknown run."""

    def find_run(self, task: str, train_fingerprint: str) -> RunRecord | None:
        """The latest finished and complete run with this fingerprint."""
        ...

    def list_runs(self, task: str) -> Sequence[RunSummary]:
        """The training runs of a task, latest first: runs that carry no tag ``kind``."""
        ...

    def start_run(self, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> str:
        """Opens a run with the parameters that are asked for, which cannot change later; returns its id.
        ``tags["task"]`` names the experiment that it belongs to."""
        ...

    def resume_run(self, run_id: str) -> None:
        """Marks a run that failed or was killed as running again."""
        ...

    def log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        """Adds parameters that were not known at the start. One that is there cannot get another value."""
        ...

    def set_tag(self, run_id: str, key: str, value: str) -> None: ...

    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        """Names `dataset` as the run's training data."""
        ...

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Sends values measured now, at once. For training, which must not wait for a tracker: `MetricLog`."""
        ...

    def log_points(self, run_id: str, points: Iterable[MetricPoint]) -> None:
        """Sends points in batches. A point that is there already changes nothing."""
        ...

    def history(self, run_id: str, name: str) -> frozenset[tuple[int, int]]:
        """(step, at_ms) of every point of one metric; empty for a metric that nobody logged."""
        ...

    def curve(self, run_id: str, name: str) -> Sequence[tuple[int, float]]:
        """(step, value) of one metric by step, the latest value of each; empty for a metric that nobody logged."""
        ...

    def log_artifacts(self, run_id: str, folder: Path, path: str | None = None) -> None:
        """Copies everything in `folder` to the run, below `path`. The same files again change nothing."""
        ...

    def download(self, run_id: str, to: Path, path: str = "") -> Path:
        """Copies the run's artefacts below `path` into `to`, which is made where it is missing, and returns where
        `path` lies there."""
        ...

    def finish(self, run_id: str, failed: bool = False) -> None:
        """Ends the run, as complete or as failed. Send everything before."""
        ...

    def read_run(self, run_id: str) -> RunRecord:
        """What the tracker really has."""
        ...

    def register_dataset(self, dataset: Dataset) -> str:
        """Makes `dataset` known with digest, source and schema; returns the id of the run that carries it.
        The same content again is the same run."""
        ...
