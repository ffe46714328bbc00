"""Tracker: the port to the experiment tracker. There is no ambient run: every call names the run it means."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from bakeoff.datasets.model import Dataset

FINGERPRINT_TAG = "train_fingerprint"
COMPLETE_TAG = "complete"  # 'true' once everything buffered was sent and the run ended well


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """A run as the tracker has it, read back."""

    run_id: str
    task: str
    name: str
    status: Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
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

    def start_run(self, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> str:
        """Opens a run with the parameters that are asked for, which cannot change later; returns its id.
        ``tags["task"]`` names the experiment that it belongs to."""
        ...

    def log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        """Adds parameters that were not known at the start. One that is there cannot get another value."""
        ...

    def set_tag(self, run_id: str, key: str, value: str) -> None: ...

    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        """Names `dataset` as the run's training data."""
        ...

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Buffered while the run is open here and sent in batches, at the latest by `finish`; sent at once for
        any other run. Where sending raises Unreachable nothing is lost: the points stay in the buffer."""
        ...

    def log_artifacts(self, run_id: str, folder: Path, path: str | None = None) -> None:
        """Copies everything in `folder` to the run, below `path`."""
        ...

    def finish(self, run_id: str, failed: bool = False) -> None:
        """Sends what is buffered and ends the run."""
        ...

    def read_run(self, run_id: str) -> RunRecord:
        """What the tracker really has, after sending what is buffered."""
        ...

    def register_dataset(self, dataset: Dataset) -> str:
        """Makes `dataset` known with digest, source and schema; returns the id of the run that carries it.
        The same content again is the same run."""
        ...
