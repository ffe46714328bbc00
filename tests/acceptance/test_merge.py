"""From a trained version, or any trainer's run, to one folder that a server loads as it is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import stages
import teachable
import tiny
from bakeoff import lifecycle
from bakeoff.adapters.generation.weights import base_digest
from bakeoff.inference.choice_logits import take_apart
from bakeoff.inference.model import Price
from bakeoff.lifecycle import Deps
from newcomer import Said


def logits(folder: Path, adapter: Path | None = None) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    model = model if adapter is None else PeftModel.from_pretrained(model, str(adapter)).eval()
    with torch.inference_mode():
        return model(torch.arange(20)[None]).logits


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft asks by the old name
def test_a_version_and_its_run_merge_into_the_same_model(
    bakeoff: Callable[..., Said], deps: Deps, clock: stages.Clock, tmp_path: Path
) -> None:
    task, base, dataset = (
        teachable.Teachable(),
        tiny.write_model(tmp_path / "tiny"),
        teachable.shop_dataset(deps, clock),
    )
    spec = teachable.spec(deps, dataset, base, epochs=1, max_rows=8, learning_rate=0.02)
    trained = lifecycle.train(deps, task, dataset, spec, price=Price())
    version = lifecycle.register(deps, task, trained, "toy_policy")
    out = tmp_path / "merged"
    made = bakeoff("merge", version.name, "--out", out, "--json").json
    assert made["merged"] == version.name
    assert made["difference"] < 1e-5
    assert made["digest"] == base_digest(out)
    adapter = trained.bundle / "adapter"
    torch.testing.assert_close(logits(out), logits(base, adapter), rtol=1e-4, atol=1e-4)
    assert float((logits(out) - logits(base)).abs().max()) > 0.01, "training did something"
    assert (out / "chat_template.jinja").read_text() == tiny.CHATML
    assert "chat_template" in json.loads((out / "tokenizer_config.json").read_text())

    said = bakeoff("merge", trained.run_id[:10], "--task", "toy", "--out", tmp_path / "short", "--dtype", "bfloat16")
    assert "bfloat16 safetensors" in said.out
    assert f"bakeoff policy create --task toy --base {tmp_path / 'short'}" in said.out
    assert sum(path.stat().st_size for path in (tmp_path / "short").glob("*.safetensors")) < 0.7 * sum(
        path.stat().st_size for path in out.glob("*.safetensors")
    )
    take_apart(tiny_model := _plain(out))  # a base model like any other: it can be trained and served
    assert tiny_model.num_parameters() == _plain(base).num_parameters()

    foreign(bakeoff, deps, base, adapter, tmp_path)
    mistakes(bakeoff, version.name, base, tmp_path)


def foreign(bakeoff: Callable[..., Said], deps: Deps, base: Path, adapter: Path, tmp_path: Path) -> None:
    """A run that was never registered, by a trainer that logs its adapter in a folder of its own choice."""
    tags = {"task": "toy", "dataset_version": "2025-01-03"}
    theirs, bare = (deps.tracker.start_run(name, {"base_model": str(base)}, tags) for name in ("theirs", "nothing"))
    shutil.copytree(adapter, tmp_path / "theirs", ignore=shutil.ignore_patterns("encoding.json"))
    deps.tracker.log_artifacts(theirs, tmp_path / "theirs", "outputs/final")
    merged = bakeoff("merge", theirs, "--task", "toy", "--out", tmp_path / "empty", "--json").json
    assert (merged["merged"], merged["digest"]) == (theirs, base_digest(tmp_path / "merged"))
    assert "no adapter" in bakeoff("merge", bare, "--task", "toy", "--out", tmp_path / "other", code=2).err
    for each in (theirs, bare):
        deps.tracker.finish(each)


def mistakes(bakeoff: Callable[..., Said], name: str, base: Path, tmp_path: Path) -> None:
    """Each says what to type and writes nothing."""
    out, other = tmp_path / "merged", tmp_path / "other"
    assert "not empty" in bakeoff("merge", name, "--out", out, code=2).err
    for wrong in ("toy_policy/9", "nothing/1", "0" * 32):
        bakeoff("merge", wrong, "--task", "toy", "--out", other, code=2)
    assert "nothing to merge" in bakeoff("merge", "toy_policy/1", "--out", other, code=2).err
    config = base / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    assert "was trained over a base" in bakeoff("merge", name, "--out", other, code=3).err
    assert not other.exists()


def _plain(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(folder))
