"""Identity by content: one text per value, and what cannot be said."""

import json
import math
from datetime import UTC, date, datetime
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.fingerprint import as_stored, canonical_json, digest, short

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)


def test_canonical_json_sorts_and_keeps_letters() -> None:
    assert canonical_json({"b": (1, 2.5), "a": "é", "c": {2, 1}}) == '{"a":"é","b":[1,2.5],"c":[1,2]}'
    assert canonical_json([date(2025, 1, 3), datetime(2025, 1, 3, tzinfo=UTC)]) == (
        '["2025-01-03","2025-01-03T00:00:00+00:00"]'
    )
    assert canonical_json(MappingProxyType({"a": MappingProxyType({})})) == '{"a":{}}'


def test_a_digest_is_known() -> None:
    assert digest({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert short(digest({})) == "44136fa355b3"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, object(), b"x", [1, {"a": math.nan}]])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    for function in (canonical_json, digest, as_stored):
        with pytest.raises((TypeError, ValueError)):
            function(value)


@pytest.mark.parametrize("value", ["a\0b", {"a\0": 1}, ["\\\0"], "\ud800", {"\udfff": []}])
def test_what_postgres_cannot_keep_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"NUL|surrogate"):
        as_stored(value)


@pytest.mark.parametrize("value", ["\\u0000", "\\\\u0000", "\\\\\\u0000", "u0000", "\U0001f600", "\\ud800"])
def test_what_only_looks_like_it_is_kept(value: str) -> None:
    assert as_stored(value) == value


@given(VALUES)
def test_storing_changes_no_digest_and_twice_is_once(value: object) -> None:
    stored = as_stored(value)
    assert digest(stored) == digest(value)
    assert repr(as_stored(stored)) == repr(stored)
    assert json.loads(canonical_json(value)) == stored
