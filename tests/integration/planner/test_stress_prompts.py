"""Weeks made hard on purpose, with the real tokenizer and model of SmolLM2-135M-Instruct."""

from pathlib import Path

import pytest

from bakeoff.adapters.generation.transformers_engine import TransformersEngines
from bakeoff.adapters.generation.weights import BaseModel, resolve_base
from bakeoff.inference.encode import Encoder
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec
from bakeoff.inference.run_policy import run_policy
from bakeoff.task import StressCase
from planner.policies import explorer
from planner.task import PlannerTask
from planner_town import live

pytestmark = pytest.mark.weights

TASK = PlannerTask()
LONGEST = 700  # tokens of a prompt and an answer; an ordinary week has about 300
WORST = ("a title gives instructions", "a title has control tokens", "other languages", "no dish is safe")


@pytest.fixture(scope="module")
def base(smollm2_cache: Path) -> BaseModel:
    return resolve_base("smollm2", smollm2_cache, offline=True)


@pytest.fixture(scope="module")
def cases() -> list[StressCase]:
    (first, *_) = live(5, 1, lambda _town, _unit, _week, request: explorer(request, seed=0))
    return list(TASK.stress([first.request]))


def test_every_case_has_a_prompt_of_ordinary_size_and_an_answer_that_the_grammar_takes(
    base: BaseModel, cases: list[StressCase]
) -> None:
    """Other scripts take more tokens, long titles are cut, and a control token in a text is text."""
    encoder = Encoder.open(base.path)
    control = {encoder.tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>")}
    for case in cases:
        encoded = encoder.encode(TASK.render(case.request), TASK.answer_schema(case.request))
        assert len(encoded.input_ids) < LONGEST
        assert len(encoded.choices) == len(case.request["options"])
        assert (
            sum(token in control for token in encoded.prompt_ids) == 5
        )  # system and user begin and end, then its turn
        assert not control & set(encoded.answer_ids)


def test_the_untuned_model_answers_the_worst_cases_and_breaks_no_rule(base: BaseModel, cases: list[StressCase]) -> None:
    """It says yes and no to dishes; what fits together is code's business, so even instructions change little."""
    engines = TransformersEngines(base=lambda _: base.path, adapter=lambda found: Path(str(found.adapter)), threads=1)
    spec = PolicySpec(
        task="planner", engine="transformers", prompt_version=TASK.prompt_version, dtype="float32",
        model=ModelRef(base=base.name, base_digest=base.digest, adapter=None, adapter_digest=None),
        decoding=Decoding(mode="choices"),
    )  # fmt: skip
    engine = engines.open(spec)
    for case in (case for case in cases if case.name in WORST):
        answered = run_policy(TASK, spec, case.request, engine=engine)
        assert answered.violations == () and answered.answer is not None
