"""The search space for LoRA recipes. Pure.

A few dimensions only, because trials are dear: the learning rate matters most, rank hardly (LoRA Without Regret,
thinkingmachines.ai 2025), the scale is fixed at alpha = 2 r, dropout is 0."""

import math
from dataclasses import fields
from typing import Any

from bakeoff.training.model import TrainSpec
from bakeoff.training.tuning.model import OneOf, Params, Range, Space

SPACE: Space = (
    Range(name="learning_rate", low=5e-5, high=5e-3, log=True),
    Range(name="epochs", low=1, high=3, whole=True),
    OneOf(name="lora_r", values=(8, 16, 32)),
    OneOf(name="lora_layers", values=("third", "two_thirds", "all")),
    OneOf(name="batch_size", values=(4, 8)),
)
RECIPES = ("lora_sft", "qlora_sft")
"""Recipes that this space fits."""
_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(TrainSpec)}
USUAL: Params = {**{each.name: _DEFAULTS[each.name] for each in SPACE}, "lora_layers": "third"}
"""What `bakeoff train` does where nobody says otherwise; the first trial, so that tuning is held against it."""
EARLY_SHARE = 0.25
"""Share of the rows that the cheap rung trains on."""


def spec_fields(params: Params, layers: int) -> dict[str, Any]:
    """`params` as fields of TrainSpec, for a base of `layers` layers."""
    shares = {"third": math.ceil(layers / 3), "two_thirds": math.ceil(2 * layers / 3), "all": None}
    return {
        "learning_rate": float(params["learning_rate"]),
        "epochs": int(params["epochs"]),
        "batch_size": int(params["batch_size"]),
        "lora_r": int(params["lora_r"]),
        "lora_alpha": 2 * int(params["lora_r"]),
        "lora_layers": shares[str(params["lora_layers"])],
    }


def early_rows(rows: int) -> int:
    """Rows of the cheap rung: a quarter of `rows`, at least 1."""
    return max(1, math.ceil(EARLY_SHARE * rows))


def describe(params: Params) -> str:
    """One line for people: 'learning_rate 0.002, epochs 1, ...'."""
    return ", ".join(
        f"{name} {f'{value:.3g}' if isinstance(value, float) else value}" for name, value in params.items()
    )
