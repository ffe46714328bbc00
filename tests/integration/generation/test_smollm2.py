"""The real SmolLM2-135M-Instruct."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from bakeoff.adapters.generation.weights import BaseModel, resolve_base
from bakeoff.inference.encode import Encoder
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec
from bakeoff.task import Completion, Message
from plain_decoding import step_by_step
from planner.task import PlannerTask
from planner.town.world import Town
from tiny import NO, YES, closed_schema, row

pytestmark = pytest.mark.weights

CHOICES, GREEDY = Decoding(mode="choices"), Decoding(mode="greedy")
DISHES = ["Lentil soup: liked saves quick", 'Chicken "tikka": loved uses okay', "Crème brûlée: plain buy slow"]
SCHEMA = closed_schema(DISHES)
OPEN_SCHEMA = {
    "type": "object",
    "properties": {"why": {"type": "string", "maxLength": 30}, "dish": {"enum": ["soup", "stew", "salad"]}},
    "required": ["why", "dish"],
    "additionalProperties": False,
}


def _messages(wish: str) -> list[Message]:
    return [Message(role="system", content="You plan dinners."), Message(role="user", content=wish)]


WISHES = [_messages(wish) for wish in ("Likes indian food and quick meals.", "Four eaters. Use up cream.")]


@pytest.fixture(scope="session")
def base(smollm2_cache: Path) -> BaseModel:
    return resolve_base("smollm2", smollm2_cache, offline=True)


@pytest.fixture(scope="session")
def encoder(base: BaseModel) -> Encoder:
    return Encoder.open(base.path)


def _open(base: BaseModel, adapter: Path | None = None, digest: str | None = None):  # type: ignore[no-untyped-def]
    from bakeoff.adapters.generation.transformers_engine import TransformersEngines

    model = ModelRef(
        base=base.name,
        base_digest=base.digest,
        adapter=None if adapter is None else str(adapter),
        adapter_digest=digest,
    )
    engines = TransformersEngines(base=lambda _: base.path, adapter=lambda found: Path(str(found.adapter)), threads=1)
    return engines.open(PolicySpec(task="toy", engine="transformers", prompt_version="1", model=model, dtype="float32"))


def test_the_conversion_is_the_same_on_every_machine(base: BaseModel) -> None:
    """Pinned for the pinned libraries: a policy made elsewhere names these weights."""
    assert base.digest == "sha256:d1d51428a95a06c905ef7b80ebebd12eace1e07abf5a144ee65af5ea90c05745"
    assert sum(path.stat().st_size for path in base.path.glob("*.safetensors")) == 269_060_552


def test_the_ids_of_a_prompt_and_an_answer_are_pinned(encoder: Encoder) -> None:
    """A library that renders or cuts a text in another way must not pass unseen: an adapter learnt these ids."""
    prompt = [1, 9690, 198, 2, 198, 1, 4093, 198, 31413, 14562, 30, 2, 198, 1, 520, 9531, 198]
    assert list(encoder.prompt_ids([Message(role="user", content="Pick soup.")])) == prompt
    assert list(encoder.answer_ids('{"soup":"no"}')) == [39428, 48331, 25535, 4607, 23597]
    assert encoder.template_digest == "sha256:503e9cfd41d292a7d55d1d41fdf5b718f1d1b892eb4cf5811d7ee03943b0974a"


def test_values_are_single_tokens_right_behind_the_option(encoder: Encoder) -> None:
    encoded = encoder.encode(WISHES[0], SCHEMA)
    for choice in encoded.choices:
        assert [encoder.text([token]) for token in choice.allowed.values()] == ["no", "yes"]
        assert encoder.text([encoded.answer_ids[choice.index - 1]]) == '":"'


def test_one_pass_equals_a_plain_full_forward(base: BaseModel, encoder: Encoder) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
    done = _open(base).complete(WISHES[0], schema=SCHEMA, decoding=CHOICES)
    encoded = encoder.encode(WISHES[0], SCHEMA)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([encoded.input_ids])).logits[0]
    for choice, point in zip(done.choices, encoded.choices, strict=True):
        expected = torch.log_softmax(logits[encoded.position(point), list(point.allowed.values())], dim=-1)
        assert list(choice.logprobs.values()) == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.fixture(scope="module")
def plain(base: BaseModel) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32).eval()


def test_skipping_forced_tokens_gives_what_token_by_token_decoding_gives(
    base: BaseModel, encoder: Encoder, plain: Any
) -> None:
    done = _open(base).complete(WISHES[1], schema=OPEN_SCHEMA, decoding=GREEDY)
    assert done.text == step_by_step(plain, encoder, WISHES[1], OPEN_SCHEMA)[0]
    assert done.model_steps < done.completion_tokens


def test_the_planners_requests_are_answered_as_plain_decoding_answers_them(
    base: BaseModel, encoder: Encoder, plain: Any
) -> None:
    """Real requests of the town over their first six options, each asked twice and in between: forced tokens are
    skipped, and the beginning of the prompt is read once."""
    town = Town(seed=1, units=4, weeks=1, ends_on=date(2025, 1, 5))
    requests = [town.occasion(unit, 0).request for unit in town.units(0)[:2]]
    engine, task = _open(base), PlannerTask()
    asked = [(task.render(request), _first(task.answer_schema(request), 6)) for request in requests]
    expected = [step_by_step(plain, encoder, m, schema, ask_forced=False) for m, schema in asked]
    for at in (0, 1, 1, 0):
        done = engine.complete(asked[at][0], schema=asked[at][1], decoding=GREEDY)
        assert (done.text, done.completion_tokens) == expected[at]
        assert done.model_steps == 6
    assert len(engine.loaded.prefixes._kept) == 1


def _first(schema: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Plain decoding spells out all answers, and there are twice as many for each option."""
    keys = schema["required"][:count]
    return {**schema, "required": keys, "properties": {key: schema["properties"][key] for key in keys}}


