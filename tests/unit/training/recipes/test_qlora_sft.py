"""What can be known without a GPU: the refusal, and what the base would be loaded with."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bakeoff.errors import Refused
from bakeoff.training.model import TrainSpec
from bakeoff.training.recipes import lora_sft, qlora_sft

SPEC = TrainSpec(
    task="toy", dataset_digest="d", base="tiny", base_digest="sha256:b", prompt_version="7", dtype="bfloat16",
    recipe="qlora_sft",
)  # fmt: skip


def test_without_a_gpu_it_is_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Refused, match="needs an NVIDIA GPU(?s:.*)--recipe lora_sft"):
        qlora_sft.train(SPEC, [], base_dir=tmp_path / "absent", out_dir=tmp_path / "out", threads=1)
    assert list(tmp_path.iterdir()) == []


def test_it_is_lora_sft_over_four_bit_normal_floats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same recipe with another way to load the base: NF4, quantised twice, computing in bfloat16."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(qlora_sft, "require_gpu", lambda: None)
    monkeypatch.setattr(lora_sft, "train", lambda *given, **named: asked.update(named, given=given))
    qlora_sft.train(SPEC, [], base_dir=tmp_path, out_dir=tmp_path / "out", threads=3)
    assert asked["load_base"] is qlora_sft.four_bit_base
    assert (asked["given"], asked["threads"]) == ((SPEC, [], ()), 3)
    assert qlora_sft.QUANTIZATION == {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "bfloat16",
    }


def test_the_names_are_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers warns of, or drops, what it does not know; its own check asks for bitsandbytes and is left out."""
    from transformers import BitsAndBytesConfig

    monkeypatch.setattr(BitsAndBytesConfig, "post_init", lambda self: None)
    config = BitsAndBytesConfig(**qlora_sft.QUANTIZATION)
    assert config.load_in_4bit
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_compute_dtype is torch.bfloat16
    assert not config.load_in_8bit
