"""What a run still owes the tracker, kept in the run's folder, so that an outage costs no training.

    {work}/runs/{train fingerprint}/
        started.json      which run this is
        metrics.jsonl     every point (`MetricLog`)
        done.json         how it ended: effective parameters, tags, folders of artefacts
        synced.json       the tracker has everything

`sync` may be killed and run again, by anybody: each of its steps leaves what is there as it is.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bakeoff.errors import Refused, Unreachable, UsageError
from bakeoff.training.metric_log import read_points
from bakeoff.training.tracker import MetricPoint, Tracker

STARTED, POINTS, DONE, SYNCED = "started.json", "metrics.jsonl", "done.json", "synced.json"
State = Literal["open", "waiting", "synced"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A run that was opened from a folder."""

    run_id: str
    task: str
    name: str
    train_fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What the tracker must get when training is over."""

    failed: bool = False
    params: Mapping[str, Any]  # the effective ones
    tags: Mapping[str, str]
    artifacts: Mapping[str, str]  # folder, relative to the run's -> path in the run ('' = its root)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What one sync did."""

    run_id: str
    points: int  # that the tracker lacked
    failed: bool  # the run is marked as failed, because training was


def start(folder: Path, started: Started) -> None:
    _write(folder / STARTED, asdict(started))


def finish(folder: Path, done: Done) -> None:
    """From now on the run waits for `sync`."""
    _write(folder / DONE, asdict(done))


def reopen(folder: Path) -> None:
    """Training goes on: what was said about its end no longer holds. Its points stay."""
    for name in (SYNCED, DONE):
        (folder / name).unlink(missing_ok=True)


def started(folder: Path) -> Started | None:
    """None where no run was opened from this folder."""
    path = folder / STARTED
    return Started(**json.loads(path.read_text())) if path.is_file() else None


def state(folder: Path) -> State:
    """'open': training, or killed; 'waiting': over, the tracker lacks something; 'synced'."""
    if (folder / SYNCED).is_file():
        return "synced"
    return "waiting" if (folder / DONE).is_file() else "open"


def folders(work: Path) -> Iterator[tuple[Path, Started]]:
    """Run folders below a work folder, with what was started from them."""
    for path in sorted((work / "runs").glob(f"*/{STARTED}")):
        found = started(path.parent)
        if found is not None:
            yield path.parent, found


def folder_of(work: Path, run_id: str) -> Path:
    """Raises UsageError where this machine did not make the run."""
    for folder, found in folders(work):
        if found.run_id == run_id:
            return folder
    raise UsageError(
        f"run {run_id} has no folder below {work / 'runs'}",
        cure="`bakeoff runs sync` works where the run was trained; without --run-id it sends all that waits",
    )


def sync(tracker: Tracker, folder: Path) -> Sent:
    """Sends what the tracker lacks and ends the run: points, parameters, artefacts, tags, status. Each point
    arrives once, however often this is tried.

    Raises Unreachable where the tracker is (still) away: nothing is lost. Raises UsageError where training is not
    over, Refused where files that were sent are not there when read back."""
    opened = started(folder)
    if opened is None or state(folder) == "open":
        raise UsageError(
            f"the training in {folder} is not over", cure="start the same `bakeoff train` again: it goes on from there"
        )
    done = Done(**json.loads((folder / DONE).read_text()))
    missing = _missing(tracker, folder, opened.run_id)
    tracker.log_points(opened.run_id, missing)
    tracker.log_params(opened.run_id, done.params)
    for place, path in done.artifacts.items():
        tracker.log_artifacts(opened.run_id, folder / place, path or None)
    for key, value in done.tags.items():
        tracker.set_tag(opened.run_id, key, value)
    _check_arrived(tracker, folder, opened.run_id, done)
    tracker.finish(opened.run_id, failed=done.failed)
    _write(folder / SYNCED, {"run_id": opened.run_id})
    return Sent(run_id=opened.run_id, points=len(missing), failed=done.failed)


def resume(tracker: Tracker, folder: Path) -> str:
    """Takes up the run that was started from `folder`; returns its id. Raises UsageError where the tracker does not
    know it."""
    found = started(folder)
    assert found is not None  # the caller looked
    with _known(folder):
        tracker.resume_run(found.run_id)
    reopen(folder)
    return found.run_id


@contextmanager
def _known(folder: Path) -> Iterator[None]:
    """A run that another tracker made must not be thrown away by mistake."""
    try:
        yield
    except UsageError as error:
        raise UsageError(
            f"{folder} holds a run that this tracker does not know: {error}",
            cure="set MLFLOW_TRACKING_URI to the tracker that it was opened with, or remove the folder to train anew",
        ) from error


def sync_or_explain(tracker: Tracker, folder: Path) -> Sent:
    """`sync` for whoever trains. Raises Unreachable that says what to do when the tracker is back, UsageError where it
    does not know the run."""
    try:
        with _known(folder):
            return sync(tracker, folder)
    except Unreachable as error:
        if json.loads((folder / DONE).read_text())["failed"]:
            raise
        found = started(folder)
        run_id = found.run_id if found else ""
        raise Unreachable(
            f"training is done and kept in {folder}, but nothing can be registered: {error}",
            cure=f"when it is back: bakeoff runs sync --run-id {run_id}, then bakeoff register --run-id {run_id}",
        ) from error


def _missing(tracker: Tracker, folder: Path, run_id: str) -> list[MetricPoint]:
    """Points of the file that the tracker has not got."""
    there: dict[str, frozenset[tuple[int, int]]] = {}
    missing = []
    for point in read_points(folder / POINTS):
        if point.name not in there:
            there[point.name] = tracker.history(run_id, point.name)
        if (point.step, point.at_ms) not in there[point.name]:
            missing.append(point)
    return missing


def _check_arrived(tracker: Tracker, folder: Path, run_id: str, done: Done) -> None:
    there = set(tracker.read_run(run_id).artifacts)
    wanted = [
        "/".join(filter(None, (path, file.relative_to(folder / place).as_posix())))
        for place, path in done.artifacts.items()
        for file in sorted((folder / place).rglob("*"))
        if file.is_file()
    ]
    lost = [path for path in wanted if path not in there]
    if lost:
        raise Refused(
            f"run {run_id}: {len(lost)} of {len(wanted)} files did not arrive: {', '.join(lost[:3])}",
            cure="look at the tracker's artefact store, then: bakeoff runs sync",
        )


def _write(path: Path, body: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(body, file, indent=2, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
