"""schema.json: every field of a dataset with type, nullability, meaning and unit.

Paths are dotted: ``[]`` stands for the elements of a list, ``*`` for the values of an object whose keys are data (a
recipe id, a cuisine). Such an object is a map in the file where there are many keys and a struct where there are few;
a task says once what any of them means: ``Task.fields["request.history.kept.*"]``."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from bakeoff.datasets.build import PROVENANCE, versions
from bakeoff.task import Field, Task

MEANING: Mapping[str, Field] = {
    "example_id": Field(meaning="decision id of the episode's first decision", unit="uuid"),
    "unit_id": Field(meaning="who is randomised and clustered; never in two splits"),
    "occurred_at": Field(meaning="time of the first decision", unit="UTC, microseconds"),
    "split": Field(meaning="train, validation (tuning, early stopping, eval scores) or test (the gate only)"),
    "slice": Field(meaning="sealed part of the test split; null elsewhere", unit="1 to 4"),
    "request_digest": Field(meaning="of the request's canonical JSON, as in the log", unit="sha256"),
    "request": Field(meaning="the whole context that the policy decided on, as it was stored"),
    "target": Field(meaning="what people kept"),
    "metadata": Field(meaning="where the row comes from, and features to slice results by"),
    **{f"metadata.{name}": Field(meaning=meaning) for name, meaning in PROVENANCE.items()},
    **{
        f"{name}_json": Field(meaning=f"the {name} where its columns are not exact; preferred where it is not null",
                              unit="canonical JSON")
        for name in ("request", "target", "metadata")
    },
}  # fmt: skip
"""What the core knows; `Task.fields` adds the domain's."""


def schema_json(schema: pa.Schema, task: Task, about: Mapping[str, Any]) -> dict[str, Any]:
    """``{"task", "schema_version", "request_version", "prompt_version", "fields", "undocumented", "dataset"}``; each
    field is ``{"name", "type", "nullable", "meaning", "unit"}``; ``dataset`` is `about`."""
    return {
        "task": task.name,
        **versions(task),
        "fields": fields(schema, task),
        "undocumented": undocumented(schema, task),
        "dataset": dict(about),
    }


def fields(schema: pa.Schema, task: Task) -> list[dict[str, Any]]:
    """One entry a field, parents before their parts."""
    known = {**task.fields, **MEANING}
    found: dict[str, dict[str, Any]] = {}
    for top in schema:
        for path, part in _walk(top, top.name, known):
            meant = known.get(path)
            found.setdefault(
                path,
                {
                    "name": path,
                    "type": type_name(part.type),
                    "nullable": part.nullable,
                    "meaning": meant.meaning if meant else "",
                    "unit": meant.unit if meant else None,
                },
            )
            found[path]["nullable"] |= part.nullable  # of any key, where keys are data
    return list(found.values())


def undocumented(schema: pa.Schema, task: Task) -> list[str]:
    """Paths of fields without a meaning."""
    return [field["name"] for field in fields(schema, task) if not field["meaning"]]


def type_name(kind: pa.DataType) -> str:
    """'string', 'int64', 'struct', 'list<struct>', 'map<string, int64>'."""
    if pa.types.is_struct(kind):
        return "struct"
    if pa.types.is_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<string, {type_name(kind.item_type)}>"
    return str(kind)


def _walk(part: pa.Field, path: str, known: Mapping[str, Field]) -> Iterator[tuple[str, pa.Field]]:
    if not (path.endswith(("[]", ".*")) and pa.types.is_struct(part.type)):  # its parts say more than itself
        yield path, part
    inner = part.type
    if pa.types.is_list(inner):
        yield from _walk(inner.value_field, f"{path}[]", known)
    elif pa.types.is_map(inner):
        yield from _walk(inner.item_field, f"{path}.*", known)
    elif pa.types.is_struct(inner):
        any_key = f"{path}.*" if f"{path}.*" in known else None
        for below in inner:
            yield from _walk(below, any_key or f"{path}.{below.name}", known)
