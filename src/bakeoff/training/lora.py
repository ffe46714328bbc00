"""LoRA adapters (Hu et al. 2021, arXiv 2106.09685) on any causal LM: where they go, how they are loaded and written."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from bakeoff.errors import BakeoffError, Refused, UsageError
from bakeoff.fingerprint import canonical_json
from bakeoff.training.adapter import CONFIG, ENCODING, WEIGHTS, adapter_digest, lint_adapter, read_encoding
from bakeoff.training.model import TrainSpec


def load_causal(base_dir: Path, dtype: torch.dtype, **options: Any) -> Any:
    """The base model from a folder: safetensors only, no code from the model, nothing from the network."""
    transformers_logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(
        str(base_dir), dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True, **options
    )


def lora_config(spec: TrainSpec, model: Any) -> LoraConfig:
    """Plain LoRA on every linear layer but the head, in the last `spec.lora_layers` layers."""
    return LoraConfig(
        r=spec.lora_r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=target_modules(model, spec.lora_layers),
    )


def target_modules(model: Any, last_layers: int | None) -> list[str]:
    """Full names of the linear layers to adapt. Raises UsageError where the model has fewer layers, or none."""
    head = model.get_output_embeddings()
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head}
    layer_of = {name: int(found[1]) for name in linear if (found := re.search(r"\.(\d+)\.", name))}
    if not layer_of:
        raise UsageError(
            f"a {type(model).__name__} has no numbered layers with linear parts, so LoRA finds no place",
            cure="choose a decoder of the Llama, Qwen, Gemma, GPT-NeoX kind",
        )
    count = max(layer_of.values()) + 1
    if last_layers is not None and last_layers > count:
        raise UsageError(f"--lora-layers {last_layers}: the base model has {count}", cure=f"--lora-layers {count}")
    return sorted(name for name, layer in layer_of.items() if layer >= count - (last_layers or count))


def attach(model: Any, folder: Path, spec: TrainSpec, template_digest: str) -> Any:
    """`model` with the adapter in `folder`, ready to be trained further.

    Raises Refused where it is not the adapter that `spec.start` names, or was made for another base, another way of
    encoding requests or another prompt."""
    _check_start(folder, spec, template_digest)
    attached = PeftModel.from_pretrained(model, str(folder), is_trainable=True)
    # A freshly wrapped adapter has random weights; training on from those would look like training.
    loaded = get_peft_model_state_dict(attached, save_embedding_layers=False)
    saved = load_file(folder / WEIGHTS)
    if sorted(loaded) != sorted(saved) or any(not torch.equal(loaded[n].cpu(), saved[n]) for n in saved):
        raise BakeoffError(f"the weights in {folder} did not arrive in the model")
    return attached


def _check_start(folder: Path, spec: TrainSpec, template_digest: str) -> None:
    lint_adapter(folder)
    actual = adapter_digest(folder)
    if actual != spec.start:
        raise Refused(f"the adapter in {folder} is {actual}, the run asks for {spec.start}", cure="give it again")
    made_with = read_encoding(folder)
    here = {
        "base_digest": spec.base_digest,
        "template_digest": template_digest,
        "prompt_version": spec.prompt_version,
        "decoding_mode": spec.decoding_mode,
    }
    for name, value in here.items():
        if made_with[name] != value:
            raise Refused(
                f"the adapter to start from was trained with {name} {made_with[name]}, this run has {value}",
                cure="train lora_sft again with today's prompt and base, and start from that run",
            )
    config = json.loads((folder / CONFIG).read_text())
    if (config["r"], config["lora_alpha"]) != (spec.lora_r, spec.lora_alpha):
        raise UsageError(
            f"the adapter to start from has rank {config['r']} and alpha {config['lora_alpha']}, asked for were "
            f"{spec.lora_r} and {spec.lora_alpha}",
            cure=f"--lora-r {config['r']} --lora-alpha {config['lora_alpha']}",
        )


def write_adapter(model: Any, spec: TrainSpec, template_digest: str, out_dir: Path) -> None:
    """Adapter as safetensors and canonical JSON: no pickle, no machine path, nothing that changes from run to run.
    `out_dir` appears only when it is whole."""
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        state = get_peft_model_state_dict(model, save_embedding_layers=False)
        save_file({name: t.detach().cpu().contiguous() for name, t in sorted(state.items())}, scratch / WEIGHTS)
        config = model.peft_config["default"].to_dict() | {"base_model_name_or_path": spec.base, "inference_mode": True}
        _write_json(scratch / CONFIG, config | {"target_modules": sorted(config["target_modules"])})
        _write_json(
            scratch / ENCODING,
            {
                "base_digest": spec.base_digest,
                "template_digest": template_digest,
                "prompt_version": spec.prompt_version,
                "decoding_mode": spec.decoding_mode,
            },
        )
        lint_adapter(scratch)
        shutil.rmtree(out_dir, ignore_errors=True)
        scratch.rename(out_dir)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_json(path: Path, body: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(canonical_json(body)), indent=2, sort_keys=True) + "\n")
