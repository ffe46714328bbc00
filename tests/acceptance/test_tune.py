"""`bakeoff tune` and `train --tuned` on a model of a few thousand weights, with real trainings, MLflow, PostgreSQL."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stages
import teachable
import tiny
from bakeoff import plugins
from bakeoff.datasets.model import Dataset
from bakeoff.lifecycle import Deps
from bakeoff.training import contract
from bakeoff.training.tuning import store
from newcomer import Said

Type = Callable[..., Said]


@pytest.fixture
def typed(bakeoff: Type, monkeypatch: pytest.MonkeyPatch) -> Type:
    """Types a command where the installed task can be taught."""
    monkeypatch.setenv("BAKEOFF_THREADS", "1")
    monkeypatch.setenv("BAKEOFF_DTYPE", "float32")
    monkeypatch.setattr(plugins, "load_task", lambda _: teachable.Teachable())
    return bakeoff


@pytest.fixture
def dataset(deps: Deps, clock: stages.Clock) -> Dataset:
    return teachable.shop_dataset(deps, clock)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("base"))


def few(base: Path) -> list[object]:
    return ["--task", "toy", "--base-model", base, "--max-rows", 16, "--eval-rows", 12]


def test_a_study_trains_for_real_and_its_best_is_trained_again(
    typed: Type, deps: Deps, dataset: Dataset, base: Path, clock: stages.Clock
) -> None:
    said = typed("tune", *few(base), "--trials", 3, "--json")
    body = said.json
    assert body["finished"] == 3
    assert "trial 000 begins (1 of 3): learning_rate 0.002" in said.err
    best = body["trials"][body["best_trial"]]
    assert best["state"] == "complete"
    assert best["score"] == body["tuned"]["score"] == max(t["score"] for t in body["trials"] if t["score"] is not None)

    # each trial is a run below the study's run, and fulfils the contract like any other
    runs = {run.run_id: run for run in deps.tracker.list_runs("toy")}
    assert body["mlflow_run_id"] not in runs  # it is no training
    parent = deps.tracker.read_run(body["mlflow_run_id"])
    assert (parent.status, parent.tags["kind"], parent.tags["best_trial"]) == ("FINISHED", "study", str(best["trial"]))
    complete = [trial for trial in body["trials"] if trial["state"] == "complete"]
    assert parent.points["tuning_score"] == len(complete)
    assert parent.points["tuning_early_loss"] == 3
    client: Any = deps.tracker
    for trial in body["trials"]:
        record = deps.tracker.read_run(trial["run"])
        assert contract.check(record, {}) == ()
        assert client._client.get_run(trial["run"]).data.tags["mlflow.parentRunId"] == body["mlflow_run_id"]
        assert record.tags["trial"] == str(trial["trial"])
        assert record.params["max_rows"] == ("16" if trial["state"] == "complete" else "4")

    # the same command only reads the result
    with deps.db.transaction() as conn:
        kept = store.tuned_spec(conn, "toy", body["tuned"]["base_digest"], "lora_sft")
    assert kept is not None
    again = typed("tune", *few(base), "--trials", 3, "--json")
    assert again.json["trials"] == body["trials"]
    assert "begins" not in again.err
    clock.turn(days=1)

    # and train takes it from the store
    trained = typed("train", "--task", "toy", "--base-model", base, "--max-rows", 16, "--tuned", "--json")
    assert trained.json["mlflow_run_id"] == best["run"]
    assert trained.json["reused"]
    assert "tuned on 2025-01-1" in trained.err
    assert "stale" not in trained.err
    plan = ["train", "--task", "toy", "--base-model", base, "--max-rows", 4, "--tuned", "--plan", "--no-measure"]
    other = typed(*plan, "--epochs", 7, "--json")
    assert other.json["epochs"] == 7
    assert other.json["learning_rate"] == kept.params["learning_rate"]
    assert "as you say, not as tuned: epochs" in other.err
    assert "stale: tuned on 16 rows, now 4" in other.err


SCRIPT = """
import sys, time
from importlib import import_module
import teachable
from bakeoff import plugins
from bakeoff.cli import cli, run_command
plugins.load_task = lambda _: teachable.Teachable()
tune = import_module("bakeoff.cli.tune")
tell = tune._tell
def halting(asked, what, trials):
    tell(asked, what, trials)
    if asked.number == 1:
        time.sleep(600)
