from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bakeoff.errors import UsageError
from bakeoff.training.lora import load_causal, target_modules
from bakeoff.training.model import TrainSpec
from bakeoff.training.sizes import RUNTIME_BYTES, Shape, memory, read_shape, trainable
from tiny import FAMILIES, write_model

SPEC = TrainSpec(
    task="toy", dataset_digest="d", base="tiny", base_digest="b", prompt_version="1", dtype="float32", lora_layers=2
)
SMALL = Shape(parameters=1000, layers=3, hidden=10, inner=30, linear=dict.fromkeys(range(3), ((10, 10), (30, 10))))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_headers_say_is_what_the_model_has(tmp_path: Path, family: str) -> None:
    """Counted without loading, against the model itself: a tied head counts once."""
    folder = write_model(tmp_path, family=family, layers=3)
    model, shape = load_causal(folder, torch.float32), read_shape(folder)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert (shape.layers, shape.hidden, shape.inner) == (3, 32, 64)
    for layers in (None, 1, 2):
        linear = [model.get_submodule(name) for name in target_modules(model, layers)]
        assert trainable(shape, 8, layers) == sum(8 * (m.in_features + m.out_features) for m in linear)


def test_worked_numbers() -> None:
    """Rank 16 on two layers: 2 * 16 * (20 + 40) parameters; two rows of 50 tokens through two layers and a third."""
    found = memory(SMALL, SPEC, longest_row=50)
    assert trainable(SMALL, 16, 2) == 1920
    assert (found.base, found.adapter) == (4000, 16 * 1920)
    assert found.activations == 100 * 3 * (18 * 10 + 6 * 30) * 4
    assert found.total == 4000 + 30720 + 432_000 + RUNTIME_BYTES


def test_four_bits_shrink_the_base_and_nothing_else() -> None:
    half = memory(SMALL, replace(SPEC, dtype="bfloat16"), 50)
    four = memory(SMALL, replace(SPEC, recipe="qlora_sft"), 50)
    assert (half.base, four.base) == (2000, 560)
    assert (half.adapter, half.activations) == (four.adapter, four.activations)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="how large its model is"):
        read_shape(tmp_path)
