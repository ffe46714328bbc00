"""JSON texts as nested Arrow columns, and back, exactly: `parse` and `render`.

Both work on whole columns, outside of Python. `render` writes the canonical text of each value (see
`fingerprint.canonical_json`), so that a row is known to be exact when its text comes back: no value is trusted for
its type. The types are those of `shape`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from bakeoff.datasets.shape import Mark
from bakeoff.events.canonical import canonical_bytes, loads

Convert = Callable[[Any], Any]
_VALUE = "v"


def parse(texts: Sequence[bytes], place: pa.Field) -> pa.Array:
    """JSON texts as an array of the type of `place`. Raises pyarrow.ArrowInvalid where one does not fit.

    What fits may still be inexact (a missing key that reads as null): compare with `render`."""
    if not texts:
        return pa.array([], place.type)
    convert = _converter(place)
    values = texts if convert is None else [canonical_bytes(convert(loads(text))) for text in texts]
    lines = b'{"v":' + b'}\n{"v":'.join(values) + b"}\n"
    table = pyarrow.json.read_json(
        pa.BufferReader(lines),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=pa.schema([pa.field(_VALUE, _wire(place.type))]), unexpected_field_behavior="error"
        ),
    )
    return _dressed(table[_VALUE].combine_chunks(), place)


def render(array: pa.Array, place: pa.Field) -> pa.Array:
    """The canonical JSON text of each value; null where the value is null."""
    return _text(pa.concat_arrays([array]) if array.offset else array, place)


def as_texts(values: Sequence[bytes]) -> pa.Array:
    """UTF-8 texts as a string array."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(values)))


# ---- texts to columns ---------------------------------------------------------------------------------------------


def _converter(place: pa.Field) -> Convert | None:
    """What has to be done to a value before Arrow reads it, None for nothing: maps are lists of pairs for it, and
    JSON in a text is a text."""
    kind = place.type
    if Mark.JSON.on(place):
        return _json_text
    if pa.types.is_map(kind):
        return _pairs(_converter(kind.item_field))
    if pa.types.is_list(kind):
        return _each(_converter(kind.value_field))
    return _members({part.name: _converter(part) for part in kind}) if pa.types.is_struct(kind) else None


def _json_text(value: Any) -> Any:
    return None if value is None else canonical_bytes(value).decode()


def _pairs(inner: Convert | None) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return [{"key": key, "value": inner(value[key]) if inner else value[key]} for key in sorted(value)]

    return convert


def _each(inner: Convert | None) -> Convert | None:
    if inner is None:
        return None
    return lambda value: [inner(item) for item in value] if isinstance(value, list) else value


def _members(parts: dict[str, Convert | None]) -> Convert | None:
    needed = [(name, part) for name, part in parts.items() if part is not None]
    if not needed:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return value | {name: part(value[name]) for name, part in needed if name in value}

    return convert


