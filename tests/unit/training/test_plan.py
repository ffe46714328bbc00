"""Time of a run from runs that are kept, or from a few real steps."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bakeoff.training.model import TrainSpec
from bakeoff.training.plan import Crew, known_speed, measured_speed
from tiny import NO, YES, row, write_model

SPEC = TrainSpec(
    task="toy", dataset_digest="d", base="tiny", base_digest="sha256:b", prompt_version="1", dtype="float32",
    lora_layers=None, lora_r=8,
)  # fmt: skip


ALONE = Crew(processes=1, threads=1)


def _kept(
    work: Path, name: str, spec: TrainSpec, *, tokens: int, seconds: float, crew: Crew = ALONE, at: int = 0
) -> None:
    folder = work / "runs" / name / "worker"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"spec": asdict(spec), "threads": crew.threads}))
    (folder / "result.json").write_text(json.dumps({"tokens": tokens, "seconds": seconds, "processes": crew.processes}))
    os.utime(folder / "result.json", (at, at))


def test_the_latest_run_of_the_same_kind_says_how_fast(tmp_path: Path) -> None:
    assert known_speed(tmp_path, SPEC, ALONE) is None
    _kept(tmp_path, "old", SPEC, tokens=1000, seconds=10, at=1)
    _kept(tmp_path, "new", replace(SPEC, epochs=7, learning_rate=0.1), tokens=3000, seconds=10, at=2)
    _kept(tmp_path, "other", replace(SPEC, lora_layers=1), tokens=9000, seconds=1, at=3)
    _kept(tmp_path, "wider", SPEC, tokens=9000, seconds=1, crew=Crew(processes=1, threads=2), at=4)
    _kept(tmp_path, "more", SPEC, tokens=9000, seconds=1, crew=Crew(processes=2, threads=1), at=5)
    found = known_speed(tmp_path, SPEC, ALONE)
    assert found is not None
    assert (found.tokens_per_second, found.source) == (300.0, "run in new")


def test_a_broken_or_unfinished_run_says_nothing(tmp_path: Path) -> None:
    _kept(tmp_path, "broken", SPEC, tokens=1, seconds=1)
    (tmp_path / "runs" / "broken" / "worker" / "result.json").write_text("{")
    assert known_speed(tmp_path, SPEC, ALONE) is None


def test_a_few_steps_are_really_trained(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    truth = {"soup": YES, "stew": NO}
    rows = [row("A.", list(truth), truth) for _ in range(30)]
    found = measured_speed(SPEC, rows, base_dir=base, start_dir=None, crew=ALONE)
    assert found is not None
    assert found.source == "2 steps measured just now"
    assert 10 < found.tokens_per_second < 1e7
    assert measured_speed(replace(SPEC, max_tokens=5), rows, base_dir=base, start_dir=None, crew=ALONE) is None


def test_measuring_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_model(tmp_path / "base")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows = [row("A.", ["soup"], {"soup": YES}) for _ in range(9)]
    measured_speed(SPEC, rows, base_dir=base, start_dir=None, crew=ALONE)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
