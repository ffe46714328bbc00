import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel

from bakeoff.adapters.generation.transformers_engine import TransformersEngines
from bakeoff.adapters.generation.weights import base_digest
from bakeoff.errors import Refused, UsageError
from bakeoff.inference.encode import Encoder
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec
from bakeoff.training import choice_trainer
from bakeoff.training.adapter import adapter_digest, read_encoding
from bakeoff.training.lora import load_causal, target_modules
from bakeoff.training.model import TrainingRow, TrainResult, TrainSpec
from bakeoff.training.recipes.lora_sft import train
from tiny import NO, YES, row, write_model

SPEC = TrainSpec(
    task="toy", dataset_digest="d", base="tiny", base_digest="sha256:b", prompt_version="7", dtype="float32",
    learning_rate=0.02, lora_r=8, lora_layers=None, epochs=3,
)  # fmt: skip


def _rows(count: int, seed: int) -> list[TrainingRow]:
    """Whoever asks: soups and curries are kept, stews and pies are not."""
    rng = random.Random(seed)
    truth = {"soup": YES, "curry": YES, "stew": NO, "pie": NO}
    return [row(rng.choice(["A.", "Bee.", "Sea."]), rng.sample(sorted(truth), 4), truth) for _ in range(count)]


ROWS, HELD_OUT = _rows(22, 1), _rows(6, 2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base"))


def _train(base: Path, out: Path, **changes: object) -> TrainResult:
    return train(replace(SPEC, **changes), ROWS, HELD_OUT, base_dir=base, out_dir=out, threads=1)


@pytest.fixture(scope="module")
def result(base: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return _train(base, tmp_path_factory.mktemp("out") / "adapter")


def _curve(result: TrainResult, name: str) -> dict[int, float]:
    return {point.step: point.value for point in result.curves if point.name == name}


def test_a_learnable_pattern_is_learned(result: TrainResult) -> None:
    """On rows that were not trained on, from about ln 2 down to less than half of it."""
    losses = _curve(result, "validation_loss")
    assert losses[0] > 0.5
    assert losses[18] < losses[0] / 2
    training = _curve(result, "training_loss")
    assert sorted(training) == list(range(1, 19))
    assert training[18] < training[1] / 2


def test_the_result_says_what_was_really_done(result: TrainResult, base: Path) -> None:
    assert (result.rows, result.rows_too_long, result.validation_rows) == (22, 0, 6)
    assert result.steps == 18  # 22 rows in batches of 4 are 6 steps an epoch, the last one half full
    assert result.choices == 88
    encoder = Encoder.open(base)
    assert result.tokens == 3 * sum(len(encoder.encode(r.messages, r.schema).input_ids) for r in ROWS)
    assert result.template_digest == encoder.template_digest
    assert 0 < result.trainable_parameters < result.total_parameters
    assert result.adapter_digest == adapter_digest(result.adapter_dir)


def test_the_adapter_is_three_files_without_pickle_or_machine_path(result: TrainResult, base: Path) -> None:
    names = sorted(path.name for path in result.adapter_dir.iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors", "encoding.json"]
    config = (result.adapter_dir / "adapter_config.json").read_text()
    assert str(base) not in config
    assert json.loads(config)["base_model_name_or_path"] == "tiny"
    assert read_encoding(result.adapter_dir) == {
        "base_digest": "sha256:b",
        "template_digest": result.template_digest,
        "prompt_version": "7",
        "decoding_mode": "choices",
    }
    assert [path.name for path in result.adapter_dir.parent.iterdir()] == ["adapter"]


def test_same_seed_same_adapter_other_seed_other_adapter(result: TrainResult, base: Path, tmp_path: Path) -> None:
    torch.rand(3)  # whatever happened before in this process changes nothing
    assert _train(base, tmp_path / "again").adapter_digest == result.adapter_digest
    assert _train(base, tmp_path / "other", seed=1).adapter_digest != result.adapter_digest


def test_the_size_of_micro_batches_does_not_change_what_is_learned(
    result: TrainResult, base: Path, tmp_path: Path
) -> None:
    for size in (1, 4):
        losses = _curve(_train(base, tmp_path / str(size), micro_batch=size), "training_loss")
        assert losses == pytest.approx(_curve(result, "training_loss"), rel=1e-3, abs=1e-4)


def test_training_leaves_threads_and_random_states_alone(base: Path, tmp_path: Path) -> None:
    def state() -> tuple[object, ...]:
        return (
            torch.get_num_threads(),
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
        )

    before = state()
    train(SPEC, ROWS[:4], base_dir=base, out_dir=tmp_path / "adapter", threads=1)
    assert state() == before


def test_every_step_is_reported(base: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, Mapping[str, float]]] = []
    spec = replace(SPEC, epochs=1, max_rows=8)
    train(
        spec, ROWS, base_dir=base, out_dir=tmp_path / "adapter", threads=1,
        on_step=lambda step, total, metrics: seen.append((step, total, metrics)),
    )  # fmt: skip
    assert [(step, total) for step, total, _ in seen] == [(1, 2), (2, 2)]
    assert all(metrics["training_loss"] > 0 for *_, metrics in seen)


def test_nothing_is_left_behind_where_rows_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="--max-tokens 20"):
        _train(base, tmp_path / "adapter", max_tokens=20)
    assert list(tmp_path.iterdir()) == []


def test_only_the_last_layers_get_an_adapter(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    assert len(target_modules(model, None)) == 14
    assert {name.split(".")[2] for name in target_modules(model, 1)} == {"1"}
    assert not any("lm_head" in name or "embed" in name for name in target_modules(model, None))
    with pytest.raises(UsageError, match="--lora-layers 3: the base model has 2"):
        target_modules(model, 3)
    assert _train(base, tmp_path / "adapter", lora_layers=1, epochs=1).trainable_parameters * 2 == (
        _train(base, tmp_path / "both", epochs=1).trainable_parameters
    )


def test_a_loss_that_is_no_number_stops_the_run(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At that step, not after an hour: what follows cannot be registered."""
    told: list[int] = []
    loss, calls = choice_trainer.choice_loss, iter(range(100))

    def breaking(*given: Any) -> torch.Tensor:
        return loss(*given) * (float("nan") if next(calls) >= 5 else 1.0)

    monkeypatch.setattr(choice_trainer, "choice_loss", breaking)
    with pytest.raises(Refused, match="loss is nan at step 3, so the weights are lost(?s:.*)--learning-rate 0.005"):
        train(SPEC, ROWS, base_dir=base, out_dir=tmp_path / "a", threads=1, on_step=lambda step, *_: told.append(step))
    assert told == [1, 2]
    assert not (tmp_path / "a").exists()


def test_rows_are_never_packed_into_one_another(tmp_path: Path) -> None:
    """Attention would leak from row to row; each row of a batch has a line of its own."""
    found = choice_trainer.arguments(SPEC, 22, tmp_path)
    assert (found.packing, found.padding_free, found.max_length) == (False, False, None)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft asks by the old name
def test_what_is_learnt_over_a_rounded_base_is_scored_as_it_is_served(base: Path, tmp_path: Path) -> None:
    """As in QLoRA: the adapter learns over a base of few bits. The engine that scores and serves puts it on the full
    base, so what rounding costs is in the scores."""

    def rounded(folder: Path, spec: TrainSpec) -> Any:
        model = load_causal(folder, torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                step = parameter.abs().max() / 7  # 4 bits
                parameter.copy_((parameter / step).round() * step)
        return model

    spec = replace(SPEC, base_digest=base_digest(base), epochs=1)
    made = train(spec, ROWS, HELD_OUT[:1], base_dir=base, out_dir=tmp_path / "a", threads=1, load_base=rounded)
    engines = TransformersEngines(base=lambda _: base, adapter=lambda _: made.adapter_dir, threads=1)
    model = ModelRef(base="b", base_digest=spec.base_digest, adapter="a", adapter_digest=made.adapter_digest)
    engine = engines.open(
        PolicySpec(task="toy", engine="transformers", prompt_version="7", dtype="float32", model=model)
    )
    asked = HELD_OUT[0]
    said = engine.complete(asked.messages, schema=asked.schema, decoding=Decoding(mode="choices"))
    served = -sum(choice.logprobs[asked.labels[choice.key]] for choice in said.choices) / len(said.choices)
    learnt = [point.value for point in made.curves if point.name == "validation_loss"][-1]
    full = PeftModel.from_pretrained(load_causal(base, torch.float32), str(made.adapter_dir)).eval()
    encoded = Encoder.open(base).encode(asked.messages, asked.schema)
    with torch.no_grad():
        logits = full(input_ids=torch.tensor([encoded.input_ids])).logits[0]
    losses = []
    for choice in encoded.choices:
        tokens = list(choice.allowed.values())
        scores = torch.log_softmax(logits[encoded.position(choice), tokens], dim=0)
        losses.append(-float(scores[list(choice.allowed).index(asked.labels[choice.key])]))
    assert served == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    assert abs(served - learnt) > 1e-3, "what was learnt over the rounded base is another number"
