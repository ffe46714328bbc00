import itertools
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch

from bakeoff.adapters.generation.transformers_engine import TransformersEngines
from bakeoff.adapters.generation.walk import choose
from bakeoff.adapters.generation.weights import base_digest
from bakeoff.errors import Refused, UsageError
from bakeoff.inference.encode import ChoicePoint, Encoder, OpenSchemaError
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec
from bakeoff.task import Completion, Message
from bakeoff.training.model import TrainSpec
from bakeoff.training.recipes.lora_sft import train
from plain_decoding import step_by_step
from tiny import NO, YES, closed_schema, row, write_model

CHOICES, GREEDY = Decoding(mode="choices"), Decoding(mode="greedy")
DISHES = ["soup: liked quick", "stew: plain slow", 'pie "hot": loved', "curry: plain"]
SCHEMA = closed_schema(DISHES)
OPEN_SCHEMA = {
    "type": "object",
    "properties": {
        "note": {"type": "string", "maxLength": 12},
        "day": {"enum": ["mon", "tue", "thu", "sun"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 40},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["note", "day", "count", "tags"],
    "additionalProperties": False,
}


def _messages(wish: str) -> list[Message]:
    return [Message(role="system", content="Plan."), Message(role="user", content=wish)]


WISHES = [_messages(wish) for wish in ("Likes soup.", "Hates stew, has two hours.", "Anything", "Curry! Curry!")]


class Clock:
    """Advances one second per look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base"))


def _spec(base: Path, adapter: Path | None = None, digest: str | None = None) -> PolicySpec:
    model = ModelRef(
        base=str(base), base_digest=base_digest(base), adapter=None if adapter is None else str(adapter),
        adapter_digest=digest,
    )  # fmt: skip
    return PolicySpec(task="toy", engine="transformers", prompt_version="1", model=model, dtype="float32")


def _engines() -> TransformersEngines:
    return TransformersEngines(base=Path, adapter=lambda model: Path(str(model.adapter)), threads=1, clock=Clock())


@pytest.fixture(scope="module")
def engines() -> TransformersEngines:
    return _engines()


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[PolicySpec]:
    """Specs of two adapters over the same base that learned opposite things."""
    specs = []
    for name, (first, second) in {"one": (NO, YES), "two": (YES, NO)}.items():
        labels = {dish: first if at % 2 else second for at, dish in enumerate(DISHES)}
        rows = [row(f"Wish {i}.", DISHES, labels) for i in range(8)]
        spec = TrainSpec(
            task="toy", dataset_digest=name, base="tiny", base_digest=base_digest(base), prompt_version="1",
            dtype="float32", learning_rate=0.02, lora_layers=None, epochs=8,
        )  # fmt: skip
        out = tmp_path_factory.mktemp(name) / "adapter"
        result = train(spec, rows, base_dir=base, out_dir=out, threads=1)
        specs.append(_spec(base, out, result.adapter_digest))
    return specs


def _plain_model(base: Path) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base).eval()  # type: ignore[no-any-return]


def _full_log_probs(model: torch.nn.Module, ids: Sequence[int], place: int, allowed: Sequence[int]) -> list[float]:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([list(ids)])).logits[0, place]
    return torch.log_softmax(logits[list(allowed)], dim=-1).tolist()  # type: ignore[no-any-return]


def _same(left: Completion, right: Completion) -> bool:
    return replace(left, latency_s=0.0) == replace(right, latency_s=0.0)


def test_one_pass_gives_the_log_probabilities_of_a_plain_full_forward(engines: TransformersEngines, base: Path) -> None:
    model, encoder = _plain_model(base), Encoder.open(base)
    for messages in WISHES:
        done = engines.open(_spec(base)).complete(messages, schema=SCHEMA, decoding=CHOICES)
        encoded = encoder.encode(messages, SCHEMA)
        assert done.model_steps == 1
        assert [choice.key for choice in done.choices] == DISHES
        for choice, point in zip(done.choices, encoded.choices, strict=True):
            place = encoded.position(point)
            expected = _full_log_probs(model, encoded.input_ids, place, list(point.allowed.values()))
            assert list(choice.logprobs.values()) == pytest.approx(expected, abs=1e-4)
            assert np.exp(list(choice.logprobs.values())).sum() == pytest.approx(1)


def test_a_choice_is_the_likeliest_value_and_of_equals_the_first() -> None:
    point = ChoicePoint(key="a", index=0, allowed={NO: 5, YES: 6})
    assert choose(point, [1.0, 1.0]).value == NO
    assert choose(point, [1.0, 1.5, float("-inf")]).value == YES
    assert choose(point, [0.0, np.log(3)]).logprobs == pytest.approx({NO: np.log(0.25), YES: np.log(0.75)})


def test_the_walk_over_a_closed_schema_conditions_each_choice_on_the_ones_before(
    engines: TransformersEngines, base: Path
) -> None:
    """Same values and log-probabilities as a plain forward over prompt, chosen values and nothing cached."""
    model, encoder = _plain_model(base), Encoder.open(base)
    for messages in WISHES:
        done = engines.open(_spec(base)).complete(messages, schema=SCHEMA, decoding=GREEDY)
        chosen = {choice.key: choice.value for choice in done.choices}
        encoded = encoder.encode(messages, SCHEMA, chosen)
        assert done.model_steps == len(DISHES)
        assert done.text == encoder.text(encoded.answer_ids)
        for choice, point in zip(done.choices, encoded.choices, strict=True):
            place = encoded.position(point)
            expected = _full_log_probs(model, encoded.input_ids[: place + 1], place, list(point.allowed.values()))
            assert list(choice.logprobs.values()) == pytest.approx(expected, abs=1e-4)
            assert choice.logprobs[choice.value] == max(choice.logprobs.values())


def test_skipping_forced_tokens_gives_what_token_by_token_decoding_gives(
    engines: TransformersEngines, base: Path
) -> None:
    for messages in WISHES:
        done = engines.open(_spec(base)).complete(messages, schema=OPEN_SCHEMA, decoding=GREEDY)
        text, steps = step_by_step(_plain_model(base), Encoder.open(base), messages, OPEN_SCHEMA)
        assert done.text == text
        assert done.choices == ()
        assert done.model_steps < steps


def test_every_answer_obeys_its_schema(engines: TransformersEngines, base: Path) -> None:
    engine = engines.open(_spec(base))
    for messages, (schema, decoding) in itertools.product(
        WISHES, [(SCHEMA, CHOICES), (SCHEMA, GREEDY), (OPEN_SCHEMA, GREEDY)]
    ):
        jsonschema.validate(json.loads(engine.complete(messages, schema=schema, decoding=decoding).text), schema)


def test_an_answer_does_not_depend_on_what_was_asked_before(engines: TransformersEngines, base: Path) -> None:
    engine = engines.open(_spec(base))
    asked = list(itertools.product(WISHES, [(SCHEMA, CHOICES), (SCHEMA, GREEDY), (OPEN_SCHEMA, GREEDY)]))
    there = [engine.complete(m, schema=s, decoding=d) for m, (s, d) in asked]
    back = [engine.complete(m, schema=s, decoding=d) for m, (s, d) in reversed(asked)]
    assert all(_same(a, b) for a, b in zip(there, reversed(back), strict=True))


def test_adapters_share_a_base_and_do_not_leak_into_it(base: Path, adapters: list[PolicySpec]) -> None:
    """Bare base and two adapters, asked in turns, answer as each does alone in a process of its own."""
    specs = [_spec(base), *adapters]
    alone = [_engines().open(spec).complete(WISHES[0], schema=SCHEMA, decoding=CHOICES) for spec in specs]
    together = _engines()
    opened = [together.open(spec) for spec in specs]
    for order in itertools.permutations(range(3)):
        for at in order:
            assert _same(opened[at].complete(WISHES[0], schema=SCHEMA, decoding=CHOICES), alone[at])
    first, second = ([c.logprobs[YES] for c in answer.choices] for answer in alone[1:])
    assert [a > b for a, b in zip(first, second, strict=True)] == [True, False, True, False]
    assert len(together._bases) == 1


def test_answers_given_side_by_side_are_the_same(base: Path, adapters: list[PolicySpec]) -> None:
    """Two policies over one base, four threads: nobody sees the other's adapter."""
    together = _engines()
    opened = [together.open(spec) for spec in (_spec(base), adapters[0])]
    asked = [(engine, messages) for engine in opened for messages in WISHES] * 2
    alone = [engine.complete(messages, schema=SCHEMA, decoding=CHOICES) for engine, messages in asked]
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda it: it[0].complete(it[1], schema=SCHEMA, decoding=CHOICES), asked)
    assert all(_same(a, b) for a, b in zip(alone, done, strict=True))


def test_an_engine_is_opened_once_per_spec(engines: TransformersEngines, base: Path) -> None:
    assert engines.open(_spec(base)) is engines.open(_spec(base))


def test_what_is_released_leaves_no_trace_and_the_others_answer_as_before(
    base: Path, adapters: list[PolicySpec]
) -> None:
    """An adapter goes alone; the base model goes with the last engine that answers by it."""
    together, specs = _engines(), [_spec(base), *adapters]
    before = [together.open(spec).complete(WISHES[0], schema=SCHEMA, decoding=CHOICES) for spec in specs]
    (loaded,) = together._bases.values()
    together.release(adapters[0])
    assert set(loaded._peft.peft_config) == {str(adapters[1].model.adapter_digest).replace(":", "-")}  # type: ignore[union-attr]
    for spec, answer in zip(specs, before, strict=True):  # the released one is loaded again
        assert _same(together.open(spec).complete(WISHES[0], schema=SCHEMA, decoding=CHOICES), answer)
    for spec in specs:
        together.release(spec)
    assert together._bases == {}
    together.release(specs[0])
    assert _same(together.open(specs[2]).complete(WISHES[0], schema=SCHEMA, decoding=CHOICES), before[2])


def test_training_and_answering_agree_on_the_loss(base: Path, tmp_path: Path) -> None:
    """The mean negative log-probability that the engine gives the truth is the validation loss of training."""
    truth = {DISHES[0]: YES, DISHES[2]: NO}
    rows = [row("Likes soup.", DISHES, truth)] * 4
    spec = TrainSpec(
        task="toy", dataset_digest="d", base="tiny", base_digest=base_digest(base), prompt_version="1",
        dtype="float32", learning_rate=0.01, lora_layers=1,
    )  # fmt: skip
    result = train(spec, rows, rows[:1], base_dir=base, out_dir=tmp_path / "adapter", threads=1)
    engine = _engines().open(_spec(base, result.adapter_dir, result.adapter_digest))
    done = engine.complete(rows[0].messages, schema=rows[0].schema, decoding=CHOICES)
    ours = -np.mean([choice.logprobs[truth[choice.key]] for choice in done.choices if choice.key in truth])
    losses = [point.value for point in result.curves if point.name == "validation_loss"]
    assert ours == pytest.approx(losses[-1], abs=1e-5)
    assert losses[-1] < losses[0]


def test_the_deadline_is_checked_at_every_model_step(base: Path) -> None:
    """The clock advances a second per look: the pass is looked at before and after."""
    engine = _engines().open(_spec(base))
    with pytest.raises(TimeoutError, match="after 0 model steps"):
        engine.complete(WISHES[0], schema=SCHEMA, decoding=GREEDY, deadline_s=1)
    with pytest.raises(TimeoutError, match="after 1 model steps"):
        engine.complete(WISHES[0], schema=SCHEMA, decoding=CHOICES, deadline_s=2)
    with pytest.raises(TimeoutError, match="after 3 model steps"):
        engine.complete(WISHES[0], schema=OPEN_SCHEMA, decoding=GREEDY, deadline_s=6)
    assert engine.complete(WISHES[0], schema=SCHEMA, decoding=CHOICES, deadline_s=60).latency_s > 0


def test_an_open_schema_has_no_choices_to_score_in_one_pass(engines: TransformersEngines, base: Path) -> None:
    with pytest.raises(OpenSchemaError, match="greedy"):
        engines.open(_spec(base)).complete(WISHES[0], schema=OPEN_SCHEMA, decoding=CHOICES)


def test_an_answer_longer_than_allowed_is_refused_or_cut(engines: TransformersEngines, base: Path) -> None:
    engine = engines.open(_spec(base))
    for mode in (CHOICES, GREEDY):
        with pytest.raises(UsageError, match="max_tokens is 10"):
            engine.complete(WISHES[0], schema=SCHEMA, decoding=replace(mode, max_tokens=10))
    cut = engine.complete(WISHES[0], schema=OPEN_SCHEMA, decoding=replace(GREEDY, max_tokens=10))
    assert cut.completion_tokens <= 10
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut.text)


