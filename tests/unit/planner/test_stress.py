"""Weeks made hard on purpose: every part of the planner survives them, and nothing unsafe is served."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import tiny
from bakeoff.conformance.answers import invalid
from bakeoff.fingerprint import as_stored, digest
from bakeoff.inference.encode import Encoder
from bakeoff.task import Completion, Episode, Request, StressCase
from planner.policies import explorer, heuristic, popular
from planner.stress import CONTROL, INJECTION, KINDS
from planner.task import PlannerTask

TASK = PlannerTask()


@pytest.fixture(scope="module")
def real(town_log: list[Episode]) -> list[Request]:
    return [episode.request for episode in town_log[:4]]


@pytest.fixture(scope="module")
def cases(real: list[Request]) -> list[StressCase]:
    return list(TASK.stress(real))


def of(cases: Sequence[StressCase], name: str) -> list[Any]:
    found = [case.request for case in cases if case.name == name]
    assert found
    return found


def test_each_kind_is_made_from_each_request_the_same_in_any_order(real: list[Request]) -> None:
    before = [digest(request) for request in real]
    made = list(TASK.stress(real))
    assert [case.name for case in made] == [name for name in KINDS for _ in real]
    assert list(TASK.stress([*reversed(real), real[0]])) == made
    assert [digest(request) for request in real] == before
    assert list(TASK.stress([])) == []


def test_every_case_is_another_request_and_can_be_stored(real: list[Request], cases: list[StressCase]) -> None:
    known = {digest(request) for request in real}
    for case in cases:
        assert as_stored(case.request) == case.request
        changed = digest(case.request) not in known
        assert changed or case.name in ("empty pantry", "a new household")  # some real weeks are like that


def test_only_where_nothing_can_be_planned_may_dinners_stay_empty(cases: list[StressCase]) -> None:
    """No rule of safety is ever let off."""
    hopeless = {"no dish is safe", "no evening has time", "no dinner to plan"}
    assert {case.name for case in cases if case.allowed} == hopeless
    assert {case.allowed for case in cases} == {frozenset(), frozenset({"empty_slot"})}


@pytest.mark.parametrize("policy", [heuristic, popular, explorer])
def test_policies_answer_every_case_without_a_violation(policy: Any, cases: list[StressCase]) -> None:
    for case in cases:
        answer = policy(case.request, seed=0).answer
        assert TASK.violations(case.request, answer) == []
        assert (answer["entries"] == []) == bool(case.allowed)


@pytest.mark.parametrize("value", ["yes", "no"])
def test_a_model_that_says_one_thing_to_everything_harms_nobody(value: str, cases: list[StressCase]) -> None:
    for case in cases:
        schema = TASK.answer_schema(case.request)
        assert invalid(schema) is None
        said = Completion(text=json.dumps(dict.fromkeys(schema["properties"], value)))
        assert TASK.violations(case.request, TASK.parse(case.request, said)) == []


def test_a_plan_of_every_option_in_turn_is_repaired(cases: list[StressCase]) -> None:
    """As a policy that heeds no rule would serve it."""
    for case in cases:
        slots, options = case.request["slots"], case.request["options"]
        entries = [
            {"day": slot["day"], "recipe_id": option["id"], "servings": slot["eaters"]}
            for slot, option in zip(slots, options, strict=False)
        ]
        answer = {"entries": entries}
        mended = TASK.repair(case.request, answer, TASK.violations(case.request, answer))
        assert TASK.violations(case.request, mended) == []


def test_every_option_keeps_a_name_of_its_own(cases: list[StressCase]) -> None:
    for case in cases:
        names = list(TASK.answer_schema(case.request)["properties"])
        assert len(names) == len(case.request["options"])
        assert all(len(name) < 160 and "\n" not in name and name.count(":") == 1 for name in names)


def test_instructions_stand_in_the_prompt_and_on_a_dish_that_is_not_safe(cases: list[StressCase]) -> None:
    for name, text in (("a title gives instructions", INJECTION), ("a title has control tokens", CONTROL)):
        for request in of(cases, name):
            assert request["options"][0]["title"] == text
            assert "tree_nuts" in request["household"]["allergies"]
            assert text.split()[0] in TASK.render(request)[-1].content


def test_cases_can_be_told_to_a_cook(cases: list[StressCase]) -> None:
    for case in cases:
        assert all(text for _, text in TASK.tell(case.request))
        lines = TASK.tell_answer(case.request, heuristic(case.request, seed=0).answer)
        assert len(lines) == len(case.request["slots"])


def test_a_tokenizer_encodes_every_case(cases: list[StressCase], tmp_path: Path) -> None:
    """Prompt and closed answer, confirmed by the grammar, one open place per option, and no control token that the
    template did not put there."""
    encoder = Encoder.open(tiny.write_tokenizer(tmp_path))
    control = {encoder.tokenizer.convert_tokens_to_ids(token) for token in tiny.SPECIAL}
    marks = set()
    for case in cases[::4]:  # each kind once
        encoded = encoder.encode(TASK.render(case.request), TASK.answer_schema(case.request))
        assert len(encoded.choices) == len(case.request["options"])
        assert not control & set(encoded.answer_ids)
        marks.add(tuple(token for token in encoded.prompt_ids if token in control))
    assert len(marks) == 1
