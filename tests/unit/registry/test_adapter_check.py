from pathlib import Path
from typing import Any

import pytest

from bakeoff.registry.adapter_check import adapter_problems, linear_shapes
from bakeoff.training.adapter import tensor_shapes
from tiny import write_model

CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": 8, "bias": "none", "use_dora": False, "modules_to_save": None}
LINEARS = {"model.layers.0.q": (32, 16), "model.layers.0.k": (8, 16)}
TENSORS = {
    "base_model.model.model.layers.0.q.lora_A.weight": (8, 16),
    "base_model.model.model.layers.0.q.lora_B.weight": (32, 8),
}


def test_a_plain_lora_has_no_problem() -> None:
    assert adapter_problems(CONFIG, TENSORS, LINEARS) == ()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"r": 12}, "rank 12 cannot be served"),
        ({"rank_pattern": {"q": 7}}, "rank 7 cannot be served"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"lora_bias": True}, "biases"),
        ({"peft_type": "IA3"}, "of type IA3"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
    ],
)
def test_what_servers_do_not_take_is_named(change: dict[str, Any], problem: str) -> None:
    assert any(problem in each for each in adapter_problems({**CONFIG, **change}, TENSORS, LINEARS))


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({}, "holds no LoRA weights"),
        (
            {n.replace("layers.0", "layers.9"): s for n, s in TENSORS.items()},
            "2 of its|1 of its 1 modules are no linear",
        ),
        ({n: s for n, s in TENSORS.items() if "lora_A" in n}, "do not fit rank or layer"),
        ({**TENSORS, "base_model.model.model.layers.0.q.lora_B.weight": (31, 8)}, "do not fit rank or layer"),
        ({n: tuple(16 if d == 8 else d for d in s) for n, s in TENSORS.items()}, "do not fit rank or layer"),
        ({**TENSORS, "base_model.model.lm_head.weight": (9, 9)}, "is no part of a plain LoRA"),
    ],
    ids=["nothing", "another layer", "half a pair", "another shape", "another rank than it says", "a whole module"],
)
def test_weights_that_do_not_fit_the_base_are_named(tensors: dict[str, tuple[int, ...]], problem: str) -> None:
    found = adapter_problems(CONFIG, tensors, LINEARS)
    assert any(part in each for each in found for part in problem.split("|")), found


def test_everything_is_listed_at_once() -> None:
    assert len(adapter_problems({**CONFIG, "r": 5, "use_dora": True, "bias": "all"}, {}, LINEARS)) == 4


def test_shapes_are_those_of_the_files(tmp_path: Path) -> None:
    """The header that safetensors wrote, and the module tree of the base without its head."""
    base = write_model(tmp_path / "base")
    shapes, linears = tensor_shapes(base / "model.safetensors"), linear_shapes(base)
    assert linears["model.layers.1.self_attn.q_proj"] == shapes["model.layers.1.self_attn.q_proj.weight"] == (32, 32)
    assert len(linears) == 2 * 7
    assert "lm_head" not in linears
    (tmp_path / "torn.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="no safetensors"):
        tensor_shapes(tmp_path / "torn.safetensors")
