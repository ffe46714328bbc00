from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.datasets.columns import as_texts, parse, render
from bakeoff.datasets.shape import MOST_FIELDS, Shape, place, see
from bakeoff.fingerprint import canonical_json


def _texts(values: list[Any]) -> list[bytes]:
    return [canonical_json(value).encode() for value in values]


def _through(values: list[Any]) -> list[bytes]:
    """Texts that come back; None reads as null."""
    shape = Shape()
    see(shape, values)
    field = place("x", shape)
    array = parse(_texts(values), field)
    array.validate(full=True)
    assert array.type.equals(field.type, check_metadata=True)
    return [b"null" if text is None else text.encode() for text in render(array, field).to_pylist()]


@pytest.mark.parametrize(
    "values",
    [
        [{"a": 1, "b": None}, {"a": 2, "b": "x", "c": [1.5]}, {"a": 3, "b": None}],
        [{"p": None, "l": []}, {"p": {"kept": ["r1"]}, "l": [{"x": True}, {}]}, {"p": {"kept": []}, "l": []}],
        [{f"recipe-{n}": {"uses": n} for n in range(i, i + 3)} for i in range(MOST_FIELDS)],
        [{"n": 1, "x": 1.0}],
        [{"q": 1}, {"q": 0.5}, {"q": 3}],
        [{}, {"a": 1}, {"b": 2}, {"c": 3, "b": 1}, {}],
        [{"m": 1}, {"a": 1, "m": 1, "z": 2}, {"m": 1, "z": 3}],
        ["plain", 'qu"ote', "back\\slash", "tab\t\n\r\b\f", "\x01\x1f\x7f", "é😀", ""],
        [0.0, -0.0, 1e16, 1e15, 123456789012345.0, 1e-7, 1.5e-5, 1e-4, 5e-324, 1.7976931348623157e308, 0.1],
        [2**63 - 1, -(2**63), 0],
        [2**64, 1, None],
        [[["a"], []], [], [[]]],
        [{"x": 1}, {"x": "one"}, {"x": [1, {"y": 2.5}]}, {"x": None}],
        [True, False, None],
        [None, None],
        ["2025-01-03", "2025-01-03T10:00:00Z"],
    ],
)  # fmt: skip
def test_values_come_back_exactly(values: list[Any]) -> None:
    assert _through(values) == _texts(values)


def test_slices_read_as_the_whole() -> None:
    values = [{"l": [str(n)] * (n % 3), "m": {str(n): n}} for n in range(100)]
    shape = Shape()
    see(shape, values)
    field = place("x", shape)
    assert render(parse(_texts(values), field)[40:60], field).to_pylist() == [canonical_json(v) for v in values[40:60]]


def test_a_key_that_is_missing_and_null_reads_as_null_and_so_differs() -> None:
    """Why the writer compares texts."""
    values = [{"a": None, "b": 1}, {"b": 1}, {"a": 1, "b": 1}]
    assert [back == text for back, text in zip(_through(values), _texts(values), strict=True)] == [True, False, True]


def test_one_point_zero_among_ints_differs() -> None:
    assert _through([1, 1.0, 2.5]) == [b"1", b"1", b"2.5"]


def test_what_does_not_fit_a_type_is_an_error() -> None:
    field = pa.field("x", pa.struct([pa.field("a", pa.int64())]))
    for text in (b'{"a":"x"}', b'{"a":1.5}', b"[1]"):
        with pytest.raises(pa.ArrowInvalid):
            parse([text], field)


def test_nothing_is_an_empty_column() -> None:
    assert len(parse([], pa.field("x", pa.struct([pa.field("a", pa.int64())])))) == 0


def test_texts_are_utf8_strings() -> None:
    assert as_texts(["é".encode(), b"", b"x"]).to_pylist() == ["é", "", "x"]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_float_comes_back(values: list[float]) -> None:
    assert _through(values) == _texts(values)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_every_text_comes_back(values: list[str]) -> None:
    assert _through(values) == _texts(values)