def _wire(kind: pa.DataType) -> pa.DataType:
    """The type that Arrow's JSON reader is asked for: everything may be missing, and maps are lists of pairs."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(part.name, _wire(part.type)) for part in kind])
    if pa.types.is_map(kind):
        return pa.list_(pa.struct([("key", pa.string()), ("value", _wire(kind.item_type))]))
    return pa.list_(_wire(kind.value_type)) if pa.types.is_list(kind) else kind


def _dressed(array: pa.Array, place: pa.Field) -> pa.Array:
    """The same values as an array of exactly this field's type, without a copy. Where nothing may be null, what is (in
    objects that are not there) becomes any value: Parquet insists."""
    kind = place.type
    mask = array.is_null() if array.null_count and place.nullable else None
    if pa.types.is_struct(kind):
        parts = [_dressed(array.field(n), kind.field(n)) for n in range(kind.num_fields)]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=mask)
    if pa.types.is_map(kind):
        keys, items = array.values.field("key"), _dressed(array.values.field("value"), kind.item_field)
        return pa.MapArray.from_arrays(array.offsets, keys, items, type=kind, mask=mask)
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(array.offsets, _dressed(array.values, kind.value_field), type=kind, mask=mask)
    if array.null_count and not place.nullable:
        return pa.Array.from_buffers(kind, len(array), [None, *array.buffers()[1:]], offset=array.offset)
    return array


# ---- columns to texts ---------------------------------------------------------------------------------------------


Parts = list[str | pa.Array]
"""Pieces of a text, to be joined row by row; what is the same for all rows is a plain string."""


def _text(array: pa.Array, place: pa.Field) -> pa.Array:
    """Null where `array` is null."""
    text = _joined(*_parts(array, place))
    return pc.if_else(array.is_valid(), text, pa.scalar(None, pa.string())) if array.null_count else text


def _parts(array: pa.Array, place: pa.Field) -> Parts:
    """Of values that are there. Objects bring the pieces of their members, so that all are joined at once."""
    kind = place.type
    if Mark.JSON.on(place):
        return [array]
    if pa.types.is_struct(kind):
        return _struct_parts(array, kind)
    if pa.types.is_map(kind):
        items = _or_null(_text(array.items, kind.item_field))
        return ["{", _listed(array, _joined('"', _escaped(array.keys), '":', items)), "}"]
    if pa.types.is_list(kind):
        return ["[", _listed(array, _or_null(_text(array.values, kind.value_field))), "]"]
    if pa.types.is_string(kind):
        return ['"', _escaped(array), '"']
    return [_float_text(array, place) if pa.types.is_floating(kind) else array.cast(pa.string())]


def _joined(*parts: str | pa.Array) -> pa.Array:
    merged: Parts = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif not (isinstance(part, str) and part == ""):
            merged.append(part)
    return merged[0] if len(merged) == 1 else pc.binary_join_element_wise(*merged, "")


def _or_null(text: pa.Array) -> pa.Array:
    return pc.fill_null(text, "null") if text.null_count else text


def _struct_parts(array: pa.Array, kind: pa.DataType) -> Parts:
    """Members in the order of their names, which is the canonical one. The first that is always there needs no comma;
    those before it bring theirs behind them, the others before them."""
    names = [_quoted(part.name) + ":" for part in kind]
    members = [array.field(n) for n in range(kind.num_fields)]
    optional = [member.null_count > 0 and Mark.MISSING.on(part) for member, part in zip(members, kind, strict=True)]
    if all(optional):
        texts = [
            pc.fill_null(_joined(f",{name}", _text(member, part)), "")
            for name, member, part in zip(names, members, kind, strict=True)
        ]
        return ["{", pc.ascii_ltrim(_joined(*texts), ","), "}"]
    first = optional.index(False)
    parts: Parts = ["{"]
    for n, (name, member, part) in enumerate(zip(names, members, kind, strict=True)):
        before, after = "," * (n > first) + name, "," * (n < first)
        if optional[n]:
            parts.append(pc.fill_null(_joined(before, _text(member, part), after), ""))
        elif member.null_count:
            parts += [before, _or_null(_text(member, part))]
        else:
            parts += [before, *_parts(member, part)]
    return [*parts, "}"]


def _listed(array: pa.Array, texts: pa.Array) -> pa.Array:
    """The texts of the elements of a list or map, with commas between them; null where it is null."""
    return pc.binary_join(pa.ListArray.from_arrays(array.offsets, texts), ",")


def _float_text(array: pa.Array, place: pa.Field) -> pa.Array:
    """As Python's ``repr``. Arrow's own text differs for whole numbers and for very large and very small ones."""
    values = array.to_numpy(zero_copy_only=False)
    size = np.abs(values)
    whole, as_ints = np.floor(values) == values, Mark.WHOLE.on(place)
    odd = ((size < 1e-4) & (size > 0)) | (size >= 1e9)
    text = array.cast(pa.string())
    if whole.any() and not as_ints:
        text = pc.if_else(pa.array(whole), _joined(text, ".0"), text)
    if odd.any():
        spelt = [str(int(v)) if as_ints and v == v // 1 else repr(float(v)) for v in values[odd]]
        text = pc.replace_with_mask(text, pa.array(odd), pa.array(spelt, pa.string()))
    return text


_SHORT = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}


def _escaped(array: pa.Array) -> pa.Array:
    """What JSON cannot say plainly inside a text, escaped as Python's json does; most columns hold nothing of it."""
    data = array.buffers()[2]
    if data is None:
        return array
    found = np.flatnonzero(np.bincount(np.frombuffer(data, np.uint8), minlength=256))
    for byte in sorted({*found[found < 32].tolist(), *({34, 92} & set(found.tolist()))}, reverse=True):
        escape = "\\" + chr(byte) if byte in (34, 92) else _SHORT.get(byte, f"\\u{byte:04x}")
        array = pc.replace_substring(array, chr(byte), escape)
    return array


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
