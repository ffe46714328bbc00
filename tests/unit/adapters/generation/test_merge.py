import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bakeoff.adapters.generation.merge import TOLERANCE, merge_adapter
from bakeoff.adapters.generation.weights import base_digest
from bakeoff.errors import Refused, UsageError
from tiny import write_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base"))


def save_adapter(base: Path, folder: Path, **config: Any) -> Path:
    """A random adapter, far from zero."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    asked = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **config}
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(str(base)), LoraConfig(init_lora_weights=False, **asked)
        )
        model.save_pretrained(str(folder))
    return folder


def logits(folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    with torch.inference_mode():
        return AutoModelForCausalLM.from_pretrained(str(folder)).eval()(torch.arange(20)[None]).logits


def test_a_merged_model_answers_as_base_and_adapter_did(base: Path, tmp_path: Path) -> None:
    adapter = save_adapter(base, tmp_path / "adapter")
    merged = merge_adapter(base, adapter, tmp_path / "merged")
    assert merged.difference < TOLERANCE / 10
    assert merged.digest == base_digest(merged.folder) != base_digest(base)
    assert sorted(p.suffix for p in merged.folder.iterdir() if p.suffix in (".bin", ".pt", ".safetensors")) == [
        ".safetensors"
    ]
    assert (merged.folder / "tokenizer.json").read_text() == (base / "tokenizer.json").read_text()
    assert float((logits(merged.folder) - logits(base)).abs().max()) > 0.1, "the adapter does something"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_base_in_bfloat16_is_merged_in_float32_and_rounded_last(base: Path, tmp_path: Path) -> None:
    """A bfloat16 number cannot hold what a small adapter adds, so the proof is in float32 whatever is written; what
    rounding costs is said."""
    from transformers import AutoModelForCausalLM

    short = tmp_path / "short"
    shutil.copytree(base, short)
    AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.bfloat16).save_pretrained(str(short))
    adapter = save_adapter(short, tmp_path / "adapter")
    merged = merge_adapter(short, adapter, tmp_path / "merged")
    assert (merged.dtype, merged.rounding < TOLERANCE) == ("float32", True)
    rounded = merge_adapter(short, adapter, tmp_path / "rounded", dtype="bfloat16")
    assert rounded.difference == merged.difference, "the proof is in float32 in any case"
    assert TOLERANCE < rounded.rounding < 0.1
    weights = {p.stem: load_file(p / "model.safetensors") for p in (merged.folder, rounded.folder)}
    for name, exact in weights["merged"].items():
        assert exact.dtype is torch.float32
        assert torch.equal(weights["rounded"][name], exact.to(torch.bfloat16)), name
    assert json.loads((rounded.folder / "config.json").read_text())["dtype"] == "bfloat16"


def test_nothing_that_is_there_is_written_over(base: Path, tmp_path: Path) -> None:
    adapter = save_adapter(base, tmp_path / "adapter")
    (tmp_path / "out").mkdir()
    stages: list[tuple[int, int]] = []
    merged = merge_adapter(base, adapter, tmp_path / "out", on_stage=lambda *at: stages.append(at))
    assert stages == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for taken in (merged.folder, merged.folder / "config.json"):
        with pytest.raises(UsageError, match="is there already and not empty"):
            merge_adapter(base, adapter, taken)
    assert base_digest(merged.folder) == merged.digest


def test_a_merge_that_is_not_equal_is_thrown_away(base: Path, tmp_path: Path) -> None:
    adapter = save_adapter(base, tmp_path / "adapter")
    with pytest.raises(Refused, match="merged and unmerged model differ by"):
        merge_adapter(base, adapter, tmp_path / "merged", tolerance=0.0)
    assert not (tmp_path / "merged").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize(
    ("config", "problem"),
    [({"use_dora": True}, "DoRA"), ({"r": 5}, "rank 5"), ({"modules_to_save": ["lm_head"]}, "modules_to_save")],
)
def test_only_a_plain_lora_is_merged(base: Path, tmp_path: Path, config: dict[str, Any], problem: str) -> None:
    adapter = save_adapter(base, tmp_path / "adapter", **config)
    with pytest.raises(Refused, match=problem):
        merge_adapter(base, adapter, tmp_path / "merged")


def test_an_adapter_of_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", layers=3)
    adapter = save_adapter(other, tmp_path / "adapter")
    with pytest.raises(Refused, match="no linear layer of the base model"):
        merge_adapter(base, adapter, tmp_path / "merged")
