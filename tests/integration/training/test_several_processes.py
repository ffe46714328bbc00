"""torchrun for real: two processes train what one trains, on the CPU, with a model of a few thousand weights."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import halting
from bakeoff.training import launch, run_file, worker
from bakeoff.training.adapter import WEIGHTS
from bakeoff.training.model import PairRow, TrainingRow, TrainResult, TrainSpec
from bakeoff.training.run_file import RunFile
from tiny import NO, YES, row, write_model

pytestmark = pytest.mark.slow

SRC = Path(__file__).parents[3] / "src"
SPEC = TrainSpec(
    task="toy", dataset_digest="d", base="tiny", base_digest="sha256:b", prompt_version="7", dtype="float32",
    learning_rate=0.01, lora_r=8, lora_layers=None, epochs=2, micro_batch=1,
)  # fmt: skip
SHOWN = {"soup": YES, "stew": YES, "curry": NO, "pie": NO}
KEPT = {**SHOWN, "stew": NO, "curry": YES}


def rows(count: int, seed: int) -> list[TrainingRow]:
    """With one to four labels each, so that a mean of the processes' means would be another loss."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        labels = dict(rng.sample(sorted(KEPT.items()), rng.randint(1, 4)))
        found.append(row(rng.choice(["A.", "Bee line.", "Sea, if you please."]), rng.sample(sorted(KEPT), 4), labels))
    return found


def pairs(count: int, seed: int) -> list[PairRow]:
    return [
        PairRow(messages=one.messages, schema=one.schema, labels=one.labels, chosen=KEPT, rejected=SHOWN)
        for one in rows(count, seed)
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base"))


def asked(base: Path, folder: Path, **changes: Any) -> Path:
    """A run file. 15 rows are not the same for two processes: the last batch of an epoch has one blank."""
    run = RunFile(
        spec=SPEC, rows=rows(15, 1), validation_rows=rows(3, 2), base_dir=base, start_dir=None,
        out_dir=folder / "adapter", checkpoints=folder / "checkpoints", every=2, threads=1,
    )  # fmt: skip
    return run_file.write(folder, replace(run, **changes))


def assert_alike(one: TrainResult, two: TrainResult) -> None:
    assert (one.processes, two.processes) == (1, 2)
    assert (two.rows, two.steps, two.tokens, two.choices) == (one.rows, one.steps, one.tokens, one.choices)
    assert [(point.step, point.name) for point in two.curves] == [(point.step, point.name) for point in one.curves]
    assert [point.value for point in two.curves] == pytest.approx([point.value for point in one.curves], abs=1e-5)
    mine, theirs = (load_file(each.adapter_dir / WEIGHTS) for each in (one, two))
    assert sorted(mine) == sorted(theirs)
    for name, weights in mine.items():
        torch.testing.assert_close(theirs[name], weights, rtol=1e-4, atol=1e-5)


def test_two_processes_train_what_one_does_also_when_they_are_broken_off(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same curves and weights up to rounding, though the second epoch was taken up from a checkpoint in its middle."""
    alone = worker.execute(asked(base, tmp_path / "one"))
    together = asked(base, tmp_path / "two")
    seen: list[int] = []

    def break_off(step: int, _: int, metrics: Mapping[str, float]) -> None:
        seen.append(step)
        assert metrics["training_loss"] > 0
        if step == 7:
            raise KeyboardInterrupt

    words = launch.command(together, 2)
    at = words.index("-m", words.index("--nproc-per-node"))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(launch, "command", lambda path, _: [*words[:at], halting.__file__, "7", str(path)])
        launch.carry_out(together, break_off, processes=2)
    assert seen == list(range(1, 8)), "one process speaks for both"
    assert not (tmp_path / "two" / "adapter").exists()
    kept = sorted(path.name for path in (tmp_path / "two" / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000006"]
    result = launch.carry_out(together, lambda *_: None, processes=2)
    assert result.resumed_at == 6
    assert_alike(alone, result)


def test_pairs_are_shared_too_and_a_blank_one_is_no_pair(base: Path, tmp_path: Path) -> None:
    """By the command that the docs show. A blank pair must count neither in the loss nor among the preferred."""
    first = worker.execute(asked(base, tmp_path / "start"))
    changes = {
        "spec": replace(
            SPEC, recipe="lora_dpo", start=first.adapter_digest, min_pairs=1, beta=0.5, batch_size=8, epochs=2
        ),
        "rows": pairs(13, 3), "validation_rows": pairs(2, 4), "start_dir": first.adapter_dir, "every": None,
    }  # fmt: skip
    alone = worker.execute(asked(base, tmp_path / "one", **changes))
    path = asked(base, tmp_path / "two", **changes)
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", "2",
         "-m", "bakeoff.training.worker", str(path)],
        env={"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line.get("step") for line in said] == [1, 2, 3, 4, None]
    assert "Warning" not in ran.stderr, ran.stderr
    together = run_file.read_result(path)
    assert said[-1] == {"adapter_digest": together.adapter_digest}
    assert_alike(alone, together)
