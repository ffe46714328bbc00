"""A trained version: its curve is on the page, and its signature covers the adapter as the registry holds it."""

from pathlib import Path
from typing import Any

import pytest

import stages
import teachable
import tiny
from bakeoff import plugins
from bakeoff.lifecycle import Deps

GATE = """
name = "toy"
minimum_effective_units = 5
[metrics.known_drink]
kind = "absolute"
minimum = 1.0
"""
TEST = """
hypothesis = "superiority"
primary = "accepted"
stages = [1000]
minimum_units = 20
horizon_weeks = 8.0
"""


def test_a_trained_version_is_reported_with_its_curve_and_bound_to_its_adapter(
    bakeoff: Any,
    deps: Deps,
    clock: stages.Clock,
    mlflow_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugins, "load_task", lambda _: teachable.Teachable())
    monkeypatch.setenv("BAKEOFF_THREADS", "1")
    (tmp_path / "gate.toml").write_text(GATE)
    (tmp_path / "test.toml").write_text(TEST)
    bakeoff("policy", "create", "--task", "toy", "--python", "toy:stubborn")
    bakeoff("policy", "adopt", "toy_policy/1", "--by", "Ada", "--reason", "it serves")
    stages.live(deps, clock, day=1, shoppers=120)
    clock.turn(days=4)
    bakeoff("dataset", "build", "--task", "toy")
    base = tiny.write_model(tmp_path / "tiny")
    made = bakeoff(
        "train", "--task", "toy", "--base", base, "--epochs", "2", "--lora-layers", "all", "--max-rows", "16",
        "--dtype", "float32", "--json",
    ).json  # fmt: skip
    name = made["policy_version"]
    report = bakeoff("gate", name, "--gate", tmp_path / "gate.toml", "--json").json
    assert report["verdict"] == "PASS"

    page = Path(bakeoff("report", name, "--json").json["page"]).read_text()
    assert 'aria-label="by training step: training loss from' in page
    assert "validation loss ends at" in page
    assert made["model"] in page

    words = ("approve", name, "--report", report["digest"], "--by", "Grace", "--note", "read it")
    weights = _registered_weights(mlflow_uri, made["model"])
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused = bakeoff(*words, code=3)
    assert "the registered model's adapter was" in refused.err
    assert "register the model again" in refused.err
    weights.write_bytes(whole)
    assert "adapter" in bakeoff(*words, "--json").json["covers"]
    weights.unlink()
    start = ("experiment", "start", name, "--spec", tmp_path / "test.toml")
    assert "the registered model's adapter was" in bakeoff(*start, code=3).err
    assert "the registered model's adapter" in bakeoff("trace", name, "--json").json["approval_ended"]["reason"]


def _registered_weights(mlflow_uri: str, model: str) -> Path:
    """The registry's own copy of ``models:/NAME/VERSION``."""
    from mlflow import MlflowClient

    name, _, version = model.removeprefix("models:/").partition("/")
    place = MlflowClient(mlflow_uri, mlflow_uri).get_model_version_download_uri(name, version)
    return Path(place.removeprefix("file://")) / "adapter" / "adapter_model.safetensors"
