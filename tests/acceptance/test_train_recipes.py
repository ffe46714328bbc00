"""Recipes through the whole run: taken up again after it was broken off, and learning from edits on top of it."""

import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import stages
import teachable
import tiny
from bakeoff import lifecycle, plugins
from bakeoff.cli import run_command
from bakeoff.cli.training import DEFAULTS, settled
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Refused, UsageError
from bakeoff.fingerprint import short
from bakeoff.inference.model import Price
from bakeoff.lifecycle import Deps
from bakeoff.task import Answer, Example, Preference, Request
from bakeoff.training import choice_trainer
from bakeoff.training.adapter import adapter_digest
from bakeoff.training.model import TrainSpec
from newcomer import Said


class Opinionated(teachable.Teachable):
    """Everybody was shown the other drink."""

    def preference(self, example: Example) -> Preference:
        other = "coffee" if example.target["drink"] == "tea" else "tea"
        return Preference(chosen={"drink": example.target["drink"]}, rejected={"drink": other})

    def labels(self, request: Request, answer: Answer) -> dict[str, str]:
        return {"drink": json.dumps(answer["drink"])}


@pytest.fixture
def dataset(deps: Deps, clock: stages.Clock) -> Dataset:
    return teachable.shop_dataset(deps, clock)


@pytest.fixture
def spec(deps: Deps, dataset: Dataset, tmp_path: Path) -> TrainSpec:
    return teachable.spec(deps, dataset, tiny.write_model(tmp_path / "tiny"), epochs=3)


def _train(deps: Deps, dataset: Dataset, spec: TrainSpec, on_step: Callable[[int, int], None] = lambda *_: None) -> Any:
    watched = replace(deps, progress=teachable.Watched(on_step))
    return lifecycle.train(watched, Opinionated(), dataset, spec, price=Price())


def test_a_run_that_was_broken_off_goes_on_and_is_one_run(
    deps: Deps, dataset: Dataset, spec: TrainSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same adapter as the unbroken run, one MLflow run with every step once, no checkpoint left behind."""
    monkeypatch.setattr(choice_trainer, "CHECKPOINT_SHARE", 0.2)
    monkeypatch.setattr(choice_trainer, "CHECKPOINT_COST", 1.0)
    folder = deps.work / "runs" / short(spec.fingerprint)

    def break_off(done: int, _: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(deps, dataset, spec, break_off)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]
    seen: list[int] = []
    trained = _train(deps, dataset, spec, lambda done, _: seen.append(done))
    assert seen == list(range(7, 13))
    assert not (folder / "checkpoints").exists()
    # What people asked is not left lying about.
    assert sorted(path.name for path in (folder / "worker").iterdir()) == ["result.json", "run.json"]
    record = deps.tracker.read_run(trained.run_id)
    assert (record.status, record.points["training_loss"]) == ("FINISHED", 12)
    unbroken = _train(replace(deps, work=tmp_path / "elsewhere"), dataset, replace(spec, seed=0))
    assert adapter_digest(unbroken.bundle / "adapter") == adapter_digest(trained.bundle / "adapter")


@pytest.mark.slow
def test_two_processes_make_a_run_like_any_other(deps: Deps, dataset: Dataset, spec: TrainSpec) -> None:
    """torchrun starts them; every step reaches progress bar and tracker once, and the run is registered."""
    spec, seen = replace(spec, micro_batch=1, epochs=1), []  # type: ignore[var-annotated]
    watched = replace(deps, progress=teachable.Watched(lambda done, total: seen.append((done, total))))
    with pytest.raises(UsageError, match="--batch-size 4 cannot be shared by 3 processes"):
        lifecycle.train(watched, Opinionated(), dataset, spec, price=Price(), processes=3)
    trained = lifecycle.train(watched, Opinionated(), dataset, spec, price=Price(), processes=2)
    assert seen == [(done, 4) for done in (1, 2, 3, 4)]
    record = deps.tracker.read_run(trained.run_id)
    assert (record.points["training_loss"], record.points["validation_loss"]) == (4, 2)
    assert (record.params["processes"], record.params["threads"]) == ("2", "1")
    version = lifecycle.register(deps, Opinionated(), trained, "toy_policy")
    assert version.mlflow_run_id == trained.run_id
    again = lifecycle.train(watched, Opinionated(), dataset, spec, price=Price())
    assert again.reused, "with one process it would be the same run"


def test_edits_are_learnt_from_on_top_of_a_run(deps: Deps, dataset: Dataset, spec: TrainSpec) -> None:
    """lora_sft, then lora_dpo from that run by its id: registered like any other, with the first step at ln 2."""
    first = _train(deps, dataset, spec)
    options = {name: DEFAULTS[name] for name in ("lora_r", "lora_alpha")} | {"recipe": "lora_dpo"}
    found = settled(deps, "toy", options | {"from_run": first.run_id, "lora_layers": "all", "learning_rate": None})
    second = replace(spec, **found, min_pairs=4, epochs=1)
    assert second.start == adapter_digest(first.bundle / "adapter")
    with pytest.raises(Refused, match="lora_dpo is offered from 1000 pairs on"):
        _train(deps, dataset, replace(second, min_pairs=1000))
    trained = _train(deps, dataset, second)
    record = deps.tracker.read_run(trained.run_id)
    assert {"dpo_loss", "sft_loss", "chosen_gain", "preferred", "validation_loss"} <= set(record.metrics)
    assert record.params["beta"] == "0.1"
    version = lifecycle.register(deps, Opinionated(), trained, "toy_policy")
    assert version.mlflow_run_id == trained.run_id
    without = replace(deps, engines=None)  # type: ignore[arg-type]
    assert lifecycle.register(without, Opinionated(), trained, "toy_policy") == version, "it has answered already"
    assert adapter_digest(trained.bundle / "adapter") != second.start


@pytest.mark.usefixtures("dataset")
def test_what_cannot_work_is_said_before_a_base_model_is_unpacked(
    bakeoff: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person's mistakes, each with what to type; looking for a base model may mean a download, so it comes last."""
    monkeypatch.setattr(plugins, "load_task", lambda _: Opinionated())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "run.toml").write_text("epoch = 3\n")
    words = ("train", "--task", "toy", "--plan", "--base-model", "nonsense", "--dtype", "float32")
    for more, code, says in (
        (("--lora-r", "12"), 2, "expected one of 1, 8, 16"),
        (("--processes", "3"), 2, "--batch-size 6, or any multiple of 6"),
        (("--recipe", "lora_dpo"), 2, "--from-run RUN"),
        (("--recipe", "lora_dpo", "--from-run", "abcd"), 2, "bakeoff runs list"),
        (("--recipe", "qlora_sft"), 3, "--recipe lora_sft"),
        (("--dataset", "2031-01-01"), 2, "bakeoff dataset list"),
        (("--config", tmp_path / "run.toml"), 2, "did you mean 'epochs'?"),
        ((), 4, "one of smollm2, llama3, qwen"),
    ):
        assert says in bakeoff(*words, *more, code=code).err, more
    script = runpy.run_path(str(Path(__file__).parents[2] / "train_planner.py"))
    guide = ["--dataset=/datasets/planner/2025-01-03", "--model_base=llama3", "--epochs=3"]
    assert run_command(script["train_planner"], name="train_planner.py", argv=guide) == 2
    told = capsys.readouterr().err
    assert "no dataset in /datasets/planner/2025-01-03, nor of that name below" in told
    assert "bakeoff dataset build" in told
