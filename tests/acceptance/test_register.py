"""A run that bakeoff had no part in: a notebook trains with peft, logs with the printed script, and is registered."""

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import stages
import teachable
import tiny
from bakeoff import lifecycle, plugins
from bakeoff.adapters import tracking
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Refused, Unreachable
from bakeoff.inference.model import Price
from bakeoff.lifecycle import Deps
from bakeoff.registry.from_run import from_run
from bakeoff.training import contract
from bakeoff.training.contract import CONTRACT, Item
from bakeoff.training.tracker import RunRecord
from newcomer import Said


@pytest.fixture
def typed(bakeoff: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Types a command where the installed task can be taught."""
    monkeypatch.setenv("BAKEOFF_THREADS", "1")
    task = teachable.Teachable()
    monkeypatch.setattr(plugins, "load_task", lambda _: task)
    for name in ("runs", "registering"):
        monkeypatch.setattr(f"bakeoff.cli.{name}.load_task", lambda _: task)
    return bakeoff


@pytest.fixture
def dataset(deps: Deps, clock: stages.Clock) -> Dataset:
    return teachable.shop_dataset(deps, clock)


def save_outputs(folder: Path, base: Path, *, rank: int = 8, dora: bool = False) -> None:
    """What any peft trainer leaves: adapter and tokenizer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(str(base))
    config = LoraConfig(
        r=rank, target_modules=["q_proj", "v_proj"], init_lora_weights=False, use_dora=dora, task_type="CAUSAL_LM"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks by an old name
        get_peft_model(model, config).save_pretrained(str(folder / "adapter"))
    AutoTokenizer.from_pretrained(str(base)).save_pretrained(str(folder / "tokenizer"))


def run_notebook(folder: Path, mlflow_uri: str, dataset: Dataset, base: Path, **instead: str) -> str:
    """Runs the script that `contract show` prints, filled in, in a process of its own; returns the run's id."""
    text = contract.script("toy", "right")
    values = {
        "dataset_version": dataset.version,
        "dataset_uri": dataset.uri,
        "dataset_digest": dataset.digest[7:39],
        "base_model": str(base),
    }
    for name, value in values.items():
        text, count = re.subn(rf'^{name} = ".*?"', f'{name} = "{value}"', text, flags=re.MULTILINE)
        assert count == 1, name
    for old, new in instead.items():
        assert old in text, old
        text = text.replace(old, new)
    env = {**os.environ, "MLFLOW_TRACKING_URI": tracking.with_driver(mlflow_uri), "MLFLOW_DISABLE_TELEMETRY": "true"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = re.search(r"bakeoff register --run-id (\w+)", ran.stdout)
    assert found, ran.stdout
    return found[1]


class Notebook(NamedTuple):
    run_id: str
    base: Path


@pytest.fixture
def notebook(tmp_path: Path, mlflow_uri: str, dataset: Dataset) -> Notebook:
    base = tiny.write_model(tmp_path / "tiny")
    save_outputs(tmp_path / "work" / "outputs", base)
    return Notebook(run_notebook(tmp_path / "work", mlflow_uri, dataset, base), base)


def test_a_notebooks_run_becomes_a_policy_version_that_answers(
    typed: Callable[..., Said], notebook: Notebook, deps: Deps, dataset: Dataset, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked = tmp_path / "run.json"
    asked.write_text('{"epochs": 3, "learning_rate": 0.0002}')
    words = ("register", "--task", "toy", "--run-id", notebook.run_id)

    def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError("pulled the plug")

    with monkeypatch.context() as broken:
        broken.setattr("bakeoff.lifecycle.learn.policies.create_version", crash)
        with pytest.raises(RuntimeError, match="pulled the plug"):
            typed(*words)
    made = typed(*words, "--requested", asked, "--json").json
    assert made["policy_version"].startswith("toy_policy/")
    assert made["model"].startswith("models:/toy_model/")
    assert (made["dataset_digest"], made["mlflow_run_id"]) == (dataset.digest, notebook.run_id)
    said = " ".join(made["assumed"])
    assert all(name in said for name in ("base_digest", "template_digest", "prompt_version", "decoding_mode", "dtype"))
    again = typed(*words[:-1], notebook.run_id[:12], "--json").json
    assert again == made, "also what was assumed is said again"
    (left,) = deps.models._client.search_model_versions(f"run_id = '{notebook.run_id}'")  # type: ignore[attr-defined]
    assert made["model"] == f"models:/toy_model/{left.version}", "the crash left one, and it is this one"
    listed = typed("runs", "list", "--task", "toy", "--json").json["runs"]
    (mine,) = [run for run in listed if run["run"] == notebook.run_id]
    assert (mine["registered_as"], mine["status"]) == (made["policy_version"], "finished")
    assert typed("replay", made["policy_version"], "--sample", "3", "--json").json["deterministic"] is True


def test_a_run_that_is_wrong_in_many_ways_is_refused_with_the_whole_list(
    typed: Callable[..., Said], dataset: Dataset, mlflow_uri: str, tmp_path: Path
) -> None:
    base = tiny.write_model(tmp_path / "tiny")
    save_outputs(tmp_path / "outputs", base, rank=5, dora=True)
    (tmp_path / "outputs" / "adapter" / "training_args.bin").write_bytes(b"\x80\x04.")
    (tmp_path / "outputs" / "tokenizer" / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    wrong = {
        'mlflow.log_param("seed", 0)': "pass",
        dataset.digest[7:39]: "f" * 32,
        '"training_loss", loss': '"loss", loss',
        '"eval_right"': '"eval_runtime"',
    }
    run_id = run_notebook(tmp_path, mlflow_uri, dataset, base, **wrong)
    (tmp_path / "asked.json").write_text('{"epochs": 5}')
    said = typed("register", "--task", "toy", "--run-id", run_id, "--requested", tmp_path / "asked.json", code=3)
    for problem in (
        "parameter seed is missing",
        "metric training_loss is missing",
        "metrics eval_* are missing",
        "expected at least one of eval_right, eval_known_drink",
        "parameter epochs is '3', requested was '5'",
        "adapter/training_args.bin is a pickle",
        "rank 5 cannot be served",
        "DoRA",
        "no generation prompt",
        "do not encode like those of base model",
        "other rows",
    ):
        assert problem in said.err, problem
    assert "Traceback" not in said.err
    gone = typed("register", "--task", "toy", "--run-id", "0" * 32, code=2)
    assert "not found" in gone.err


class Forgetful:
    """The real tracker, but for one item that the run seems not to have."""

    def __init__(self, tracker: Any, item: Item) -> None:
        self.tracker, self.item = tracker, item

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tracker, name)

    def read_run(self, run_id: str) -> RunRecord:
        record: RunRecord = self.tracker.read_run(run_id)
        item = self.item
        if item.kind == "param":
            return replace(record, params={k: v for k, v in record.params.items() if k != item.name})
        if item.kind == "tag":
            return replace(record, tags={k: v for k, v in record.tags.items() if k != item.name})
        if item.kind == "dataset":
            return replace(record, datasets=())
        if item.kind == "artifact":
            return replace(record, artifacts=tuple(p for p in record.artifacts if not re.fullmatch(item.pattern, p)))
        kept = {k: v for k, v in record.metrics.items() if not re.fullmatch(item.pattern, k)}
        return replace(record, metrics=kept, points={k: v for k, v in record.points.items() if k in kept})


def test_each_item_of_the_contract_is_missed_at_registration(
    deps: Deps, notebook: Notebook, dataset: Dataset, tmp_path: Path
) -> None:
    """Over the list itself: an item is either asked for or worked out."""
    refused = []
    for item in CONTRACT:
        try:
            trained = from_run(
                Forgetful(deps.tracker, item), deps.bases, teachable.Teachable(), notebook.run_id,
                find_dataset=lambda _: dataset, requested={}, folder=tmp_path / "fetched", price=Price(),
            )  # fmt: skip
        except Refused as refusal:
            refused.append(item)
            assert item.name in str(refusal), item.name
            assert item.why in str(refusal), item.name
        else:
            assert any(line.startswith(item.name) for line in trained.assumed), item.name
    assert refused == [item for item in CONTRACT if not item.derived]


def test_runs_are_compared_and_the_chosen_one_is_proposed(
    typed: Callable[..., Said], deps: Deps, dataset: Dataset, tmp_path: Path
) -> None:
    """Two seeds of a tiny model after eight steps: nobody can tell them apart, and nobody is crowned."""
    base = tiny.write_model(tmp_path / "tiny")
    specs = [teachable.spec(deps, dataset, base, seed=seed) for seed in (0, 1)]
    runs = [lifecycle.train(deps, teachable.Teachable(), dataset, spec, price=Price()) for spec in specs]
    ids = [run.run_id for run in runs]
    compared = typed("runs", "compare", "--task", "toy", *(each[:10] for each in ids), "--json").json
    assert sorted(each["run"] for each in compared["runs"]) == sorted(ids)
    assert [each["standing"] for each in compared["runs"]] == ["leads", "not distinguishable"]
    assert "not distinguishable" in compared["verdict"]
    assert compared["score"] == "right"
    of_dataset = typed("runs", "compare", "--task", "toy", "--dataset", "latest", "--json").json
    assert {each["run"] for each in of_dataset["runs"]} >= set(ids)
    proposed = typed("propose", "--task", "toy", ids[1], "--json")
    assert "not distinguishable" in proposed.err
    assert proposed.json["mlflow_run_id"] == ids[1]
    assert proposed.json["assumed"] == [], "our own run says everything"
    local = lifecycle.register(deps, teachable.Teachable(), runs[1], "toy_policy")
    assert local.name == proposed.json["policy_version"], "by its folder or by its id: the same files, one version"
    typed("runs", "compare", "--task", "toy", code=2)
    typed("runs", "compare", "--task", "toy", "zzzz", code=2)
    typed("runs", "compare", "--task", "toy", *ids, "--metric", "nonsense", code=2)
    assert "nothing waits" in typed("runs", "sync").out
    typed("runs", "sync", "--run-id", "0" * 32, code=2)


class LosesItsVoice:
    """The real tracker until training is over; then nothing can be sent any more."""

    def __init__(self, tracker: Any) -> None:
        self.tracker = tracker

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tracker, name)

    def history(self, run_id: str, name: str) -> Any:
        raise Unreachable("MLflow does not answer")


def test_what_waits_is_listed_sent_and_can_then_be_registered(
    typed: Callable[..., Said], deps: Deps, dataset: Dataset, tmp_path: Path
) -> None:
    base = tiny.write_model(tmp_path / "tiny")
    away = replace(deps, tracker=LosesItsVoice(deps.tracker))  # type: ignore[arg-type]
    with pytest.raises(Unreachable, match="bakeoff runs sync --run-id") as told:
        lifecycle.train(away, teachable.Teachable(), dataset, teachable.spec(deps, dataset, base), price=Price())
    found = re.search(r"--run-id (\w+)", str(told.value))
    assert found
    run_id = found[1]
    (listed,) = [run for run in typed("runs", "list", "--task", "toy", "--json").json["runs"] if run["run"] == run_id]
    assert listed["status"] == "waits for sync"
    assert "RUNNING, expected FINISHED" in typed("register", "--task", "toy", "--run-id", run_id, code=3).err
    assert f"bakeoff register --run-id {run_id}" in typed("runs", "sync").out
    assert "waits" not in typed("runs", "list", "--task", "toy").out
    made = typed("register", "--task", "toy", "--run-id", run_id, "--json").json
    assert made["mlflow_run_id"] == run_id


def test_the_contract_is_printed_for_people_and_machines(typed: Callable[..., Said]) -> None:
    printed = typed("contract", "show", "--task", "toy").out
    assert all(item.name in printed for item in CONTRACT)
    assert contract.script("toy", "right") in printed
    body = typed("contract", "show", "--task", "toy", "--json").json
    assert [(each["kind"], each["name"]) for each in body["items"]] == [(item.kind, item.name) for item in CONTRACT]
    assert body["script"] == contract.script("toy", "right")
