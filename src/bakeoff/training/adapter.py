"""The folder that a LoRA recipe leaves behind: what must be in it, what must not, and its digest."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bakeoff.errors import Refused, UsageError
from bakeoff.fingerprint import digest
from bakeoff.training.model import LORA_RANKS

CONFIG, WEIGHTS, ENCODING = "adapter_config.json", "adapter_model.safetensors", "encoding.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
"""Endings of files that may run code when they are loaded."""
_REFUSED = {
    "use_dora": "it uses DoRA, which servers do not support",
    "modules_to_save": "it replaces whole modules (modules_to_save)",
    "trainable_token_indices": "it trains single token embeddings (trainable_token_indices)",
    "target_parameters": "it adapts bare parameters (target_parameters)",
    "lora_bias": "it trains biases (lora_bias)",
    "layer_replication": "it replicates layers",
    "auto_mapping": "it brings classes of its own (auto_mapping)",
}


def adapter_digest(folder: Path) -> str:
    """Content digest over the three files. Raises UsageError where one is missing."""
    missing = [name for name in (CONFIG, WEIGHTS, ENCODING) if not (folder / name).is_file()]
    if missing:
        raise UsageError(
            f"{folder} is not an adapter folder: no {', '.join(missing)}", cure="expected what `bakeoff train` writes"
        )
    return digest({n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in (CONFIG, WEIGHTS, ENCODING)})


def read_encoding(folder: Path) -> dict[str, str]:
    """How the adapter's requests were encoded: base_digest, template_digest, prompt_version, decoding_mode."""
    return {str(name): str(value) for name, value in json.loads((folder / ENCODING).read_text()).items()}


def lint_adapter(folder: Path) -> None:
    """Raises Refused for an adapter that could not be served everywhere, or that would run code when loaded."""
    problems = [
        *config_problems(json.loads((folder / CONFIG).read_text())),
        *(f"{path.name} is a pickle" for path in sorted(folder.rglob("*")) if is_pickle(path.name)),
    ]
    if problems:
        raise Refused(f"the adapter in {folder} is refused: {'; '.join(problems)}", cure="train it with plain LoRA")


def is_pickle(path: str) -> bool:
    return path.lower().endswith(PICKLES)


def config_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """What an adapter_config.json says that some server does not take, one sentence each."""
    if config.get("peft_type", "LORA") != "LORA":
        yield f"it is of type {config['peft_type']}, expected LORA"
    ranks = {config.get("r"), *(config.get("rank_pattern") or {}).values()}
    for rank in sorted(ranks, key=str):
        if rank not in LORA_RANKS:
            yield f"rank {rank} cannot be served; expected one of {', '.join(map(str, LORA_RANKS))}"
    for name, problem in _REFUSED.items():
        if config.get(name):
            yield problem
    if config.get("bias", "none") != "none":
        yield f"it trains biases (bias = {config['bias']!r})"


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes in a safetensors file by name, from its header alone. Raises ValueError for a file that is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path.name} is no safetensors file: {error}") from error
