"""What can be known without a GPU: the refusal, and what the base would be loaded with."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from bakeoff.errors import Refused
from bakeoff.training.adapter import lint_adapter
from bakeoff.training.model import TrainSpec
from bakeoff.training.recipes import lora_sft, qlora_sft
from tiny import NO, YES, row, write_model

SPEC = TrainSpec(
    task="toy", dataset_digest="d", base="tiny", base_digest="sha256:b", prompt_version="7", dtype="bfloat16",
    recipe="qlora_sft",
)  # fmt: skip


def test_without_a_gpu_it_is_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Refused, match="needs an NVIDIA GPU(?s:.*)--recipe lora_sft"):
        qlora_sft.train(SPEC, [], base_dir=tmp_path / "absent", out_dir=tmp_path / "out", threads=1)
    assert list(tmp_path.iterdir()) == []


def test_without_bitsandbytes_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(qlora_sft, "find_spec", lambda _: None)
    with pytest.raises(Refused, match="needs bitsandbytes(?s:.*)pip install 'bakeoff.qlora.'"):
        qlora_sft.require_gpu()
    monkeypatch.setattr(qlora_sft, "find_spec", lambda _: object())
    qlora_sft.require_gpu()


def test_it_is_lora_sft_over_another_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same recipe with another way to load the base."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(qlora_sft, "require_gpu", lambda: None)
    monkeypatch.setattr(lora_sft, "train", lambda *given, **named: asked.update(named, given=given))
    qlora_sft.train(SPEC, [], base_dir=tmp_path, out_dir=tmp_path / "out", threads=3)
    assert asked["load_base"] is qlora_sft.four_bit_base
    assert (asked["given"], asked["threads"]) == ((SPEC, [], ()), 3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_base_is_loaded_in_four_bit_normal_floats_quantised_twice(
    dtype: Literal["bfloat16", "float32"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computing in the number format of the spec, which `--dtype` picks by the GPU; on the GPU of this process. The
    names are the library's: transformers drops what it does not know. Its own check asks for bitsandbytes."""
    from transformers import BitsAndBytesConfig

    asked: dict[str, Any] = {}
    monkeypatch.setattr(BitsAndBytesConfig, "post_init", lambda self: None)
    monkeypatch.setattr(qlora_sft, "load_causal", lambda *given, **named: asked.update(named, given=given))
    monkeypatch.setattr(qlora_sft, "gpu", lambda: 3)
    qlora_sft.four_bit_base(tmp_path, replace(SPEC, dtype=dtype))
    config = asked["quantization_config"]
    assert (config.load_in_4bit, config.load_in_8bit) == (True, False)
    assert (config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == ("nf4", True)
    assert config.bnb_4bit_compute_dtype is getattr(torch, dtype)
    assert asked["given"] == (tmp_path, getattr(torch, dtype))
    assert asked["device_map"] == {"": 3}


def test_four_bits_are_really_learnt_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bitsandbytes is installed its own CPU kernels do it, slowly; only the refusal and the place are changed."""
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(qlora_sft, "require_gpu", lambda: None)
    monkeypatch.setattr(qlora_sft, "gpu", lambda: "cpu")
    base = write_model(tmp_path / "base")
    kinds = {type(module).__name__ for module in qlora_sft.four_bit_base(base, SPEC).modules()}
    assert "Linear4bit" in kinds
    truth = {"soup": YES, "stew": NO, "curry": YES, "pie": NO}
    rows = [row(wish, sorted(truth), truth) for wish in ("A.", "Bee.", "Sea.", "Dee.") * 4]
    spec = replace(SPEC, dtype="float32", lora_layers=None, lora_r=8, learning_rate=0.02, epochs=3)
    made = qlora_sft.train(spec, rows, rows[:2], base_dir=base, out_dir=tmp_path / "adapter", threads=1)
    losses = [point.value for point in made.curves if point.name == "validation_loss"]
    assert losses[-1] < losses[0] / 2
    lint_adapter(made.adapter_dir)
    assert all("quant" not in path.read_text() for path in made.adapter_dir.glob("*.json"))
