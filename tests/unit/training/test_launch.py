"""What is heard of workers; tests/integration/training has torchrun start real ones."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bakeoff.errors import BakeoffError, Refused
from bakeoff.training import launch

STEP = {"step": 1, "steps": 2, "metrics": {"training_loss": 0.5}}
REFUSAL = {"exit_code": 3, "message": "the rows are too long", "cure": "--max-tokens 900"}


def speak(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(launch, "command", lambda *_: [sys.executable, "-c", script])


def lines(*bodies: Any) -> str:
    return "\n".join(f"print({json.dumps(body)!r}, flush=True)" for body in bodies)


def test_steps_are_passed_on_and_whatever_a_library_says_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    speak(monkeypatch, "print('hello')\nprint(3)\n" + lines(STEP, REFUSAL))
    seen: list[Any] = []
    with pytest.raises(Refused, match="the rows are too long\n  --max-tokens 900"):
        launch.carry_out(tmp_path / "run.json", lambda *step: seen.append(step), processes=2)
    assert seen == [(1, 2, {"training_loss": 0.5})]


def test_a_worker_that_breaks_has_its_last_words_without_torchruns_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = "Traceback: no space left\nE 12:00 torch/distributed/elastic/multiprocessing/api.py:1002] failed\nmuch more"
    speak(monkeypatch, f"{lines(STEP)}\nimport sys\nsys.stderr.write({said!r})\nsys.exit(1)")
    with pytest.raises(BakeoffError, match="a training process broke; its last words:\nTraceback: no space left$"):
        launch.carry_out(tmp_path / "run.json", lambda *_: None, processes=2)


def test_workers_end_with_whoever_started_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a step of a minute is not waited for."""
    speak(monkeypatch, f"{lines(STEP)}\nimport time\ntime.sleep(60)")
    began = time.monotonic()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.carry_out(tmp_path / "run.json", stop, processes=2)
    assert time.monotonic() - began < 30
