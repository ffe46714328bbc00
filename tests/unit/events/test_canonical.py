"""The fast spelling is the one spelling."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.events.canonical import canonical_bytes, loads
from bakeoff.fingerprint import canonical_json

TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
NUMBERS = (
    st.integers(min_value=-(10**40), max_value=10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1e16, 1e15, 1e-4, 1e-5, 9.9e-5, 1e22, -0.0, 5e-324, 2**63, 2**64, -(2**63) - 1, 1e300, 0.00012])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=12,
)


@given(VALUES)
def test_it_is_the_text_that_fingerprints_are_made_of(value: Any) -> None:
    assert canonical_bytes(value) == canonical_json(value).encode()


@given(VALUES)
def test_reading_gives_the_exact_value_back(value: Any) -> None:
    assert repr(loads(json.dumps(value).encode())) == repr(json.loads(json.dumps(value)))


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": {"b": -math.inf}}, {"a": None, "b": math.nan}])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        canonical_bytes(value)


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}])
def test_half_a_character_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        canonical_bytes(value)


@pytest.mark.parametrize("text", [b"NaN", b'{"a": -Infinity}', b"{", b"", b'{"a": 01}', b"\xff"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        loads(text)


def test_a_number_with_long_digits_keeps_them() -> None:
    assert loads(b'{"a": 123456789012345678901234567890}') == {"a": 123456789012345678901234567890}
