"""Answers against their schema. The engine's tests run this over a socket; here are the corners."""

import pytest

from bakeoff.inference.conform import check_conforms
from bakeoff.task import ParseError
from tiny import closed_schema

SCHEMA = closed_schema(["a", "b"])


def test_what_conforms_passes_in_any_order_of_keys_and_with_any_white_space() -> None:
    check_conforms(SCHEMA, '{"a":"no","b":"yes"}')
    check_conforms(SCHEMA, '{ "b": "yes",\n "a": "no" }')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": "no", "b": "maybe"}', r"at \$.b: 'maybe' is not one of"),
        ('{"a": "no"}', r"at \$: 'b' is a required property"),
        ("[]", r"at \$"),
        ('"no"', r"at \$"),
        ("yes", "is no JSON"),
        ("9" * 5000, "is no JSON"),
        ('```json\n{"a":"no","b":"yes"}\n```', "is no JSON"),
    ],
)
def test_what_does_not_says_where(text: str, said: str) -> None:
    with pytest.raises(ParseError, match=said):
        check_conforms(SCHEMA, text)


def test_a_message_stays_short_though_an_enum_is_long() -> None:
    many = closed_schema(["a"], [f"recipe {n}" for n in range(1000)])
    with pytest.raises(ParseError) as caught:
        check_conforms(many, '{"a": "x"}')
    assert len(str(caught.value)) < 300
