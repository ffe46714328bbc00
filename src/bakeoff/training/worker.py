"""Carries out a run file: ``python -m bakeoff.training.worker run.json``, or in several processes, each on its share of
every batch: ``torchrun --nproc-per-node 2 -m bakeoff.training.worker run.json``.

It reads that file and torchrun's environment, nothing else, so that another machine needs no other code.
`bakeoff train` calls `execute` in its own process, or has torchrun start workers (`launch`). Started again after a
kill, it goes on from its last checkpoint. On several machines the run's folder must lie where all of them see it.

Of several processes the first one speaks and writes. On stdout, one JSON object a line:
    {"step": 3, "steps": 12, "metrics": {"training_loss": 0.61, ...}}     after every step
    {"adapter_digest": "sha256:..."}                                      in the end
    {"exit_code": 3, "message": "...", "cure": "..."}                     or why there is none
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bakeoff.errors import BakeoffError, Refused, UsageError
from bakeoff.training import run_file
from bakeoff.training.model import OnStep, TrainResult, TrainSpec
from bakeoff.training.run_file import RunFile


def world() -> int:
    """Processes that torchrun started for this run, on all machines; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that speaks and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def execute(path: Path, on_step: OnStep | None = None) -> TrainResult:
    """Trains what `path` says. Raises as `require_machine`, `require_pairs` and the recipe do."""
    run = run_file.read(path)
    require_machine(run.spec, world())
    require_pairs(run.spec, run.rows)
    result = _train(run, on_step if is_first() else None)
    if is_first():
        run_file.write_result(path, result)
    return result


def require_machine(spec: TrainSpec, processes: int) -> None:
    """What a run needs whatever its rows are, checked in seconds: a batch that the processes can share, a GPU for each
    where there are any, for qlora_sft a GPU. Raises UsageError and Refused."""
    import torch

    spec.accumulation(processes)
    _require_gpus(torch.cuda.device_count(), processes)
    if spec.recipe == "qlora_sft":
        from bakeoff.training.recipes import qlora_sft

        qlora_sft.require_gpu()


def require_pairs(spec: TrainSpec, rows: Sequence[Any]) -> None:
    """Raises Refused for fewer edit pairs than lora_dpo wants."""
    if spec.recipe == "lora_dpo" and len(rows) < (spec.min_pairs or 1):
        raise Refused(
            f"{len(rows)} edit pairs in the train split; lora_dpo is offered from {spec.min_pairs} pairs on",
            cure="train lora_sft, which learns from every kept answer; or --min-pairs N where you know better",
        )


def _require_gpus(visible: int, processes: int) -> None:
    """A process trains on one GPU; which one it takes is its number on its machine."""
    here = processes if world() == 1 else int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    if visible > 1 and processes == 1:
        raise UsageError(
            f"{visible} GPUs are visible, one process trains on one",
            cure=f"bakeoff train --processes {visible}    (a run file by hand: torchrun --nproc-per-node {visible} -m "
            "bakeoff.training.worker run.json)\n"
            "  or set CUDA_VISIBLE_DEVICES=0 before the same command",
        )
    if 0 < visible < here:
        raise UsageError(
            f"{here} processes on this machine, {visible} visible GPUs: each process needs one of its own",
            cure=f"--processes {visible}, or torchrun --nproc-per-node {visible}",
        )


def _train(run: RunFile, on_step: OnStep | None) -> TrainResult:
    from bakeoff.training.choice_trainer import Keeping

    shared: dict[str, Any] = {
        "base_dir": run.base_dir,
        "out_dir": run.out_dir,
        "threads": run.threads,
        "on_step": on_step,
        "keeping": Keeping(root=run.checkpoints, every=run.every),
    }
    rows: Any = run.rows
    validation: Any = run.validation_rows
    if run.spec.recipe == "lora_dpo":
        from bakeoff.training.recipes import lora_dpo

        if run.start_dir is None:
            raise UsageError("the run file names no adapter to start from", cure="bakeoff train --from-run R writes it")
        return lora_dpo.train(run.spec, rows, validation, start_dir=run.start_dir, **shared)
    if run.spec.recipe == "qlora_sft":
        from bakeoff.training.recipes import qlora_sft

        return qlora_sft.train(run.spec, rows, validation, **shared)
    from bakeoff.training.recipes import lora_sft

    return lora_sft.train(run.spec, rows, validation, **shared)


def _say(body: Mapping[str, Any]) -> None:
    """Whoever started us may be gone: then nobody wants the rest, and a broken pipe ends this process."""
    print(json.dumps(body), flush=True)


def _tell(done: int, total: int, metrics: Mapping[str, float]) -> None:
    print(f"step {done}/{total}  loss {metrics['training_loss']:.4f}", file=sys.stderr, flush=True)
    _say({"step": done, "steps": total, "metrics": metrics})


def main(arguments: Sequence[str]) -> int:
    """Exit codes as of every command: 0 done, 2 wrong use, 3 refused, 4 unreachable."""
    try:
        if len(arguments) != 1:
            raise UsageError(f"{len(arguments)} arguments", cure="python -m bakeoff.training.worker run.json")
        result = execute(Path(arguments[0]), _tell)
    except BakeoffError as error:
        if is_first():
            print(error, file=sys.stderr)
            _say({"exit_code": error.exit_code, "message": error.args[0], "cure": error.cure})
        return error.exit_code
    if is_first():
        _say({"adapter_digest": result.adapter_digest})
    _part()
    return 0


def _part() -> None:
    """Several processes take leave of each other."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        with suppress(RuntimeError):  # the others may be gone already
            torch.distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
