from dataclasses import fields, replace

import pytest

from bakeoff.errors import UsageError
from bakeoff.training.model import TrainSpec

SPEC = TrainSpec(task="toy", dataset_digest="d", base="tiny", base_digest="b", prompt_version="1", dtype="float32")
OTHER = {
    "task": "tea", "dataset_digest": "e", "base": "llama3", "base_digest": "c", "prompt_version": "2",
    "dtype": "bfloat16", "recipe": "qlora_sft", "epochs": 2, "learning_rate": 1e-3, "batch_size": 8, "micro_batch": 1,
    "lora_r": 8, "lora_alpha": 16, "lora_layers": None, "max_rows": 9, "max_tokens": 99, "seed": 1,
    "decoding_mode": "greedy",
}  # fmt: skip
PAIRS = replace(SPEC, recipe="lora_dpo", start="sha256:a")
OTHER_PAIRS = {"start": "sha256:b", "beta": 0.2, "sft_weight": 1.0, "min_pairs": 50}


def test_every_field_is_part_of_the_fingerprint() -> None:
    assert set(OTHER) | set(OTHER_PAIRS) == {field.name for field in fields(TrainSpec)}
    prints = {replace(SPEC, **{name: value}).fingerprint for name, value in OTHER.items()} | {SPEC.fingerprint}
    prints |= {replace(PAIRS, **{n: value}).fingerprint for n, value in OTHER_PAIRS.items()} | {PAIRS.fingerprint}
    assert len(prints) == len(OTHER) + len(OTHER_PAIRS) + 2
    assert replace(SPEC).fingerprint == SPEC.fingerprint


@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [
        ("epochs", 0, "--epochs 0"),
        ("batch_size", 0, "--batch-size 0"),
        ("batch_size", 3, "--batch-size 3 is no multiple of --micro-batch 2"),
        ("learning_rate", 0.0, "--learning-rate 0.0"),
        ("learning_rate", 2.0, "--learning-rate 2.0"),
        ("lora_r", 12, "--lora-r 12"),
        ("lora_layers", 0, "--lora-layers 0"),
        ("max_rows", 0, "--max-rows 0"),
        ("max_tokens", 0, "--max-tokens 0"),
        ("dtype", "float16", "--dtype float16"),
        ("decoding_mode", "sample", "--decoding-mode sample"),
        ("recipe", "full", "--recipe full"),
    ],
)
def test_a_value_that_cannot_work_names_its_flag(field: str, value: object, flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        replace(SPEC, **{field: value})


@pytest.mark.parametrize(("micro_batch", "processes", "passes"), [(2, 1, 2), (1, 2, 2), (2, 2, 1), (1, 4, 1)])
def test_all_processes_together_see_the_batch_that_was_asked_for(micro_batch: int, processes: int, passes: int) -> None:
    assert replace(SPEC, micro_batch=micro_batch).accumulation(processes) == passes


def test_a_batch_that_cannot_be_shared_says_which_could() -> None:
    with pytest.raises(UsageError, match="--batch-size 6 cannot be shared by 4 (?s:.*)--batch-size 8, or any multiple"):
        replace(SPEC, batch_size=6, micro_batch=1).accumulation(4)
