"""What makes a policy spec another one."""

from dataclasses import replace
from typing import Any

import pytest

from bakeoff.inference.model import Decoding, ModelRef, PolicySpec, Price

MODEL = ModelRef(base="smollm2", base_digest="sha256:b", adapter="models:/planner_model/3", adapter_digest="sha256:a")
SPEC = PolicySpec(
    task="planner", engine="transformers", prompt_version="1", model=MODEL, dtype="float32",
    decoding=Decoding(mode="choices"), price=Price(per_million_prompt_tokens=1),
)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "python"}, {"dtype": "bfloat16"}, {"decoding": Decoding(mode="greedy")}, {"prompt_version": "2"},
        {"price": Price()}, {"seed": 1}, {"task": "tea"},
        {"model": replace(MODEL, base_digest="sha256:c")}, {"model": replace(MODEL, adapter_digest="sha256:c")},
    ],
    ids=str,
)  # fmt: skip
def test_another_engine_number_format_or_decoding_is_another_spec(change: dict[str, Any]) -> None:
    """So it has a replay, a gate and an approval of its own: engines round differently, and numbers of two are never
    mixed in one replay."""
    assert replace(SPEC, **change).fingerprint != SPEC.fingerprint


def test_where_an_adapter_lies_is_not_part_of_it() -> None:
    assert replace(SPEC, model=replace(MODEL, adapter="/tmp/copy")).fingerprint == SPEC.fingerprint
