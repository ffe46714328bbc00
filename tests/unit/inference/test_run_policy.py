"""One request through one policy: parse, validate, repair; nothing the validator mends is hidden."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

import toy
from bakeoff.errors import UsageError
from bakeoff.inference.model import Decoding, ModelRef, PolicyAnswer, PolicySpec, Price, Recorded, external_spec
from bakeoff.inference.python_policy import load_function
from bakeoff.inference.run_policy import UNRECORDED, run_policy
from bakeoff.task import Answer, Completion, Message, Request, Violation

TASK = toy.ToyTask()
REQUEST = {"likes": "coffee", "day": 1}
TUNED = PolicySpec(
    task="toy", engine="transformers", prompt_version="1", model=ModelRef(base="b", base_digest="d"),
    price=Price(per_million_prompt_tokens=1.0, per_million_completion_tokens=2.0),
)  # fmt: skip


class Speaks:
    """An engine that says one thing and remembers how it was asked."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: dict[str, Any] = {}

    def complete(self, messages: Any, **how: Any) -> Completion:
        self.asked = {"messages": messages, **how}
        return Completion(text=self.text, prompt_tokens=1000, completion_tokens=500)

    def describe(self) -> Mapping[str, Any]:
        return {}


def python(function: str) -> PolicySpec:
    return PolicySpec(task="toy", engine="python", prompt_version="1", function=function, function_version="1", seed=3)


def said(text: str) -> PolicyAnswer:
    return run_policy(TASK, TUNED, REQUEST, engine=Speaks(text))


def test_an_engine_is_asked_with_prompt_schema_decoding_and_deadline() -> None:
    engine = Speaks("tea")
    run_policy(TASK, TUNED, REQUEST, engine=engine, deadline_s=2.0)
    assert engine.asked == {
        "messages": TASK.render(REQUEST), "schema": TASK.answer_schema(REQUEST), "decoding": Decoding(),
        "deadline_s": 2.0,
    }  # fmt: skip


class Instructed(toy.ToyTask):
    """Speaks to a model as most tasks do: instructions first, then the situation."""

    def render(self, request: Request) -> Sequence[Message]:
        return [Message(role="system", content="Guess."), *super().render(request)]


def test_a_prompt_of_its_own_stands_in_place_of_the_tasks_instructions_and_nothing_else() -> None:
    engine = Speaks("tea")
    own = replace(TUNED, prompt="You know drinks.")
    for task in (Instructed(), TASK):
        run_policy(task, own, REQUEST, engine=engine)
        said = [Message(role="system", content="You know drinks."), *TASK.render(REQUEST)]
        assert list(engine.asked["messages"]) == said


def test_an_answer_that_was_cut_off_says_so() -> None:
    short = replace(TUNED, decoding=Decoding(max_tokens=500))
    broken = run_policy(TASK, short, REQUEST, engine=Speaks("te")).violations
    assert [violation.detail for violation in broken] == ["te (cut off at max_tokens = 500)"]


def test_a_good_answer_is_served_as_it_is_and_costs_its_tokens() -> None:
    answer = said("tea")
    assert (answer.raw, answer.parsed, answer.answer) == ("tea", {"drink": "tea"}, {"drink": "tea"})
    assert (answer.violations, answer.repaired) == ((), False)
    assert answer.cost == pytest.approx(0.002)


def test_an_unreadable_answer_is_a_violation_and_no_answer() -> None:
    answer = said("petrol")
    assert (answer.raw, answer.parsed, answer.answer, answer.repaired) == ("petrol", None, None, False)
    assert answer.violations == (Violation(rule="unparseable", where=None, detail="petrol"),)


def test_a_nul_in_a_raw_answer_becomes_a_mark_that_can_be_stored() -> None:
    assert said("te\0a").raw == "te\ufffda"


def test_a_mended_answer_shows_what_it_was() -> None:
    answer = run_policy(TASK, python("toy:broken"), REQUEST, engine=None)
    assert (answer.parsed, answer.answer, answer.repaired) == ({"drink": "petrol"}, {"drink": "tea"}, True)
    assert [violation.rule for violation in answer.violations] == ["unknown_drink"]


def test_a_repair_that_mends_nothing_is_no_answer() -> None:
    class Clumsy(toy.ToyTask):
        def repair(self, request: Request, answer: Answer, violations: Sequence[Violation]) -> Answer:
            return {"drink": "diesel"}

    answer = run_policy(Clumsy(), python("toy:broken"), REQUEST, engine=None)
    assert (answer.parsed, answer.answer) == ({"drink": "petrol"}, None)


def test_a_python_policy_gets_the_seed_of_its_spec_and_says_its_propensity() -> None:
    answer = run_policy(TASK, python(f"{__name__}:seeded"), REQUEST, engine=None)
    assert (answer.parsed, answer.action_propensity) == ({"drink": "tea", "seed": 3, "with": ["milk"]}, 0.5)
    assert answer.raw == '{"drink":"tea","seed":3,"with":["milk"]}'


def seeded(request: Request, *, seed: int) -> toy.PythonAnswer:
    return toy.PythonAnswer(answer={"drink": "tea", "seed": seed, "with": ("milk",)}, action_propensity=0.5)


EXTERNAL = external_spec("toy", "toy 2024")


def test_the_applications_own_answer_is_what_was_recorded_and_nothing_mends_it() -> None:
    recorded = Recorded(answer={"drink": "petrol"}, latency_s=0.25)
    answer = run_policy(TASK, EXTERNAL, REQUEST, engine=None, recorded=recorded)
    assert answer.raw == '{"drink":"petrol"}'
    assert answer.parsed == answer.answer == {"drink": "petrol"}
    assert [violation.rule for violation in answer.violations] == ["unknown_drink"]
    assert (answer.repaired, answer.cost, answer.completion.latency_s) == (False, 0.0, 0.25)


def test_where_nothing_was_recorded_there_is_no_answer_and_no_crash() -> None:
    answer = run_policy(TASK, EXTERNAL, REQUEST, engine=None)
    assert (answer.raw, answer.parsed, answer.answer) == ("", None, None)
    assert [violation.rule for violation in answer.violations] == [UNRECORDED]


@pytest.mark.parametrize("engine", ["transformers"])
def test_a_spec_that_cannot_be_run_is_refused(engine: Any) -> None:
    with pytest.raises(UsageError, match=f"engine '{engine}' needs an engine"):
        run_policy(TASK, PolicySpec(task="toy", engine=engine, prompt_version="1"), REQUEST, engine=None)


@pytest.mark.parametrize("name", ["", "toy", "toy:", "toy:nobody", "no_such_module:f", ":f"])
def test_a_function_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"python policy '{name}' cannot be loaded"):
        load_function(name)


def test_what_is_no_function_is_not_loaded() -> None:
    with pytest.raises(UsageError, match="cannot be loaded: toy:DRINKS is not callable"):
        load_function("toy:DRINKS")
