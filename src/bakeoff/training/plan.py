"""What a run would do, before it does it: rows, steps, tokens, time and memory."""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bakeoff.datasets import files
from bakeoff.datasets.model import Dataset, Split
from bakeoff.errors import BakeoffError
from bakeoff.inference.encode import Encoder
from bakeoff.task import Task
from bakeoff.training import launch, run_file, starts, worker
from bakeoff.training.contract import CONTRACT
from bakeoff.training.model import PairRow, TrainingRow, TrainSpec
from bakeoff.training.rows import encode
from bakeoff.training.run import learnable, threads_each
from bakeoff.training.run_file import RunFile
from bakeoff.training.sizes import Memory, memory, read_shape, trainable

WARM_STEPS = 3
"""Steps that are really trained to measure the speed; the first of them only warms up."""
_SPEED_FIELDS = ("base_digest", "recipe", "dtype", "micro_batch", "lora_r", "lora_layers")


@dataclass(frozen=True, kw_only=True, slots=True)
class Crew:
    """Who trains."""

    processes: int
    threads: int  # CPU threads of each


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Trained tokens (without padding) per second on this machine, and how that is known."""

    tokens_per_second: float
    source: str  # a sentence part


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A run that was not started."""

    spec: TrainSpec
    processes: int  # that share every batch
    rows: int  # to train on, per epoch; pairs for lora_dpo
    rows_too_long: int  # more than max_tokens; above 0.5 % the run would be refused
    validation_rows: int
    longest_row: int  # tokens
    tokens: int  # all epochs, without padding
    steps: int  # optimizer steps
    base_parameters: int
    trainable_parameters: int
    memory: Memory  # of each process
    speed: Speed | None  # None: neither measured nor known from a run
    logged: tuple[str, ...]  # what the tracker would get

    @property
    def seconds(self) -> float | None:
        """Of training alone, without loading the model and without the offline evaluation at the end."""
        return None if self.speed is None else self.tokens / self.speed.tokens_per_second


def plan(
    task: Task,
    dataset: Dataset,
    spec: TrainSpec,
    *,
    base_dir: Path,
    work: Path,
    threads: int,
    processes: int = 1,
    measure: bool,
) -> Plan:
    """Reads the dataset and encodes its rows. With `measure`, and where no run of the same kind is kept in `work`,
    trains a few steps on the newest rows in a scratch folder.

    Raises Refused where the recipe cannot run here, UsageError for rows that cannot be encoded."""
    launch.require_machine(spec, processes)
    rows = files.load(dataset.uri, splits=(Split.TRAIN, Split.VALIDATION))
    learn, watch = (learnable(task, rows, split, spec.recipe) for split in (Split.TRAIN, Split.VALIDATION))
    worker.require_pairs(spec, learn)
    crew = Crew(processes=processes, threads=threads_each(threads, processes))
    encoder = Encoder.open(base_dir)
    used = spec.newest(learn)
    encoded = (encode(encoder, row, spec.decoding_mode) for row in used)
    lengths = [len(row.input_ids) for row in encoded if row.carries_loss]
    kept = [length for length in lengths if length <= spec.max_tokens]
    shape = read_shape(base_dir)
    speed = known_speed(work, spec, crew)
    if speed is None and measure and kept:
        start = starts.folder_of(work, spec.start)
        speed = measured_speed(spec, used, base_dir=base_dir, start_dir=start, crew=crew)
    return Plan(
        spec=spec,
        processes=processes,
        rows=len(kept),
        rows_too_long=len(lengths) - len(kept),
        validation_rows=len(watch),
        longest_row=max(kept, default=0),
        tokens=sum(kept) * spec.epochs,
        steps=-(-len(kept) // spec.batch_size) * spec.epochs,
        base_parameters=shape.parameters,
        trainable_parameters=trainable(shape, spec.lora_r, spec.lora_layers),
        memory=memory(shape, spec, max(kept, default=0)),
        speed=speed,
        logged=tuple(f"{item.kind} {item.name}" for item in CONTRACT),
    )


def known_speed(work: Path, spec: TrainSpec, crew: Crew) -> Speed | None:
    """Of the latest run below `work` with the same base, recipe, number format, adapter, micro-batch, processes and
    threads."""
    wanted = {name: getattr(spec, name) for name in _SPEED_FIELDS}
    for path in sorted((work / "runs").glob(f"*/worker/{run_file.RESULT}"), key=_moment, reverse=True):
        try:
            asked = json.loads(path.with_name(run_file.RUN).read_text())
            done: Mapping[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        manned = (done.get("processes", 1), asked["threads"]) == (crew.processes, crew.threads)
        if manned and all(asked["spec"][n] == value for n, value in wanted.items()) and done["seconds"] > 0:
            return Speed(tokens_per_second=done["tokens"] / done["seconds"], source=f"run in {path.parent.parent.name}")
    return None


def _moment(path: Path) -> float:
    return path.stat().st_mtime


def measured_speed(
    spec: TrainSpec,
    rows: Sequence[TrainingRow | PairRow],
    *,
    base_dir: Path,
    start_dir: Path | None,
    crew: Crew,
) -> Speed | None:
    """Trains `WARM_STEPS` steps on the newest rows and times all but the first. None for rows that cannot be trained
    on: the run itself will say why."""
    few = list(rows[-WARM_STEPS * spec.batch_size :])
    short = replace(spec, epochs=1, max_rows=None, min_pairs=None if spec.min_pairs is None else 1)
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run = RunFile(
            spec=short, rows=few, validation_rows=few[:1], base_dir=base_dir, start_dir=start_dir,
            out_dir=place / "adapter", checkpoints=place / "checkpoints", threads=crew.threads,
        )  # fmt: skip
        try:
            path = run_file.write(place, run)
            result = launch.carry_out(path, lambda *_: moments.append(time.perf_counter()), processes=crew.processes)
        except BakeoffError:
            return None
    if len(moments) < 2:
        return None
    tokens = result.tokens / result.steps * (len(moments) - 1)
    return Speed(
        tokens_per_second=tokens / (moments[-1] - moments[0]), source=f"{len(moments) - 1} steps measured just now"
    )
