"""Is a LoRA adapter one that every server takes, and does it fit its base model? Pure; `linear_shapes` reads the base.

The limits are those of vLLM's LoRA support (ranks, no DoRA, no whole modules, no biases), the narrowest of the
servers that we know."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bakeoff.training.adapter import config_problems

Shapes = Mapping[str, tuple[int, ...]]
_PREFIX = "base_model.model."


def adapter_problems(config: Mapping[str, Any], tensors: Shapes, linears: Shapes) -> tuple[str, ...]:
    """Everything that speaks against an adapter, one sentence each; empty: it can be served.

    `config`: adapter_config.json. `tensors`: shapes of adapter_model.safetensors by name. `linears`: (out, in) of the
    base model's linear layers by module name, without the head."""
    return (*config_problems(config), *_tensor_problems(config, tensors, linears))


def _tensor_problems(config: Mapping[str, Any], tensors: Shapes, linears: Shapes) -> Iterator[str]:
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    for name in sorted(tensors):
        module, _, side = name.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
        if side not in ("lora_A", "lora_B"):
            yield f"tensor {name} is no part of a plain LoRA"
        else:
            pairs.setdefault(module, {})[side] = tensors[name]
    if not pairs:
        yield "it holds no LoRA weights"
    strangers = [module for module in pairs if module not in linears]
    if strangers:
        yield (
            f"{len(strangers)} of its {len(pairs)} modules are no linear layer of the base model (the head apart), "
            f"for instance {strangers[0]}"
        )
    wrong = [
        module
        for module, pair in pairs.items()
        if module in linears and not _fits(pair, linears[module], config.get("rank_pattern") or {}, config.get("r"))
    ]
    if wrong:
        yield f"the weights of {len(wrong)} modules do not fit rank or layer, for instance {wrong[0]}"


def _fits(
    pair: Mapping[str, tuple[int, ...]], linear: tuple[int, ...], patterns: Mapping[str, int], rank: object
) -> bool:
    """A is (r, in), B is (out, r)."""
    if set(pair) != {"lora_A", "lora_B"}:
        return False
    found = pair["lora_A"][0]
    fits = pair["lora_A"] == (found, linear[1]) and pair["lora_B"] == (linear[0], found)
    return fits and (found == rank or found in patterns.values())


def linear_shapes(base_dir: Path) -> dict[str, tuple[int, ...]]:
    """(out, in) of each linear layer of a base model but the head, by module name; no weights are read."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(base_dir), local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    head = model.get_output_embeddings()
    return {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
