"""How much memory a run takes, from the headers of the base model's files: nothing is loaded.

Bytes, with P parameters of the base, T of the adapter, w bytes per number of the base, h the width, f the width inside
the MLP, k the adapted layers and n the tokens of one forward pass (micro-batch times the longest row):

    base         P w                      frozen; 4-bit bases: 0.56 bytes (4 bits, scales, and what stays unrounded)
    adapter      16 T                     float32 weights, gradients, and AdamW's two moments
    activations  n k (18 h + 6 f) w       what the backward pass needs of the layers from the first adapted one on;
                                          layers below it keep nothing
    one layer    n (18 h + 6 f) w         the working set of the layer that is being computed
    runtime      0.5 GB                   Python, torch and its buffers

Counted as by Korthikanti et al. 2022 (arXiv 2205.05198, section 4), a layer with fused attention and a gated MLP saves
about 10 h + 4 f numbers per token; norms and the adapters' own branches, which work in float32, add the rest. The two
factors are set by measured peaks of SmolLM2: 1.66, 7.11 and 2.62 GB where this says 1.63, 7.45 and 2.43 (float32, 2
rows, 10 layers; float32, 8 rows, all layers; bfloat16, 4 rows, all layers). An estimate: measure before renting by it.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bakeoff.errors import UsageError
from bakeoff.training.adapter import tensor_shapes
from bakeoff.training.model import TrainSpec

RUNTIME_BYTES = 500_000_000
FOUR_BIT_BYTES = 0.56
_NUMBER_BYTES = {"float32": 4.0, "bfloat16": 2.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What the files of a decoder say about its size."""

    parameters: int
    layers: int
    hidden: int  # width
    inner: int  # width inside the MLP
    linear: Mapping[int, tuple[tuple[int, int], ...]]  # layer -> (outputs, inputs) of its linear parts


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes; see the module's text."""

    base: int
    adapter: int
    activations: int
    runtime: int

    @property
    def total(self) -> int:
        return self.base + self.adapter + self.activations + self.runtime


def read_shape(folder: Path) -> Shape:
    """Raises UsageError for a folder without safetensors and config.json."""
    try:
        config = json.loads((folder / "config.json").read_text())
        config = config.get("text_config", config)
        tensors = dict(pair for path in sorted(folder.glob("*.safetensors")) for pair in tensor_shapes(path).items())
        hidden = int(config["hidden_size"])
        inner = int(config.get("intermediate_size", 4 * hidden))
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{folder} does not say how large its model is: {type(error).__name__}: {error}",
            cure="expected a folder with config.json and *.safetensors",
        ) from error
    linear: dict[int, tuple[tuple[int, int], ...]] = {}
    for name, shape in sorted(tensors.items()):
        layer = re.search(r"\.(\d+)\.", name)
        if layer and len(shape) == 2 and name.endswith(".weight"):
            linear[int(layer[1])] = (*linear.get(int(layer[1]), ()), (shape[0], shape[1]))
    return Shape(
        parameters=sum(math.prod(shape) for shape in tensors.values()),
        layers=len(linear),
        hidden=hidden,
        inner=inner,
        linear=linear,
    )


def trainable(shape: Shape, rank: int, last_layers: int | None) -> int:
    """Parameters of an adapter: rank times (inputs + outputs) of every linear part of the adapted layers."""
    adapted = sorted(shape.linear)[-(last_layers or len(shape.linear)) :]
    return sum(rank * (out + into) for layer in adapted for out, into in shape.linear[layer])


def memory(shape: Shape, spec: TrainSpec, longest_row: int) -> Memory:
    """`longest_row`: tokens."""
    number = _NUMBER_BYTES["bfloat16" if spec.recipe == "qlora_sft" else spec.dtype]
    kept = FOUR_BIT_BYTES if spec.recipe == "qlora_sft" else number
    layers = min(spec.lora_layers or shape.layers, shape.layers) + 1  # and the one that is being computed
    tokens = spec.micro_batch * longest_row
    return Memory(
        base=round(shape.parameters * kept),
        adapter=16 * trainable(shape, spec.lora_r, spec.lora_layers),
        activations=round(tokens * layers * (18 * shape.hidden + 6 * shape.inner) * number),
        runtime=RUNTIME_BYTES,
    )
