"""Stress requests: what an answer must keep however hard the request is, and what the incumbent excuses."""

from typing import Any

import pytest

import toy
from bakeoff.errors import Unreachable
from bakeoff.gates.stress import EMPTY, NO_ANSWER, broken, failures, findings
from bakeoff.inference.model import PolicyAnswer, PolicySpec
from bakeoff.inference.run_policy import run_policy
from bakeoff.task import Completion, ParseError, StressCase, Violation

CASE = StressCase(name="no tea left", request={"likes": "tea", "day": 1})


def answered(parsed: dict[str, Any] | None = None, *rules: str) -> PolicyAnswer:
    return PolicyAnswer(
        raw="", parsed={"drink": "tea"} if parsed is None else parsed,
        violations=tuple(Violation(rule=rule, where="mon", detail=f"{rule} said") for rule in rules), answer=None,
        completion=Completion(text=""), cost=0.0, action_propensity=None,
    )  # fmt: skip


def test_what_an_answer_breaks_before_any_repair_is_counted_with_its_first_detail() -> None:
    assert broken(CASE, lambda _: answered()) == {}
    assert broken(CASE, lambda _: answered(None, "allergy", "allergy", "diet")) == {
        "allergy": "mon: allergy said",
        "diet": "mon: diet said",
    }


def test_what_no_answer_could_keep_is_no_breach() -> None:
    impossible = StressCase(name="nothing fits", request={}, allowed=frozenset({"empty_slot"}))
    assert broken(impossible, lambda _: answered({"entries": []}, "empty_slot", "allergy")) == {
        "allergy": "mon: allergy said"
    }


@pytest.mark.parametrize("nothing", [{}, {"entries": []}, {"entries": [{"dish": ""}], "note": None}])
def test_an_answer_with_nothing_in_it_does_not_dodge_the_rules(nothing: dict[str, Any]) -> None:
    assert broken(CASE, lambda _: answered(nothing)) == {EMPTY: "the answer has nothing in it"}


@pytest.mark.parametrize("something", [{"likes": False}, {"servings": 0}, {"entries": [{"dish": "soup"}]}])
def test_false_and_zero_are_something(something: dict[str, Any]) -> None:
    assert broken(CASE, lambda _: answered(something)) == {}


def test_a_policy_that_raises_has_given_no_answer_and_an_outage_is_nobody_s_fault() -> None:
    def raising(error: Exception) -> Any:
        def ask(_: Any) -> PolicyAnswer:
            raise error

        return ask

    assert broken(CASE, raising(KeyError("likes"))) == {NO_ANSWER: "KeyError: 'likes'"}
    assert broken(CASE, raising(TimeoutError("5 s"))) == {NO_ANSWER: "TimeoutError: 5 s"}
    with pytest.raises(Unreachable):
        broken(CASE, raising(Unreachable("the server is away")))


def test_an_answer_that_cannot_be_read_is_a_breach() -> None:
    class Mute(toy.ToyTask):
        def parse(self, request: Any, completion: Completion) -> Any:
            raise ParseError("mumbled")

    class Mumbles:
        def complete(self, *_: Any, **__: Any) -> Completion:
            return Completion(text="...")

        def describe(self) -> dict[str, Any]:
            return {}

    spec = PolicySpec(task="toy", engine="transformers", prompt_version="1")
    assert broken(CASE, lambda request: run_policy(Mute(), spec, request, engine=Mumbles())) == {
        "unparseable": "mumbled"
    }


CASES = [StressCase(name="a", request={"n": n}) for n in range(3)] + [StressCase(name="b", request={})]


def test_only_what_the_incumbent_keeps_on_the_same_request_fails() -> None:
    ours = [{"x": "1"}, {"x": "2"}, {}, {"y": "4"}]
    theirs = [{"x": "."}, {}, {"x": "."}, {}]
    one, other = findings(CASES, ours, theirs)
    assert (one.name, one.requests, other.name, other.requests) == ("a", 3, "b", 1)
    assert [(b.rule, b.answers, b.detail) for b in one.candidate] == [("x", 2, "1")]
    assert one.incumbent is not None
    assert [(b.rule, b.answers) for b in one.incumbent] == [("x", 2)]
    assert [(b.rule, b.answers, b.detail) for b in one.new] == [("x", 1, "2")]
    assert failures((one, other)) == [
        "stress request 'a': x in 1 of 3 answers which the incumbent keeps (2)",
        "stress request 'b': y in 1 of 1 answers which the incumbent keeps (4)",
    ]


def test_an_incumbent_that_cannot_be_asked_excuses_nothing() -> None:
    found = findings(CASES, [{"x": "1"}, {}, {}, {}], None)
    assert found[0].incumbent is None
    assert failures(found) == ["stress request 'a': x in 1 of 3 answers (1)"]


def test_nothing_broken_is_nothing_to_say() -> None:
    assert failures(findings(CASES, [{}, {}, {}, {}], [{}, {}, {}, {}])) == []
    assert findings([], [], []) == ()
