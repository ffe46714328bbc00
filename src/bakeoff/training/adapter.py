"""The folder that a LoRA recipe leaves behind: what must be in it, and its digest."""

import hashlib
import json
from pathlib import Path

from bakeoff.errors import Refused, UsageError
from bakeoff.fingerprint import digest
from bakeoff.training.model import LORA_RANKS

CONFIG, WEIGHTS, ENCODING = "adapter_config.json", "adapter_model.safetensors", "encoding.json"


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
    config = json.loads((folder / CONFIG).read_text())
    problems = [
        *([] if config["r"] in LORA_RANKS else [f"rank {config['r']} is none of {LORA_RANKS}"]),
        *(["it uses DoRA"] if config.get("use_dora") else []),
        *(["it replaces whole modules (modules_to_save)"] if config.get("modules_to_save") else []),
        *(["it trains biases"] if config.get("bias", "none") != "none" else []),
        *(f"{path.name} is a pickle" for path in sorted(folder.rglob("*")) if path.suffix in (".bin", ".pt", ".pkl")),
    ]
    if problems:
        raise Refused(f"the adapter in {folder} is refused: {'; '.join(problems)}", cure="train it with plain LoRA")
