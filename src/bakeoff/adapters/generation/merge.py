"""An adapter folded into its base, for servers that take whole models only. A merge counts once it is proven equal."""

import json
import math
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bakeoff.adapters.generation.weights import base_digest
from bakeoff.errors import Refused, UsageError
from bakeoff.registry.adapter_check import adapter_problems, linear_shapes
from bakeoff.training.adapter import CONFIG, WEIGHTS, tensor_shapes
from bakeoff.training.tokenizer import copy_tokenizer

TOLERANCE = 1e-4
"""Largest difference of a logit between merged and unmerged, as a share of the largest logit. In float32 the two
compute the same sums in another order, which costs some 1e-6; a merge in bfloat16 is off by some 1e-2."""
Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")
_PROBES, _LENGTH = 4, 32  # random token sequences, and tokens of each
_STAGES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """A whole model made of base and adapter."""

    folder: Path  # config.json, *.safetensors and the base's tokenizer
    digest: str  # as of any base model
    dtype: Dtype  # number format of the weights
    difference: float  # largest difference of a logit to the unmerged model in float32, as a share of the largest logit
    rounding: float  # the same for the weights as they were written, computed in float32


def merge_adapter(
    base: Path,
    adapter: Path,
    out: Path,
    *,
    dtype: Dtype = "float32",
    tolerance: float = TOLERANCE,
    on_stage: Callable[[int, int], None] = lambda *_: None,
) -> Merged:
    """Merges in float32 and writes safetensors to `out`, which appears only when merged and unmerged model, and the
    model read back from disk, give the same logits.

    Args:
        dtype: what the merged weights are rounded to, after the proof and before they are written.
        on_stage: (stages done, stages in total).

    No code of the model is run (`trust_remote_code` is off) and no pickle is read. Raises UsageError for a target that
    holds files, Refused for an adapter that is no plain LoRA of this base, or where the logits differ by more than
    `tolerance`."""
    require_empty(out)
    config = json.loads((adapter / CONFIG).read_text())
    problems = adapter_problems(config, tensor_shapes(adapter / WEIGHTS), linear_shapes(base))
    if problems:
        raise Refused(f"the adapter in {adapter} cannot be merged: {'; '.join(problems)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        difference, rounding = _merge(base, adapter, part, dtype, tolerance, on_stage)
        if out.is_dir():
            out.rmdir()  # only an empty one goes
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Merged(folder=out, digest=base_digest(out), dtype=dtype, difference=difference, rounding=rounding)


def require_empty(out: Path) -> None:
    """Raises UsageError for a target that holds files, or is one."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already and not empty", cure="name a new folder: --out FOLDER")


def _merge(
    base: Path, adapter: Path, part: Path, dtype: Dtype, tolerance: float, on_stage: Callable[[int, int], None]
) -> tuple[float, float]:
    """Writes the merged model into `part`; returns its difference in float32, and as it was written."""
    import torch

    model = _adapted(base, adapter)
    wanted = _logits(model)
    on_stage(1, _STAGES)
    merged = model.merge_and_unload()
    difference = _difference(wanted, _logits(merged))
    _require(difference, tolerance, "merged and unmerged model")
    on_stage(2, _STAGES)
    merged = merged.to(getattr(torch, dtype))
    merged.save_pretrained(str(part))
    copy_tokenizer(base, part)
    on_stage(3, _STAGES)
    there = _load(part)
    _require_same(merged, there)
    rounding = _difference(wanted, _logits(there))
    _require(rounding, tolerance if dtype == "float32" else math.inf, "the unmerged model and the one read back")
    on_stage(4, _STAGES)
    return difference, rounding


def _require_same(merged: Any, there: Any) -> None:
    """What was read back is what was written, bit for bit."""
    import torch

    read = dict(there.named_parameters())
    for name, weights in merged.named_parameters():
        if name not in read or not torch.equal(read[name].to(weights.dtype), weights):
            raise Refused(f"{name} was not read back as it was written", cure="look at the disk; nothing was kept")


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

    size = int(model.config.get_text_config().vocab_size)
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
