"""What one answer may cost."""

from typing import Any

import pytest

import toy
from bakeoff.inference.model import Decoding, PolicySpec, Price
from bakeoff.serving import cost
from bakeoff.serving.model import NoAnswer

REQUEST = {"likes": "tea", "day": 1}  # rendered as eight words


def spec(**price: float) -> PolicySpec:
    return PolicySpec(
        task="toy", engine="openai", prompt_version="1", decoding=Decoding(max_tokens=500), price=Price(**price)
    )


def within(limit: float, **price: Any) -> PolicySpec:
    return cost.within(toy.ToyTask(), spec(**price), REQUEST, limit)


def test_an_answer_is_cut_off_where_it_would_cost_too_much() -> None:
    """8 words at 1 micro each leave 92 of 100, which is 46 tokens at 2."""
    found = within(100e-6, per_million_prompt_tokens=1, per_million_completion_tokens=2)
    assert found.decoding == Decoding(max_tokens=46)


def test_a_generous_limit_and_a_free_model_change_nothing() -> None:
    for limit, price in ((1.0, {"per_million_completion_tokens": 2}), (0.0, {})):
        assert within(limit, **price) == spec(**price)


@pytest.mark.parametrize(
    ("limit", "price"),
    [(7e-6, {"per_million_prompt_tokens": 1}), (1e-6, {"per_million_completion_tokens": 2})],
    ids=["the prompt alone", "not one token"],
)
def test_what_can_only_cost_too_much_is_not_asked(limit: float, price: dict[str, float]) -> None:
    with pytest.raises(NoAnswer) as raised:
        within(limit, **price)
    assert raised.value.kind == "cost"