def test_answers_obey_the_schema_and_repeat_exactly_in_any_order(base: BaseModel) -> None:
    engine = _open(base)
    asked = [(m, s, d) for m in WISHES for s, d in ((SCHEMA, CHOICES), (SCHEMA, GREEDY), (OPEN_SCHEMA, GREEDY))]
    there = [engine.complete(m, schema=s, decoding=d) for m, s, d in asked]
    back = [engine.complete(m, schema=s, decoding=d) for m, s, d in reversed(asked)]
    for (_, schema, _), one, other in zip(asked, there, reversed(back), strict=True):
        jsonschema.validate(json.loads(one.text), schema)
        assert replace(one, latency_s=0.0) == replace(other, latency_s=0.0)


def _truth_log_prob(done: Completion, truth: Mapping[str, str]) -> float:
    return float(np.mean([choice.logprobs[truth[choice.key]] for choice in done.choices]))


def test_a_preference_is_learned_repeatably_and_leaves_the_base_alone(base: BaseModel, tmp_path: Path) -> None:
    from bakeoff.training.model import TrainSpec
    from bakeoff.training.recipes.lora_sft import train

    truth = dict(zip(DISHES, (YES, NO, YES), strict=True))
    rows = [row(f"{eaters} eaters.", DISHES, truth) for eaters in range(1, 9)]
    spec = TrainSpec(
        task="toy",
        dataset_digest="d",
        base="smollm2",
        base_digest=base.digest,
        prompt_version="1",
        dtype="float32",
        learning_rate=1e-3,
        lora_layers=4,
        epochs=2,
    )
    before = _open(base).complete(WISHES[0], schema=SCHEMA, decoding=CHOICES)
    first = train(spec, rows, base_dir=base.path, out_dir=tmp_path / "first", threads=1)
    again = train(spec, rows, base_dir=base.path, out_dir=tmp_path / "again", threads=1)
    assert again.adapter_digest == first.adapter_digest
    tuned = _open(base, first.adapter_dir, first.adapter_digest)
    done = tuned.complete(WISHES[0], schema=SCHEMA, decoding=CHOICES)
    assert _truth_log_prob(done, truth) > _truth_log_prob(before, truth) + 0.3
    after = _open(base).complete(WISHES[0], schema=SCHEMA, decoding=CHOICES)
    assert replace(after, latency_s=0.0) == replace(before, latency_s=0.0)
