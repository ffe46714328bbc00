"""QLoRA (Dettmers et al. 2023, arXiv 2305.14314): `lora_sft` over a base whose weights are kept in 4 bits.

The loss, the rows, the loop and the adapter are those of `lora_sft`; only the frozen base is smaller, so that a large
model fits on one GPU. The adapter learns over the rounded base and is served over the full one: its offline scores
are measured as it is served, so what rounding costs is in them.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from bakeoff.errors import Refused
from bakeoff.training.choice_trainer import Keeping, number_format
from bakeoff.training.lora import load_causal
from bakeoff.training.model import OnStep, TrainingRow, TrainResult, TrainSpec
from bakeoff.training.recipes import lora_sft


def quantization(spec: TrainSpec) -> dict[str, Any]:
    """Arguments of transformers' BitsAndBytesConfig."""
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",  # quantiles of a normal distribution, as weights have
        "bnb_4bit_use_double_quant": True,  # the scales are quantised too: 0.4 bits less per weight
        "bnb_4bit_compute_dtype": spec.dtype,  # what weights become for a product; bfloat16 where the GPU has it
    }


def train(
    spec: TrainSpec,
    rows: Sequence[TrainingRow],
    validation_rows: Sequence[TrainingRow] = (),
    *,
    base_dir: Path,
    out_dir: Path,
    threads: int,
    on_step: OnStep | None = None,
    keeping: Keeping | None = None,
) -> TrainResult:
    """As `lora_sft.train`. Raises Refused, before anything is read, where there is no NVIDIA GPU or no bitsandbytes."""
    require_gpu()
    return lora_sft.train(
        spec,
        rows,
        validation_rows,
        base_dir=base_dir,
        out_dir=out_dir,
        threads=threads,
        on_step=on_step,
        keeping=keeping,
        load_base=four_bit_base,
    )


def require_gpu() -> None:
    """Raises Refused with what to do instead."""
    if not torch.cuda.is_available():
        raise Refused(
            "qlora_sft needs an NVIDIA GPU: its 4-bit matrices have no CPU kernels worth waiting for",
            cure="--recipe lora_sft trains the same adapter over the full base; or run this on a machine with a GPU",
        )
    if find_spec("bitsandbytes") is None:
        raise Refused("qlora_sft needs bitsandbytes, which is not installed", cure="pip install 'bakeoff[qlora]'")


def four_bit_base(base_dir: Path, spec: TrainSpec) -> Any:
    """The base in 4-bit normal floats, on this process's GPU; what is not quantised (norms, embeddings) as the spec
    says."""
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(**quantization(spec))
    return load_causal(base_dir, number_format(spec), quantization_config=config, device_map={"": gpu()})


def gpu() -> int:
    """Number of this process's GPU on its machine."""
    from accelerate import PartialState

    return int(PartialState().local_process_index)
