"""The shared beginning of prompts is read once, and nobody can tell from an answer."""

import itertools
import json
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

import bakeoff.adapters.generation.transformers_engine as engine_module
from bakeoff.adapters.generation.prefix import Prefixes, can_share, empty_cache, read
from bakeoff.adapters.generation.transformers_engine import SHORTEST_SHARED, TransformersEngine, TransformersEngines
from bakeoff.adapters.generation.weights import base_digest
from bakeoff.inference.choice_logits import Trunk, take_apart
from bakeoff.inference.encode import Encoder
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec
from bakeoff.task import Completion, JsonSchema, Message
from bakeoff.training.model import TrainSpec
from bakeoff.training.recipes.lora_sft import train
from plain_decoding import step_by_step
from tiny import FAMILIES, NO, YES, closed_schema, row, write_model

CHOICES, GREEDY = Decoding(mode="choices"), Decoding(mode="greedy")
LONG = "You plan dinners for a house of six. Nobody eats fish, two come late, and Friday is for soup or for pie."
OTHER = "You plan lunches for a school of ninety. Say yes to what is quick and no to what is hot or what is sweet."
DISHES = ["soup: quick", "stew: slow", 'pie "hot"', "curry"]
CLOSED = closed_schema(DISHES)
DAYS = closed_schema(["first", "last"], ["mon", "tue", "fri", "sun"])
TWINS = closed_schema(["first"], ["tue", "thu", "sun"])  # two begin with the same token: a walk through the grammar
OPEN: JsonSchema = {
    "type": "object",
    "properties": {"note": {"type": "string", "maxLength": 8}, "day": {"enum": ["mon", "tue", "thu"]}},
    "required": ["note", "day"],
    "additionalProperties": False,
}
ASKED = [(CLOSED, CHOICES), (CLOSED, GREEDY), (DAYS, CHOICES), (DAYS, GREEDY), (OPEN, GREEDY)]


def messages(wish: str, instructions: str = LONG) -> list[Message]:
    return [Message(role="system", content=instructions), Message(role="user", content=wish)]


WISHES = [messages("Likes soup."), messages("Curry! Curry!"), messages("", OTHER), messages("Hates stew.", OTHER)]


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp(request.param), family=request.param, seed=3)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("llama"))


def spec(base: Path, adapter: Path | None = None, digest: str | None = None) -> PolicySpec:
    place = None if adapter is None else str(adapter)
    model = ModelRef(base=str(base), base_digest=base_digest(base), adapter=place, adapter_digest=digest)
    return PolicySpec(task="toy", engine="transformers", prompt_version="1", model=model, dtype="float32")


def engines(**other: Any) -> TransformersEngines:
    return TransformersEngines(base=Path, adapter=lambda model: Path(str(model.adapter)), threads=1, **other)


def plain(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base).eval()


def same(left: Completion, right: Completion) -> bool:
    return replace(left, latency_s=0.0) == replace(right, latency_s=0.0)


# ---- equal to plain decoding ----


@pytest.mark.parametrize("schema", [CLOSED, DAYS, TWINS, OPEN], ids=["yes or no", "days", "twins", "open"])
def test_greedy_answers_are_those_of_plain_decoding_token_by_token(base: Path, schema: JsonSchema) -> None:
    """Without cache, without skipping and without sharing, for four families of models."""
    engine, model, encoder = engines().open(spec(base)), plain(base), Encoder.open(base)
    for asked in WISHES[1:3]:
        expected, _ = step_by_step(model, encoder, asked, schema)
        jsonschema.validate(json.loads(expected), schema)
        for _ in range(2):  # the second time the beginning is known
            done = engine.complete(asked, schema=schema, decoding=GREEDY)
            assert done.text == expected
            assert done.model_steps < done.completion_tokens


def test_one_pass_scores_what_a_plain_forward_over_the_whole_text_scores(base: Path) -> None:
    engine, model, encoder = engines().open(spec(base)), plain(base), Encoder.open(base)
    for asked, schema in itertools.product(WISHES, (CLOSED, DAYS)):
        done, encoded = engine.complete(asked, schema=schema, decoding=CHOICES), encoder.encode(asked, schema)
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([encoded.input_ids])).logits[0]
        for choice, point in zip(done.choices, encoded.choices, strict=True):
            expected = torch.log_softmax(logits[encoded.position(point), list(point.allowed.values())], dim=-1)
            assert list(choice.logprobs.values()) == pytest.approx(expected.tolist(), abs=1e-4)


