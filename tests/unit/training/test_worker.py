"""A run as files, and the worker that carries it out in another process."""

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import halting
from bakeoff.errors import Refused, UsageError
from bakeoff.training import launch, run_file, worker
from bakeoff.training.model import PairRow, TrainingRow, TrainSpec
from bakeoff.training.run_file import RunFile
from tiny import NO, YES, row, write_model

SRC = Path(__file__).parents[3] / "src"
SPEC = TrainSpec(
    task="toy", dataset_digest="d", base="tiny", base_digest="sha256:b", prompt_version="7", dtype="float32",
    learning_rate=0.02, lora_r=8, lora_layers=None, epochs=3, micro_batch=1,
)  # fmt: skip
TRUTH = {"soup": YES, "curry": YES, "stew": NO, "pie": NO}


def _rows(count: int, seed: int) -> list[TrainingRow]:
    rng = random.Random(seed)
    wishes = ["A.", "Bee\u2028line.", "Sea."]  # a line separator inside a text is no end of a row
    return [row(rng.choice(wishes), rng.sample(sorted(TRUTH), 4), TRUTH) for _ in range(count)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base"))


def _run(base: Path, folder: Path, **changes: object) -> RunFile:
    run = RunFile(
        spec=SPEC, rows=_rows(14, 1), validation_rows=_rows(3, 2), base_dir=base, start_dir=None,
        out_dir=folder / "adapter", checkpoints=folder / "checkpoints", every=2, threads=1,
    )  # fmt: skip
    return replace(run, **changes)


def _start(path: Path, *, halts_after: int) -> "subprocess.Popen[str]":
    """Nothing of our environment but where the code is: a worker reads its file and torchrun's variables."""
    return subprocess.Popen(
        [sys.executable, halting.__file__, str(halts_after), str(path)],
        env={"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_killed_in_the_middle_it_ends_as_if_nothing_had_happened(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """kill -9 in the second epoch, then the same run file: same losses at every step, same adapter, bit for bit."""
    unbroken = worker.execute(run_file.write(tmp_path / "whole", _run(base, tmp_path / "whole")))
    path = run_file.write(tmp_path / "broken", _run(base, tmp_path / "broken"))
    killed = _start(path, halts_after=7)
    assert killed.stderr is not None
    said = next(line for line in killed.stderr if line.startswith("step 7/12"))
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, said
    killed.communicate()
    assert not (tmp_path / "broken" / "adapter").exists()
    assert not (tmp_path / "broken" / run_file.RESULT).exists()
    assert worker.main([str(path)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"adapter_digest": unbroken.adapter_digest}
    result = json.loads((tmp_path / "broken" / run_file.RESULT).read_text())
    assert result["resumed_at"] == 6
    assert unbroken.resumed_at == 0
    losses = [(point.step, point.value) for point in unbroken.curves if point.name == "training_loss"]
    assert [(p["step"], p["value"]) for p in result["curves"] if p["name"] == "training_loss"] == losses
    assert len(result["curves"]) == len(unbroken.curves)


def test_a_run_file_reads_back_as_it_was(base: Path, tmp_path: Path) -> None:
    pair = PairRow(**{name: getattr(_rows(1, 3)[0], name) for name in ("messages", "schema", "labels")},
                   chosen=TRUTH, rejected={"soup": NO})  # fmt: skip
    for run in (_run(base, tmp_path), _run(base, tmp_path, rows=[pair], validation_rows=[], start_dir=base)):
        found = run_file.read(run_file.write(tmp_path, run))
        assert (found.spec, found.threads, found.every) == (run.spec, run.threads, run.every)
        assert list(found.rows) == list(run.rows)
        assert list(found.validation_rows) == list(run.validation_rows)
        for name in ("base_dir", "out_dir", "checkpoints", "start_dir"):
            assert (getattr(found, name) or Path()).resolve() == (getattr(run, name) or Path()).resolve()


def test_a_run_folder_may_be_moved(base: Path, tmp_path: Path) -> None:
    """What lies below it is named relative to it."""
    run_file.write(tmp_path / "here", _run(base, tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    found = run_file.read(tmp_path / "there" / run_file.RUN)
    assert found.out_dir == tmp_path / "there" / "adapter"


def test_rows_that_were_changed_are_refused(base: Path, tmp_path: Path) -> None:
    path = run_file.write(tmp_path, _run(base, tmp_path))
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(UsageError, match="rows.jsonl was changed after run.json was written"):
        run_file.read(path)
    with pytest.raises(UsageError, match="is not a run file"):
        run_file.read(tmp_path / "none.json")


def test_a_batch_that_the_processes_cannot_share_is_refused_before_anything_is_loaded(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every process refuses, the first one says why; nothing is trained on another batch than was asked for."""
    path = run_file.write(tmp_path, _run(base, tmp_path))
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "1")
    assert worker.main([str(path)]) == 2
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    assert worker.main([str(path)]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == 2
    assert "--batch-size 4 cannot be shared by 3 processes with --micro-batch 1 each" in said["message"]
    assert "--batch-size 6" in said["cure"]
    assert worker.main([]) == 2


def test_the_recipes_say_at_once_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Refused, match="needs an NVIDIA GPU(?s:.*)--recipe lora_sft"):
        worker.require_machine(replace(SPEC, recipe="qlora_sft"), 1)
    with pytest.raises(Refused, match="3 edit pairs in the train split; lora_dpo is offered from 200 pairs on"):
        worker.require_pairs(replace(SPEC, recipe="lora_dpo", start="sha256:a"), [1, 2, 3])
    worker.require_machine(SPEC, 1)
    worker.require_pairs(SPEC, [])


def test_a_process_has_a_gpu_of_its_own_or_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would spread one process over all GPUs, and two processes on one GPU do not find each other."""
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="2 GPUs are visible") as refused:
        worker.require_machine(SPEC, 1)
    for cure in (
        "bakeoff train --processes 2",
        "torchrun --nproc-per-node 2 -m bakeoff.training.worker run.json",
        "CUDA_VISIBLE_DEVICES=0",
    ):
        assert cure in str(refused.value)
    worker.require_machine(SPEC, 2)
    with pytest.raises(UsageError, match="4 processes on this machine, 2 visible GPUs(?s:.*)--processes 2"):
        worker.require_machine(SPEC, 4)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # of two machines
    worker.require_machine(SPEC, 4)
    with pytest.raises(UsageError, match="torchrun started 4 of this command(?s:.*)--processes N"):
        launch.require_machine(SPEC, 1)
