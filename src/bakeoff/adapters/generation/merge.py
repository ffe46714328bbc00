"""An adapter folded into its base, for servers that take whole models only. A merge counts once it is proven equal."""

import json
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakeoff.adapters.generation.weights import base_digest
from bakeoff.errors import Refused
from bakeoff.registry.adapter_check import adapter_problems, linear_shapes
from bakeoff.training.adapter import CONFIG, WEIGHTS, tensor_shapes
from bakeoff.training.run import TOKENIZER_FILES

TOLERANCE = 1e-4
"""Largest difference of a logit between merged and unmerged, as a share of the largest logit. In float32 the two
compute the same sums in another order, which costs some 1e-6; a merge in bfloat16 is off by some 1e-2."""
_PROBES, _LENGTH = 4, 32  # random token sequences, and tokens of each


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """A whole model made of base and adapter."""

    folder: Path  # config.json, *.safetensors (float32) and the base's tokenizer
    digest: str  # as of any base model
    difference: float  # largest difference of a logit, as a share of the largest logit


def merge_adapter(base: Path, adapter: Path, out: Path, *, tolerance: float = TOLERANCE) -> Merged:
    """Merges in float32 and writes safetensors to `out`, which appears only when merged and unmerged model, and the
    model read back from disk, give the same logits.

    No code of the model is run (`trust_remote_code` is off) and no pickle is read. Raises Refused for an adapter
    that is no plain LoRA of this base, or where the logits differ by more than `tolerance`."""
    config = json.loads((adapter / CONFIG).read_text())
    problems = adapter_problems(config, tensor_shapes(adapter / WEIGHTS), linear_shapes(base))
    if problems:
        raise Refused(f"the adapter in {adapter} cannot be merged: {'; '.join(problems)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        model = _adapted(base, adapter)
        wanted = _logits(model)
        merged = model.merge_and_unload()
        difference = _difference(wanted, _logits(merged))
        _require(difference, tolerance, "merged and unmerged model")
        merged.save_pretrained(str(part))
        for name in TOKENIZER_FILES:
            if (base / name).is_file():
                shutil.copy(base / name, part / name)
        _require(_difference(wanted, _logits(_load(part))), tolerance, "the unmerged model and the one read back")
        shutil.rmtree(out, ignore_errors=True)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Merged(folder=out, digest=base_digest(out), difference=difference)


def _load(folder: Path) -> Any:
    import torch

    from bakeoff.training.lora import load_causal

    return load_causal(folder, torch.float32).eval()


def _adapted(base: Path, adapter: Path) -> Any:
    from peft import PeftModel

    with warnings.catch_warnings():
        # peft still asks by the old name of `is_activation_checkpointing`
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        return PeftModel.from_pretrained(_load(base), str(adapter)).eval()


def _logits(model: Any) -> Any:
    """[probes, length, vocabulary] of the same random tokens for every model."""
    import torch

    size = int(model.config.vocab_size)
    ids = torch.randint(size, (_PROBES, _LENGTH), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model(input_ids=ids).logits


def _difference(left: Any, right: Any) -> float:
    return float((left - right).abs().max() / left.abs().max())


def _require(difference: float, tolerance: float, what: str) -> None:
    if not difference <= tolerance:  # also where it is no number
        raise Refused(
            f"{what} differ by {difference:.1e} of the largest logit, more than {tolerance:.1e}",
            cure="serve base and adapter apart; nothing was written",
        )
