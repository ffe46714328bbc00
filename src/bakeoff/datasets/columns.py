"""JSON values as nested Arrow columns, and back, exactly.

Arrow asks for one type per place, JSON does not: keys may be missing or null, numbers int or float, objects
keyed by ids. So a shape is read off all values first, and types are chosen for people to read:

- a key that is never null but sometimes missing carries the field metadata ``absent=missing`` and is left out
  again when it reads as null;
- an object with more than `MOST_FIELDS` different keys is a map, not a struct of thousands of columns;
- a place that holds different kinds, integers beyond 64 bits or only empty objects is canonical JSON text;
- ints and floats in one place are doubles.

The last two (and a key that is sometimes missing, sometimes null) do not come back as they were. The caller
reads every value back before it trusts the columns, and keeps the canonical JSON of those that differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from bakeoff.fingerprint import canonical_json

MOST_FIELDS = 64
_MISSING = {b"absent": b"missing"}
_INT64 = 1 << 63


@dataclass(kw_only=True, slots=True)
class Shape:
    """What was seen at one place of many JSON values. Mutable while it is being read off."""

    kinds: set[str] = field(default_factory=set)  # null, bool, int, huge, float, str, list, object
    items: "Shape | None" = None  # of lists
    fields: dict[str, "Shape"] = field(default_factory=dict)  # of objects
    seen: int = 0  # values here; a field of an object seen more often than the field itself is sometimes missing
    objects: int = 0


def shape_of(values: Iterable[Any]) -> Shape:
    shape = Shape()
    for value in values:
        _see(shape, value)
    return shape


def arrow_type(shape: Shape) -> pa.DataType:
    """The Arrow type for every value of this shape; see the module for what is not exact."""
    kinds = shape.kinds - {"null"}
    if kinds == {"object"} and shape.fields:
        return _map_type(shape) if len(shape.fields) > MOST_FIELDS else _struct_type(shape)
    if kinds == {"list"}:
        return pa.list_(pa.field("element", pa.string() if shape.items is None else arrow_type(shape.items)))
    if kinds == {"int"}:
        return pa.int64()
    if kinds in ({"float"}, {"int", "float"}):
        return pa.float64()
    return pa.bool_() if kinds == {"bool"} else pa.string()


def encode(value: Any, kind: pa.DataType) -> Any:
    """The Python value that pyarrow takes for a column of this type."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {part.name: encode(value.get(part.name), part.type) for part in kind}
    if pa.types.is_map(kind):
        return [(key, encode(value[key], kind.item_type)) for key in sorted(value)]
    if pa.types.is_list(kind):
        return [encode(item, kind.value_type) for item in value]
    if pa.types.is_floating(kind):
        return float(value)
    return canonical_json(value) if pa.types.is_string(kind) and not isinstance(value, str) else value


def decode(value: Any, kind: pa.DataType) -> Any:
    """The JSON value for what pyarrow gives back from a column of this type."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {
            part.name: decode(value[part.name], part.type)
            for part in kind
            if value[part.name] is not None or not _may_be_missing(part)
        }
    if pa.types.is_map(kind):
        return {key: decode(item, kind.item_type) for key, item in value}
    if pa.types.is_list(kind):
        return [decode(item, kind.value_type) for item in value]
    return value


def _see(shape: Shape, value: Any) -> None:
    shape.seen += 1
    shape.kinds.add(_kind(value))
    if isinstance(value, Mapping):
        shape.objects += 1
        for key, part in value.items():
            _see(shape.fields.setdefault(key, Shape()), part)
    elif isinstance(value, list):
        shape.items = shape.items or Shape()
        for item in value:
            _see(shape.items, item)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -_INT64 <= value < _INT64 else "huge"
    return {float: "float", str: "str", list: "list"}.get(type(value), "object")


def _struct_type(shape: Shape) -> pa.DataType:
    return pa.struct([_field(name, part, shape.objects) for name, part in sorted(shape.fields.items())])


def _field(name: str, part: Shape, objects: int) -> pa.Field:
    missing, null = part.seen < objects, "null" in part.kinds
    return pa.field(
        name, arrow_type(part), nullable=missing or null, metadata=_MISSING if missing and not null else None
    )


def _map_type(shape: Shape) -> pa.DataType:
    together = Shape()
    for part in shape.fields.values():
        _merge(together, part)
    return pa.map_(pa.string(), pa.field("value", arrow_type(together)))


def _merge(into: Shape, other: Shape) -> None:
    into.kinds |= other.kinds
    into.seen += other.seen
    into.objects += other.objects
    for name, part in other.fields.items():
        _merge(into.fields.setdefault(name, Shape()), part)
    if other.items is not None:
        into.items = into.items or Shape()
        _merge(into.items, other.items)


def _may_be_missing(part: pa.Field) -> bool:
    return (part.metadata or {}).get(b"absent") == b"missing"