def test_a_prompt_longer_than_the_model_reads_is_said_so(engines: TransformersEngines, base: Path) -> None:
    with pytest.raises(UsageError, match="the model reads 512"):
        engines.open(_spec(base)).complete(_messages("soup " * 200), schema=SCHEMA, decoding=CHOICES)


def test_tokens_are_counted(engines: TransformersEngines, base: Path) -> None:
    encoder = Encoder.open(base)
    done = engines.open(_spec(base)).complete(WISHES[0], schema=SCHEMA, decoding=CHOICES)
    assert done.prompt_tokens == len(encoder.prompt_ids(WISHES[0]))
    assert done.completion_tokens == len(encoder.answer_ids(done.text))


def test_other_weights_than_the_policy_names_are_refused(adapters: list[PolicySpec]) -> None:
    model = adapters[0].model
    assert model is not None
    for wrong, message in [
        (replace(model, base_digest="sha256:other"), "the policy was made with sha256:other"),
        (replace(model, adapter_digest="sha256:other"), "the adapter in"),
    ]:
        with pytest.raises(Refused, match=message):
            _engines().open(replace(adapters[0], model=wrong))


def test_an_adapter_trained_with_another_template_is_refused(
    base: Path, adapters: list[PolicySpec], tmp_path: Path
) -> None:
    from bakeoff.training.adapter import adapter_digest
    from tiny import CHATML, write_tokenizer

    assert adapters[0].model is not None
    other = write_model(tmp_path / "other")
    write_tokenizer(other, CHATML.replace("assistant\n", "planner\n"))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for path in Path(str(adapters[0].model.adapter)).iterdir():
        text = path.read_bytes().replace(base_digest(base).encode(), base_digest(other).encode())
        (adapter / path.name).write_bytes(text)
    with pytest.raises(Refused, match="template_digest"):
        _engines().open(_spec(other, adapter, adapter_digest(adapter)))


def test_the_engine_describes_itself(engines: TransformersEngines, base: Path) -> None:
    described = engines.open(_spec(base)).describe()
    assert described["threads"] == 1
    assert described["dtype"] == "float32"
    assert described["base_digest"] == base_digest(base)
    assert set(described["versions"]) >= {"torch", "transformers", "llguidance"}


def test_a_spec_without_a_model_is_refused(engines: TransformersEngines) -> None:
    with pytest.raises(UsageError, match="engine 'python'"):
        engines.open(PolicySpec(task="toy", engine="python", prompt_version="1", function="a:b"))
