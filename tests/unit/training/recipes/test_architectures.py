"""One recipe, one engine, whatever decoder comes: train, save, load back, answer under the grammar."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bakeoff.adapters.generation.transformers_engine import TransformersEngines
from bakeoff.adapters.generation.weights import base_digest
from bakeoff.inference.choice_logits import allowed_logits, index_encoded, take_apart
from bakeoff.inference.encode import Encoder
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec
from bakeoff.training.lora import load_causal, target_modules
from bakeoff.training.model import TrainSpec
from bakeoff.training.recipes.lora_sft import train
from tiny import FAMILIES, NO, YES, row, write_model

SPEC = TrainSpec(
    task="toy", dataset_digest="d", base="tiny", base_digest="", prompt_version="1", dtype="float32",
    learning_rate=0.03, lora_r=8, lora_layers=None, epochs=10, batch_size=1, micro_batch=1,
)  # fmt: skip
TRUTH = {"soup": YES, "stew": NO, "curry": YES, "pie": NO}
ROWS = [row(wish, list(TRUTH), TRUTH) for wish in ("A.", "Bee.", "Sea.", "Dee.")]


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp(request.param), family=request.param)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft asks by the old name
def test_what_is_trained_is_served(base: Path, tmp_path: Path) -> None:
    """The untuned model does not know the truth; tuned, saved and loaded back by the engine it says it, with
    the loss that the whole model has there."""
    spec = replace(SPEC, base=str(base), base_digest=base_digest(base))
    result = train(spec, ROWS, ROWS[:1], base_dir=base, out_dir=tmp_path / "adapter", threads=1)
    losses = [point.value for point in result.curves if point.name == "validation_loss"]
    assert losses[-1] < 0.3 * losses[0]
    engines = TransformersEngines(
        base=lambda _: base, adapter=lambda _: result.adapter_dir, threads=torch.get_num_threads()
    )
    adapter = ModelRef(base="b", base_digest=spec.base_digest, adapter="a", adapter_digest=result.adapter_digest)
    asked = PolicySpec(task="toy", engine="transformers", prompt_version="1", dtype="float32", model=adapter)
    engine = engines.open(asked)
    answer = engine.complete(ROWS[1].messages, schema=ROWS[1].schema, decoding=Decoding(mode="choices"))
    assert json.loads(answer.text) == {key: json.loads(value) for key, value in TRUTH.items()}
    loss = -sum(choice.logprobs[TRUTH[choice.key]] for choice in answer.choices) / len(TRUTH)
    assert loss == pytest.approx(_loss_of(result.adapter_dir, base), rel=1e-4)


def test_the_walk_with_a_cache_sees_what_one_pass_sees(base: Path) -> None:
    """Greedy decoding feeds token by token (Gemma 2 alternates local and global attention); every choice must be scored
    as a single pass over prompt and answer scores it."""
    engines = TransformersEngines(base=lambda _: base, adapter=_no_adapter, threads=torch.get_num_threads())
    bare = ModelRef(base="b", base_digest=base_digest(base))
    engine = engines.open(
        PolicySpec(task="toy", engine="transformers", prompt_version="1", dtype="float32", model=bare)
    )
    said = engine.complete(ROWS[0].messages, schema=ROWS[0].schema, decoding=Decoding(mode="greedy"))
    model = load_causal(base, torch.float32).eval()
    chosen = {choice.key: choice.value for choice in said.choices}
    encoded = Encoder.open(base).encode(ROWS[0].messages, ROWS[0].schema, chosen)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([encoded.input_ids])).logits[0]
    for point, choice in zip(encoded.choices, said.choices, strict=True):
        expected = torch.log_softmax(logits[encoded.position(point), list(point.allowed.values())], dim=0)
        assert [choice.logprobs[text] for text in point.allowed] == pytest.approx(expected.tolist(), abs=1e-4)


def _no_adapter(_: ModelRef) -> Path:
    raise AssertionError("a bare base has none")


def _loss_of(adapter: Path, base: Path) -> float:
    """By the library alone: the whole model, its own head, plain softmax restricted to the allowed tokens."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(load_causal(base, torch.float32), str(adapter)).eval()
    encoded = Encoder.open(base).encode(ROWS[1].messages, ROWS[1].schema)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([encoded.input_ids])).logits[0]
    total = 0.0
    for choice in encoded.choices:
        tokens = list(choice.allowed.values())
        found = torch.log_softmax(logits[encoded.position(choice), tokens], dim=0)
        total -= float(found[list(choice.allowed).index(TRUTH[choice.key])])
    return total / len(encoded.choices)


def test_adapters_go_on_linear_layers_of_the_trunk_and_never_on_the_head(base: Path) -> None:
    model = load_causal(base, torch.float32)
    names = target_modules(model, None)
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    heads = [name for name in linear if model.get_submodule(name) is model.get_output_embeddings()]
    assert len(heads) == 1
    assert sorted(names) == sorted(set(linear) - set(heads))


def test_compact_logits_are_the_models_own(base: Path) -> None:
    """With the head tied or not, with Gemma's soft cap or without."""
    model = load_causal(base, torch.float32).eval()
    encoded = Encoder.open(base).encode(ROWS[0].messages, ROWS[0].schema)
    index, trunk = index_encoded(encoded), take_apart(model)
    with torch.no_grad():
        hidden = trunk.body(input_ids=torch.tensor([encoded.input_ids]), use_cache=False).last_hidden_state
        ours = allowed_logits(hidden, trunk.head, index, trunk.cap)
        theirs = model(input_ids=torch.tensor([encoded.input_ids])).logits[0]
    expected = torch.stack([theirs[at, ids] for at, ids in zip(index.positions, index.tokens, strict=True)])
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    if trunk.cap is not None:
        uncapped = allowed_logits(hidden, trunk.head, index, None)
        assert (uncapped - ours).abs().max() > 0.01  # the cap matters here, so leaving it out would be seen


def test_families_differ_where_it_matters(tmp_path: Path) -> None:
    tied = {
        family: (model := load_causal(write_model(tmp_path / family, family=family), torch.float32))
        .get_output_embeddings()
        .weight
        is model.get_input_embeddings().weight
        for family in FAMILIES
    }
    assert tied == {"llama": False, "qwen3": True, "gemma2": True, "gpt_neox": False}
