"""Carries out a run file: ``python -m bakeoff.training.worker run.json``.

It reads that file and torchrun's environment (WORLD_SIZE), nothing else, so that another machine needs no other code.
`bakeoff train` calls `execute` in its own process. Started again after a kill, it goes on from its last checkpoint.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bakeoff.errors import BakeoffError, Refused, UsageError
from bakeoff.training import run_file
from bakeoff.training.model import OnStep, TrainResult, TrainSpec
from bakeoff.training.run_file import RunFile


def execute(path: Path, on_step: OnStep | None = None) -> TrainResult:
    """Trains what `path` says. Raises UsageError where torchrun started several processes; otherwise as the recipe."""
    run = run_file.read(path)
    require(run.spec, run.rows)
    result = _train(run, on_step)
    run_file.write_result(path, result)
    return result


def require(spec: TrainSpec, rows: Sequence[Any]) -> None:
    """What a recipe needs, checked in seconds: one process, one GPU at most; for qlora_sft a GPU; for lora_dpo enough
    pairs."""
    import torch

    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        raise UsageError(
            f"{spec.recipe} trains in one process, torchrun started {world}",
            cure="start it without torchrun or accelerate launch, or with one process",
        )
    if torch.cuda.device_count() > 1:
        raise UsageError(
            f"{torch.cuda.device_count()} GPUs are visible, {spec.recipe} trains on one",
            cure="set CUDA_VISIBLE_DEVICES=0 before the same command",
        )
    if spec.recipe == "qlora_sft":
        from bakeoff.training.recipes import qlora_sft

        qlora_sft.require_gpu()
    if spec.recipe == "lora_dpo" and len(rows) < (spec.min_pairs or 1):
        raise Refused(
            f"{len(rows)} edit pairs in the train split; lora_dpo is offered from {spec.min_pairs} pairs on",
            cure="train lora_sft, which learns from every kept answer; or --min-pairs N where you know better",
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


def _tell(done: int, total: int, metrics: Mapping[str, float]) -> None:
    print(f"step {done}/{total}  loss {metrics['training_loss']:.4f}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Exit codes as of every command: 0 done, 2 wrong use, 3 refused, 4 unreachable."""
    try:
        if len(arguments) != 1:
            raise UsageError(f"{len(arguments)} arguments", cure="python -m bakeoff.training.worker run.json")
        result = execute(Path(arguments[0]), _tell)
    except BakeoffError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(result.adapter_digest)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