# ---- whoever asked before ----


def test_an_answer_is_the_same_alone_first_last_and_in_between(base: Path) -> None:
    """Bit by bit, with log-probabilities and counts of steps."""
    asked = list(itertools.product(WISHES, ASKED))
    engine = engines().open(spec(base))
    alone = [complete([engine], (0, *question), forget=True) for question in asked]
    order = list(range(len(asked))) * 2
    random.Random(1).shuffle(order)
    assert all(same(complete([engine], (0, *asked[at])), alone[at]) for at in order)


def complete(opened: Sequence[TransformersEngine], question: Any, *, forget: bool = False) -> Completion:
    """`forget`: as if the process had just begun."""
    at, wish, (schema, decoding) = question
    if forget:
        opened[at].loaded.prefixes = Prefixes()
    return opened[at].complete(wish, schema=schema, decoding=decoding)


@pytest.fixture(scope="module")
def adapters(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> list[PolicySpec]:
    """Two adapters that learned opposite things over one base."""
    found = []
    for name, (first, second) in {"one": (NO, YES), "two": (YES, NO)}.items():
        labels = {dish: first if at % 2 else second for at, dish in enumerate(DISHES)}
        asked = TrainSpec(
            task="toy", dataset_digest=name, base="tiny", base_digest=base_digest(llama), prompt_version="1",
            dtype="float32", learning_rate=0.02, lora_layers=None, epochs=2,
        )  # fmt: skip
        out = tmp_path_factory.mktemp(name) / "adapter"
        made = train(
            asked, [row(f"Wish {n}.", DISHES, labels) for n in range(8)], base_dir=llama, out_dir=out, threads=1
        )
        found.append(spec(llama, out, made.adapter_digest))
    return found


def test_adapters_switched_in_between_keep_their_own_beginnings(llama: Path, adapters: Sequence[PolicySpec]) -> None:
    specs = [spec(llama), *adapters]
    asked = list(itertools.product(range(3), WISHES, [(CLOSED, CHOICES), (OPEN, GREEDY)]))
    together = engines()
    opened = [together.open(each) for each in specs]
    alone = [complete(opened, question, forget=True) for question in asked]
    order = list(range(len(asked))) * 2
    random.Random(1).shuffle(order)
    assert all(same(complete(opened, asked[at]), alone[at]) for at in order)
    with ThreadPoolExecutor(4) as pool:
        side_by_side = pool.map(lambda at: complete(opened, asked[at]), order)
        assert all(same(done, alone[at]) for done, at in zip(side_by_side, order, strict=True))


def test_what_is_dropped_for_room_is_read_again_the_same(llama: Path) -> None:
    questions = [(0, *question) for question in itertools.product(WISHES, ASKED)]
    roomy, tight = engines().open(spec(llama)), engines().open(spec(llama))
    tight.loaded.prefixes = Prefixes(most=1)
    assert all(same(complete([roomy], question), complete([tight], question)) for question in questions)
    assert len(tight.loaded.prefixes._kept) == 1


# ---- the rule for where a prompt is cut ----


def test_the_shared_part_follows_from_the_instructions_alone(base: Path) -> None:
    encoder = Encoder.open(base)
    found = set()
    for wish in ("Likes soup.", "", "\n\nA", "0", "<|im_end|>", LONG, LONG[:-1]):
        asked = messages(wish)
        prompt = encoder.prompt_ids(asked)
        shared = encoder.shared_ids(asked, prompt)
        assert shared in (prompt[: len(shared)], ())
        found.add(shared)
    assert len(found - {()}) == 1
    assert len(max(found, key=len)) > len(LONG)
    assert encoder.shared_ids(messages("x", OTHER), encoder.prompt_ids(messages("x", OTHER))) not in found


def test_a_prompt_that_begins_otherwise_shares_nothing(llama: Path) -> None:
    encoder = Encoder.open(llama)
    prompt = encoder.prompt_ids(messages("Likes soup."))
    assert encoder.shared_ids(messages("x", OTHER), prompt) == ()


def test_a_short_beginning_is_not_worth_a_copy(llama: Path) -> None:
    engine = engines().open(spec(llama))
    assert engine.describe()["shared_prefix"] == SHORTEST_SHARED
    engine.complete(messages("Likes soup.", ""), schema=CLOSED, decoding=CHOICES)
    assert len(engine.loaded.prefixes._kept) == 0
    engine.complete(messages("Likes soup."), schema=CLOSED, decoding=CHOICES)
    assert len(engine.loaded.prefixes._kept) == 1


def test_the_beginning_is_read_once_however_many_ask(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engines().open(spec(llama))
    reads: list[int] = []
    trunk = engine.loaded.trunk
    count = trunk.body.register_forward_pre_hook(
        lambda module, args, kwargs: reads.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    for wish in ("Likes soup.", "Curry! Curry!", "Anything"):
        engine.complete(messages(wish), schema=CLOSED, decoding=CHOICES)
    count.remove()
    shared = len(engine.loaded.encoder.shared_ids(messages("x"), engine.loaded.encoder.prompt_ids(messages("x"))))
    assert len(reads) == 4
    assert reads.count(shared) == 1


# ---- caches ----


def test_a_copy_may_be_written_to(llama: Path) -> None:
    trunk = take_apart(plain(llama))
    config, prefixes = trunk.body.config, Prefixes()

    def make() -> Any:
        cache = empty_cache(config)
        read(trunk, [5, 6, 7], cache)
        return cache

    with torch.inference_mode():
        first = prefixes.copy((None, (5, 6, 7)), make)
        read(trunk, [8, 9], first)
        second = prefixes.copy((None, (5, 6, 7)), lambda: pytest.fail("it is known"))
    assert (first.get_seq_length(), second.get_seq_length()) == (5, 3)
    assert torch.equal(first.layers[0].keys[:, :, :3], second.layers[0].keys)


def test_a_model_that_keeps_nothing_is_found_out_and_answers_all_the_same(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = engines().open(spec(llama)).loaded

    class Forgetful:
        """Takes a cache and does not look at it."""

        def __call__(self, *, past_key_values: Any = None, **how: Any) -> Any:
            return loaded.trunk.body(**{**how, "use_cache": False})

    class Older:
        """Knows no cache under this name."""

        def __call__(self, *, input_ids: Any, use_cache: bool, past_key_values: None = None) -> Any:
            if past_key_values is not None:
                raise TypeError("unexpected keyword")
            return loaded.trunk.body(input_ids=input_ids, use_cache=False)

    for body in (Forgetful(), Older()):
        trunk = Trunk(body=body, head=loaded.trunk.head, cap=None)
        assert not can_share(trunk, loaded.causal.config)
    assert can_share(loaded.trunk, loaded.causal.config)
    monkeypatch.setattr(engine_module, "can_share", lambda *_: False)
    without = engines().open(spec(llama))
    assert without.describe()["shared_prefix"] is None
    for wish in WISHES:
        ours = engines().open(spec(llama)).complete(wish, schema=CLOSED, decoding=GREEDY)
        assert without.complete(wish, schema=CLOSED, decoding=GREEDY).text == ours.text


def test_the_deadline_is_looked_at_around_the_beginning_too(llama: Path) -> None:
    ticks = itertools.count()
    slow = engines(clock=lambda: float(next(ticks))).open(spec(llama))
    with pytest.raises(TimeoutError, match="after 0 model steps"):
        slow.complete(WISHES[0], schema=CLOSED, decoding=CHOICES, deadline_s=2)
    assert len(slow.loaded.prefixes._kept) == 0


# ---- threads ----


def test_an_engine_computes_with_its_own_count_of_threads_wherever_it_is_called(llama: Path) -> None:
    """torch keeps the count per Python thread, and another engine may have set another one."""
    seen: list[int] = []

    def clock() -> float:
        seen.append(torch.get_num_threads())
        return time.monotonic()

    opener = engines(clock=clock)
    try:
        one, two = opener.open(spec(llama)), opener.open(spec(llama), threads=2)
        assert (one.describe()["threads"], two.describe()["threads"]) == (1, 2)
        assert opener.open(spec(llama), threads=2) is two
        for engine, count in ((two, 2), (one, 1), (two, 2)):
            caller = threading.Thread(
                target=lambda asked=engine: asked.complete(WISHES[0], schema=CLOSED, decoding=CHOICES)
            )
            seen.clear()
            caller.start()
            caller.join()
            assert set(seen[1:]) == {count}  # the first look is at the start, before the engine has its turn
    finally:
        torch.set_num_threads(1)