tune._tell = halting
sys.exit(run_command(cli, name="bakeoff", argv=sys.argv[1:]))
"""
"""Stands still when the second trial has begun."""


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on_and_ends_as_an_unbroken_one(
    typed: Type, dataset: Dataset, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 right after the second trial has begun; the very same command ends the study."""
    words = [str(word) for word in ["tune", *few(base), "--trials", 4, "--workers-share", "killed", "--json"]]
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    ) as worker:  # fmt: skip
        assert worker.stderr is not None
        said = []
        try:
            while not said or "trial 001 begins" not in said[-1]:
                said.append(worker.stderr.readline())
                assert said[-1], said
        finally:
            worker.kill()
    resumed = typed(*words).json
    monkeypatch.setenv("BAKEOFF_HOME", str(tmp_path / "elsewhere"))  # so that nothing is reused
    unbroken = typed(*words[:-3], "--workers-share", "unbroken", "--json").json
    assert resumed["finished"] == 4
    lost = [trial for trial in resumed["trials"] if trial["state"] == "failed"]
    assert [(trial["trial"], trial["problem"]) for trial in lost] == [(1, "its worker is gone")]
    named = ("state", "early_loss", "score", "learning_rate", "epochs", "lora_r", "lora_layers", "batch_size")
    ours = [{n: t.get(n) for n in named} for t in resumed["trials"] if t["state"] != "failed"]
    assert ours == [{n: t.get(n) for n in named} for t in unbroken["trials"]]
    assert {t["run"] for t in resumed["trials"]}.isdisjoint(t["run"] for t in unbroken["trials"])
    assert resumed["tuned"]["params"] == unbroken["tuned"]["params"]


def test_without_a_study_train_tuned_says_what_to_type(typed: Type, dataset: Dataset, base: Path) -> None:
    said = typed("train", "--task", "toy", "--base-model", base, "--tuned", code=2)
    assert "nothing is tuned for task toy, recipe lora_sft and this base model" in said.err
    assert "bakeoff tune" in said.err


def test_a_study_of_another_prompt_is_refused(
    typed: Type, deps: Deps, dataset: Dataset, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("tune", *few(base), "--trials", 1)
    monkeypatch.setattr(teachable.Teachable, "prompt_version", "2")
    said = typed("train", "--task", "toy", "--base-model", base, "--tuned", code=3)
    assert "the version of the task's prompt changed: tuned on 1, now 2" in said.err


def test_a_shared_name_that_another_search_took_is_refused(typed: Type, dataset: Dataset, base: Path) -> None:
    typed("tune", *few(base), "--trials", 1, "--workers-share", "friday")
    said = typed("tune", *few(base), "--trials", 1, "--workers-share", "friday", "--seed", 1, code=2)
    assert "study friday is about something else: its seed differ" in said.err


def test_no_trial_in_time_is_refused(typed: Type, dataset: Dataset, base: Path) -> None:
    said = typed("tune", *few(base), "--timeout", 0, code=3)
    assert "none of 1 trials is complete" in said.err  # the usual one waits


def test_a_text_for_people_has_the_table_the_outcome_and_the_next_command(
    typed: Type, dataset: Dataset, base: Path
) -> None:
    said = typed("tune", *few(base), "--trials", 2)
    assert "trial  state" in said.out
    assert "trial 000" in said.out
    assert f"next: bakeoff train --dataset {dataset.version} --base-model {base} --tuned" in said.out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--trials", "0"], "--trials"),
        (["--recipe", "lora_dpo"], "lora_dpo"),
        (["--metric", "beauty"], "no metric 'beauty'"),
    ],
)
def test_wrong_use_is_said(typed: Type, dataset: Dataset, base: Path, words: list[str], text: str) -> None:
    assert text in typed("tune", *few(base), *words, code=2).err


def test_help_shows_an_example(typed: Type) -> None:
    assert "Example: bakeoff tune --trials 12" in typed("tune", "--help").out
