"""Answers made of a schema are answers that the schema allows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bakeoff.conformance.instances import NotCovered, instances

LEAVES = st.one_of(
    st.lists(st.one_of(st.integers(), st.text(), st.none()), min_size=1, unique_by=repr).map(lambda v: {"enum": v}),
    st.integers().map(lambda v: {"const": v}),
    st.integers(0, 5).map(lambda n: {"type": "string", "minLength": n}),
    st.integers(-5, 5).map(lambda n: {"type": "integer", "minimum": n}),
    st.integers(-5, 5).map(lambda n: {"type": "number", "maximum": n}),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}]),
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.dictionaries(st.text(max_size=3), inner, max_size=3)
    return st.one_of(
        names.map(lambda p: {"type": "object", "properties": p, "required": list(p), "additionalProperties": False}),
        names.map(lambda p: {"type": "object", "properties": p, "required": list(p)[:1]}),
        st.tuples(inner, st.integers(0, 3)).map(lambda p: {"type": "array", "items": p[0], "minItems": p[1]}),
        st.lists(inner, min_size=1, max_size=3).map(lambda p: {"type": "array", "prefixItems": p, "minItems": len(p)}),
        st.lists(inner, min_size=1, max_size=3).map(lambda p: {"anyOf": p}),
    )


@given(st.recursive(LEAVES, nested, max_leaves=8))
def test_every_instance_is_allowed(schema: dict[str, Any]) -> None:
    for value in instances(schema, 4):
        Draft202012Validator(schema).validate(value)


def test_the_first_is_all_first_choices_the_second_all_last_ones() -> None:
    schema = {
        "type": "object",
        "properties": {name: {"enum": ["no", "perhaps", "yes"]} for name in "ab"},
        "required": ["a", "b"],
    }
    found = instances(schema, 5)
    assert found[:2] == [{"a": "no", "b": "no"}, {"a": "yes", "b": "yes"}]
    assert found == instances(schema, 5)


def test_references_are_followed_and_endless_ones_given_up() -> None:
    colour = {"$defs": {"colour": {"enum": ["red"]}}, "type": "array", "items": {"$ref": "#/$defs/colour"}}
    assert instances({**colour, "minItems": 2}, 2) == [["red", "red"]]
    with pytest.raises(NotCovered):
        instances({"$defs": {"me": {"$ref": "#/$defs/me"}}, "$ref": "#/$defs/me"}, 1)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string", "pattern": "^a+$"},
        {"type": "integer", "multipleOf": 7},
        {"type": "number", "exclusiveMinimum": 3},
        {"$ref": "elsewhere.json"},
        {"type": "array", "minItems": 1},
        {"type": "array", "minItems": 2, "items": {"enum": ["a", "b"]}, "uniqueItems": True},
        {"type": "object", "allOf": [{"required": ["a"]}]},
    ],
)
def test_what_it_does_not_know_it_does_not_guess(schema: dict[str, Any]) -> None:
    with pytest.raises(NotCovered):
        instances(schema, 1)
