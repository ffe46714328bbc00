"""What is said on the command line becomes a TrainSpec; the guide's own words work."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import pytest

from bakeoff.cli import run_command
from bakeoff.cli.training import below_root, declared_price, layers, train
from bakeoff.errors import UsageError
from bakeoff.inference.model import PolicySpec, Price
from bakeoff.policies.model import PolicyVersion
from bakeoff.training.model import TrainSpec

SCRIPT = Path(__file__).parents[3] / "train_planner.py"


def test_the_options_default_to_what_the_spec_says() -> None:
    said = {option.name: option.default for option in train.params if isinstance(option, click.Option)}
    asked_elsewhere = {"task", "dataset_digest", "base", "base_digest", "prompt_version", "dtype", "recipe"}
    for field in fields(TrainSpec):
        if field.name not in asked_elsewhere:
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
