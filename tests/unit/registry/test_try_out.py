from typing import Any

import pytest

import toy
from bakeoff.errors import Refused, UsageError
from bakeoff.inference.model import Decoding, PolicySpec
from bakeoff.registry.try_out import answer_once
from bakeoff.task import Completion

SPEC = PolicySpec(task="toy", engine="transformers", prompt_version="1", decoding=Decoding())
REQUEST = {"likes": "tea", "day": 1}


class Says:
    """An engine that answers the same always."""

    def __init__(self, text: str | Exception) -> None:
        self.text = text

    def open(self, spec: PolicySpec) -> "Says":
        return self

    def complete(self, messages: Any, **_: Any) -> Completion:
        if isinstance(self.text, Exception):
            raise self.text
        return Completion(text=self.text)


def test_one_answer_is_generated() -> None:
    answered = answer_once(Says("tea"), toy.ToyTask(), SPEC, REQUEST)  # type: ignore[arg-type]
    assert answered is not None
    assert answered.answer == {"drink": "tea"}


def test_a_bad_answer_is_the_gates_business() -> None:
    answered = answer_once(Says("petrol"), toy.ToyTask(), SPEC, REQUEST)  # type: ignore[arg-type]
    assert answered is not None
    assert answered.violations[0].rule == "unparseable"


@pytest.mark.parametrize("error", [UsageError("the prompt is too long"), Refused("trained with another base")])
def test_a_model_that_cannot_answer_is_refused(error: Exception) -> None:
    with pytest.raises(Refused, match="does not answer a request"):
        answer_once(Says(error), toy.ToyTask(), SPEC, REQUEST)  # type: ignore[arg-type]


def test_without_a_request_at_hand_nothing_is_tried() -> None:
    assert answer_once(Says(UsageError("never asked")), toy.ToyTask(), SPEC, None) is None  # type: ignore[arg-type]
