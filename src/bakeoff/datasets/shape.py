"""Which nested Arrow type holds these JSON values exactly.

Arrow asks for one type per place, JSON does not: keys may be missing or null, numbers int or float, objects keyed by
ids. So a shape is read off values, and types are chosen for people to read. What a type alone cannot say stands in the
metadata of its field (`Mark`):

- a key that is never null but sometimes missing is left out again when it reads as null (``absent=missing``);
- ints among fractions are doubles of which the whole ones are ints (``whole=int``), as JavaScript writes numbers;
- a place that holds different kinds, integers beyond 64 bits or only empty objects is canonical JSON (``json=text``);
- an object with more than `MOST_FIELDS` different keys is a map, not a struct of thousands of columns.

Two things remain that do not come back as they were: a key that is sometimes missing and sometimes null, and 1.0 among
ints. `columns` finds the rows that have one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pyarrow as pa

MOST_FIELDS = 64
_INT64 = 1 << 63


class Mark(Enum):
    """Metadata of a field that change how it reads."""

    MISSING = (b"absent", b"missing")  # null stands for no key
    WHOLE = (b"whole", b"int")  # whole doubles are ints
    JSON = (b"json", b"text")  # the text is JSON

    def on(self, place: pa.Field) -> bool:
        return bool((place.metadata or {}).get(self.value[0]) == self.value[1])


@dataclass(kw_only=True, slots=True)
class Shape:
    """What was seen at one place of many JSON values. Mutable while it is being read off."""

    kinds: set[str] = field(default_factory=set)  # null, bool, int, huge, float, whole, str, list, object
    items: "Shape | None" = None  # of lists
    fields: dict[str, "Shape"] = field(default_factory=dict)  # of objects
    missing: bool = False  # a field that some objects do not have
    objects: int = 0


def see(shape: Shape, values: Iterable[Any]) -> None:
    """Adds what `values` are like. Values that a type of this shape holds exactly need not be seen."""
    for value in values:
        _see(shape, value)


def place(name: str, shape: Shape, *, is_struct: bool = False) -> pa.Field:
    """The field of a column, list element, map item or struct member that holds every value of this shape; with
    `is_struct` an object is no map, however many keys it has."""
    kind, marks = _type(shape, is_struct)
    null = "null" in shape.kinds
    if shape.missing and not null:
        marks = (*marks, Mark.MISSING)
    metadata = dict(mark.value for mark in marks) or None
    return pa.field(name, kind, nullable=null or shape.missing, metadata=metadata)


def _see(shape: Shape, value: Any) -> None:
    kind = _kind(value)
    shape.kinds.add(kind)
    if kind == "object":
        _see_object(shape, value)
    elif kind == "list":
        items = shape.items = shape.items or Shape()
        for item in value:
            _see(items, item)


def _see_object(shape: Shape, value: Mapping[str, Any]) -> None:
    fields = shape.fields
    for key, part in value.items():
        found = fields.get(key)
        if found is None:
            found = fields[key] = Shape(missing=shape.objects > 0)
        _see(found, part)
    if len(value) < len(fields):
        for key, found in fields.items():
            if key not in value:
                found.missing = True
    shape.objects += 1


_KINDS: Mapping[type, str] = {type(None): "null", bool: "bool", str: "str", list: "list", dict: "object"}


def _kind(value: Any) -> str:
    known = _KINDS.get(type(value))
    if known is not None:
        return known
    if isinstance(value, int):
        return "int" if -_INT64 <= value < _INT64 else "huge"
    return "whole" if value.is_integer() else "float"


_PLAIN: Mapping[frozenset[str], pa.DataType] = {
    frozenset(): pa.string(),
    frozenset({"str"}): pa.string(),
    frozenset({"bool"}): pa.bool_(),
    frozenset({"int"}): pa.int64(),
    frozenset({"float"}): pa.float64(),
    frozenset({"whole"}): pa.float64(),
    frozenset({"float", "whole"}): pa.float64(),
}
_NUMBERS = frozenset({"int", "float", "whole"})


def _type(shape: Shape, is_struct: bool) -> tuple[pa.DataType, tuple[Mark, ...]]:
    kinds = frozenset(shape.kinds - {"null"})
    if kinds == {"object"} and shape.fields:
        return _object_type(shape, is_struct), ()
    if kinds == {"list"}:
        return pa.list_(place("element", shape.items or Shape())), ()
    if kinds in _PLAIN:
        return _PLAIN[kinds], ()
    return (pa.float64(), (Mark.WHOLE,)) if kinds <= _NUMBERS else (pa.string(), (Mark.JSON,))


def _object_type(shape: Shape, is_struct: bool) -> pa.DataType:
    if is_struct or len(shape.fields) <= MOST_FIELDS:
        return pa.struct([place(name, part) for name, part in sorted(shape.fields.items())])
    together = Shape()
    for part in shape.fields.values():
        _merge(together, part)
    together.missing = False
    return pa.map_(pa.string(), place("value", together))


def _merge(into: Shape, other: Shape) -> None:
    into.kinds |= other.kinds
    for name, part in into.fields.items():
        part.missing |= name not in other.fields and other.objects > 0
    for name, part in other.fields.items():
        found = into.fields.get(name)
        if found is None:
            found = into.fields[name] = Shape(missing=into.objects > 0)
        _merge(found, part)
        found.missing |= part.missing
    into.objects += other.objects
    if other.items is not None:
        into.items = into.items or Shape()
        _merge(into.items, other.items)
