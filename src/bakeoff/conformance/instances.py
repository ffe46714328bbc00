"""Small answers that a JSON Schema allows, to see whether the task can read what its grammar lets a model say."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bakeoff.fingerprint import canonical_json
from bakeoff.task import JsonSchema

Pick = Callable[[int], int]
"""How many ways are open -> which one to go."""
_DEEPEST = 32  # a schema may refer to itself
_LEFT_ALONE = ("allOf", "not", "if", "uniqueItems", "contains", "minProperties")  # they bind the values found here


class NotCovered(Exception):  # noqa: N818 - an answer of this module, not an error of the user
    """The schema uses what this module does not know (for instance a pattern)."""


def instances(schema: JsonSchema, count: int) -> list[Any]:
    """Up to `count` different values that `schema` allows: all first choices, all last ones, then random ones with
    a fixed seed. Raises NotCovered."""
    draw = random.Random(0)
    picks: list[Pick] = [lambda _: 0, lambda n: n - 1, *[draw.randrange] * max(count - 2, 0)]
    found = [_value(schema, schema, pick, 0) for pick in picks[:count]]
    return list({canonical_json(value): value for value in found}.values())


def _value(schema: Any, root: JsonSchema, pick: Pick, depth: int) -> Any:
    if depth > _DEEPEST or not isinstance(schema, Mapping) or any(schema.get(word) for word in _LEFT_ALONE):
        raise NotCovered(f"{schema!r}")
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][pick(len(schema["enum"]))]
    if "$ref" in schema:
        return _value(_referred(schema["$ref"], root), root, pick, depth + 1)
    for ways in ("anyOf", "oneOf"):
        if schema.get(ways):
            return _value(schema[ways][pick(len(schema[ways]))], root, pick, depth + 1)
    kind = schema.get("type")
    kind = kind[pick(len(kind))] if isinstance(kind, list) and kind else kind
    return _of_type(kind, schema, lambda part: _value(part, root, pick, depth + 1))


def _of_type(kind: Any, schema: Mapping[str, Any], inner: Callable[[Any], Any]) -> Any:
    if kind == "object":
        properties, required = schema.get("properties", {}), schema.get("required", ())
        if not set(required) <= set(properties):
            raise NotCovered(f"{dict(schema)!r}")
        return {name: inner(body) for name, body in properties.items() if name in required}
    if kind == "array":
        first = [inner(part) for part in schema.get("prefixItems", ())]
        more = max(int(schema.get("minItems", 0)) - len(first), 0)
        return first + [inner(schema.get("items")) for _ in range(more)]
    if kind == "string" and "pattern" not in schema and "format" not in schema:
        return "x" * int(schema.get("minLength", 1))
    if kind in ("integer", "number") and "multipleOf" not in schema:
        return _number(schema)
    if kind == "boolean":
        return False
    if kind == "null":
        return None
    raise NotCovered(f"{dict(schema)!r}")


def _number(schema: Mapping[str, Any]) -> Any:
    if "minimum" in schema:
        return schema["minimum"]
    if "maximum" in schema:
        return schema["maximum"]
    if "exclusiveMinimum" in schema or "exclusiveMaximum" in schema:
        raise NotCovered(f"{dict(schema)!r}")
    return 0


def _referred(reference: Any, root: JsonSchema) -> Any:
    """What ``#/$defs/name`` points at."""
    found: Any = root
    for part in _steps(str(reference)):
        if not isinstance(found, Mapping) or part not in found:
            raise NotCovered(str(reference))
        found = found[part]
    return found


def _steps(reference: str) -> Sequence[str]:
    if not reference.startswith("#/"):
        raise NotCovered(reference)
    return reference.removeprefix("#/").split("/")
