"""A training run as files: all that a worker reads, so that it may run in this process, another one or elsewhere.

    run.json           the spec, where base, start and checkpoints lie, threads, digests of the row files
    rows.jsonl         one training row (or pair) per line, oldest first
    validation.jsonl   likewise
    result.json        written when the run is done

Paths in run.json are relative to it where they lie below it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bakeoff.errors import UsageError
from bakeoff.task import Message
from bakeoff.training.model import CurvePoint, PairRow, TrainingRow, TrainResult, TrainSpec

RUN, RESULT = "run.json", "result.json"
_FILES = {"rows": "rows.jsonl", "validation_rows": "validation.jsonl"}
Row = TrainingRow | PairRow


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFile:
    """What a worker is asked to do."""

    spec: TrainSpec
    rows: Sequence[Row]  # `PairRow` for lora_dpo, else `TrainingRow`
    validation_rows: Sequence[Row]
    base_dir: Path  # folder of the base model
    start_dir: Path | None  # folder of the adapter that `spec.start` names
    out_dir: Path  # where the adapter goes
    checkpoints: Path  # folder of the checkpoints
    every: int | None = None  # steps between two checkpoints; None: by time and share of the run
    threads: int  # CPU threads of each process


def write(folder: Path, run: RunFile) -> Path:
    """Writes the files into `folder`; returns the path of run.json."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, file in _FILES.items():
        lines = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in getattr(run, name))
        (folder / file).write_text(lines, encoding="utf-8")
        digests[name] = hashlib.sha256(lines.encode()).hexdigest()
    body = {
        "spec": asdict(run.spec),
        "sha256": digests,
        "threads": run.threads,
        "every": run.every,
        **{name: _relative(getattr(run, name), folder) for name in ("base_dir", "start_dir", "out_dir", "checkpoints")},
    }
    path = folder / RUN
    path.write_text(json.dumps(body, indent=2) + "\n")
    return path


def read(path: Path) -> RunFile:
    """Raises UsageError for a file that is none, or whose rows are not the ones that it was written with."""
    folder = path.parent
    try:
        body = json.loads(path.read_text())
        spec = TrainSpec(**body["spec"])
        rows = {name: _rows(folder / file, body["sha256"][name]) for name, file in _FILES.items()}
        return RunFile(
            spec=spec,
            rows=rows["rows"],
            validation_rows=rows["validation_rows"],
            base_dir=folder / body["base_dir"],
            start_dir=None if body["start_dir"] is None else folder / body["start_dir"],
            out_dir=folder / body["out_dir"],
            checkpoints=folder / body["checkpoints"],
            every=body["every"],
            threads=body["threads"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not a run file: {type(error).__name__}: {error}", cure="expected what `bakeoff train` writes"
        ) from error


def drop_rows(folder: Path) -> None:
    """Removes the copies of rows, which hold what people asked; run.json and result.json stay."""
    for file in _FILES.values():
        (folder / file).unlink(missing_ok=True)


def write_result(path: Path, result: TrainResult) -> None:
    """Beside the run file."""
    (path.parent / RESULT).write_text(json.dumps(asdict(result), indent=2, default=str) + "\n")


def read_result(path: Path) -> TrainResult:
    """What a worker left beside its run file."""
    body = json.loads((path.parent / RESULT).read_text())
    curves = tuple(CurvePoint(**point) for point in body["curves"])
    return TrainResult(**{**body, "adapter_dir": Path(body["adapter_dir"]), "curves": curves})


def _relative(path: Path | None, folder: Path) -> str | None:
    if path is None:
        return None
    resolved, root = path.resolve(), folder.resolve()
    return str(resolved.relative_to(root) if resolved.is_relative_to(root) else resolved)


def _rows(path: Path, sha256: str) -> list[Row]:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path.name} was changed after {RUN} was written")
    return [_row(json.loads(line)) for line in data.split(b"\n") if line]


def _row(body: dict[str, Any]) -> Row:
    kind = PairRow if "chosen" in body else TrainingRow
    return kind(**{**body, "messages": [Message(**message) for message in body["messages"]]})
