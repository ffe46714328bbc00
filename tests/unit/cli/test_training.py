"""What is said on the command line becomes a TrainSpec; the guide's own words work."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from bakeoff.cli import run_command
from bakeoff.cli.training import (
    DEFAULTS,
    below_root,
    declared_price,
    duration,
    layers,
    plan_text,
    settled,
    spec_options,
    train,
)
from bakeoff.errors import UsageError
from bakeoff.inference.model import PolicySpec, Price
from bakeoff.policies.model import PolicyVersion
from bakeoff.training.adapter import CONFIG, ENCODING, WEIGHTS, adapter_digest
from bakeoff.training.model import TrainSpec
from bakeoff.training.plan import Plan, Speed
from bakeoff.training.sizes import Memory

SCRIPT = Path(__file__).parents[3] / "train_planner.py"


def test_the_options_default_to_what_the_spec_says() -> None:
    said = {option.name: option.default for option in train.params if isinstance(option, click.Option)}
    elsewhere = ("task", "dataset_digest", "base", "base_digest", "prompt_version", "dtype", "learning_rate", "start")
    for field in fields(TrainSpec):
        if field.name not in elsewhere:
            given = layers(said[field.name]) if field.name == "lora_layers" else said[field.name]
            assert given == field.default, field.name


def test_layers_are_a_number_or_all() -> None:
    assert (layers("10"), layers("all")) == (10, None)
    with pytest.raises(UsageError, match="expected for instance 10, or all"):
        layers("some")


def test_a_price_is_what_was_given_or_what_the_incumbent_costs() -> None:
    usual = Price(per_million_prompt_tokens=0.05, per_million_completion_tokens=0.2)
    spec = PolicySpec(task="toy", engine="python", prompt_version="1", price=usual)
    incumbent = PolicyVersion(
        policy_version_id="1", policy_id="p", version=1, spec=spec, fingerprint="f", status="production"
    )
    assert declared_price(None, None, incumbent) == usual
    assert declared_price(0.0, None, incumbent) == replace(usual, per_million_prompt_tokens=0.0)
    assert declared_price(None, None, None) == Price()


def test_an_absent_folder_is_looked_for_below_the_root_by_its_last_parts() -> None:
    assert below_root("/datasets/planner/2025-01-03", "/home/me/data/") == [
        "/home/me/data/datasets/planner/2025-01-03",
        "/home/me/data/planner/2025-01-03",
        "/home/me/data/2025-01-03",
    ]


def test_the_guides_command_is_taken_word_by_word(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = importlib.util.spec_from_file_location("train_planner", SCRIPT)
    assert loaded is not None
    assert loaded.loader is not None
    script: Any = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(script)
    asked: dict[str, Any] = {}

    @contextmanager
    def wired() -> Iterator[str]:
        yield "deps"

    monkeypatch.setattr(script, "deps", wired)
    monkeypatch.setattr(script, "dataset_at", lambda _, folder: folder)
    monkeypatch.setattr(script, "run", lambda *given, **options: asked.update(given=given, **options))
    words = ["--dataset=/datasets/planner/2025-01-03", "--model_base=llama3", "--epochs=3"]
    assert run_command(script.train_planner, name="train_planner.py", argv=words) == 0
    assert asked["given"] == ("deps", "planner", "/datasets/planner/2025-01-03", "llama3")
    assert (asked["epochs"], asked["plan"]) == (3, False)


@pytest.fixture
def asked() -> dict[str, Any]:
    return {}


@pytest.fixture
def command(asked: dict[str, Any]) -> click.Command:
    @click.command()
    @click.option("--base-model", "--base", "base", default="smollm2")
    @spec_options
    def probe(**options: Any) -> None:
        asked.update(options)

    return probe


def _config(folder: Path, text: str) -> str:
    path = folder / "run.toml"
    path.write_text(text)
    return str(path)


def test_a_config_file_gives_defaults_and_what_is_typed_wins(
    tmp_path: Path, command: click.Command, asked: dict[str, Any]
) -> None:
    text = 'base-model = "qwen"\nepochs = 3\nlora_layers = "all"\nlearning-rate = 1e-3\nrecipe = "lora_dpo"\n'
    words = ["--epochs", "5", "--config", _config(tmp_path, text)]
    assert run_command(command, name="probe", argv=words) == 0
    assert (asked["base"], asked["epochs"], asked["lora_layers"]) == ("qwen", 5, "all")
    assert (asked["learning_rate"], asked["recipe"], asked["batch_size"]) == (1e-3, "lora_dpo", 4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch = 3", "'epoch' that train does not know; did you mean 'epochs'?"),
        ("plan = true", "'plan' that train does not know"),
        ("[lora]\nr = 8", "'lora' that train does not know"),
        ("epochs = ", "cannot be read"),
        ('epochs = "many"', "'many' is not a valid integer"),
    ],
)
def test_a_config_file_is_closed(
    tmp_path: Path, command: click.Command, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(command, name="probe", argv=["--config", _config(tmp_path, text)]) == 2
    assert says in capsys.readouterr().err


def test_the_start_says_its_rank_and_the_recipe_its_learning_rate(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name, text in ((CONFIG, '{"r": 8, "lora_alpha": 16}'), (ENCODING, "{}"), (WEIGHTS, "w")):
        (adapter / name).write_text(text)
    options = {name: DEFAULTS[name] for name in ("lora_r", "lora_alpha")} | {"lora_layers": "10", "learning_rate": None}
    wired = SimpleNamespace(work=tmp_path / "work")
    plain = settled(wired, "toy", options | {"recipe": "lora_sft", "from_run": None, "config": None})
    assert plain == {**options, "recipe": "lora_sft", "lora_layers": 10, "learning_rate": 2e-3}
    found = settled(wired, "toy", options | {"recipe": "lora_dpo", "from_run": str(adapter)})
    assert (found["lora_r"], found["lora_alpha"], found["learning_rate"]) == (8, 16, 2e-4)
    assert found["start"] == adapter_digest(adapter)
    assert (
        settled(wired, "toy", options | {"recipe": "lora_dpo", "from_run": str(adapter), "lora_r": 32})["lora_r"] == 32
    )


def test_a_plan_in_words() -> None:
    spec = TrainSpec(task="toy", dataset_digest="d", base="tiny", base_digest="b", prompt_version="1", dtype="float32")
    planned = Plan(
        spec=spec, processes=1, rows=20, rows_too_long=1, validation_rows=5, longest_row=300, tokens=12_000, steps=10,
        base_parameters=134_000_000, trainable_parameters=1_600_000,
        memory=Memory(base=538_000_000, adapter=26_000_000, activations=400_000_000, runtime=500_000_000),
        speed=Speed(tokens_per_second=100.0, source="2 steps measured just now"), logged=("param seed",),
    )  # fmt: skip
    text = plan_text(planned)
    assert "about 2 min at 100 tokens/s (2 steps measured just now)" in text
    assert "about 1.5 GB (base 0.54, adapter 0.03, activations 0.40)" in text
    assert "in each of 4 processes" in plan_text(replace(planned, processes=4))
    assert "param seed" in text
    assert "time: unknown" in plan_text(replace(planned, speed=None))
    assert [duration(seconds) for seconds in (40, 720, 12_600)] == ["40 s", "12 min", "3.5 h"]
