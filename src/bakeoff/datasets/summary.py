"""schema.json and dataset_summary.md: what a dataset holds, for machines and for people."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from bakeoff.datasets.build import PROVENANCE
from bakeoff.datasets.model import SCHEMA_VERSION, Draft

MEANING: Mapping[str, str] = {
    "example_id": "decision id of the episode's first decision",
    "unit_id": "who is randomised and clustered; never in two splits",
    "occurred_at": "time of the first decision, UTC",
    "split": "train, validation (tuning, early stopping, eval scores) or test (the gate only)",
    "slice": "sealed part of the test split, 1 to 4; null elsewhere",
    "request_digest": "sha256 of the request's canonical JSON, as in the log",
    "request": "the whole context that the policy decided on, as it was stored",
    "target": "what people kept",
    "metadata": "where the row comes from, and features to slice results by",
    **{f"metadata.{name}": meaning for name, meaning in PROVENANCE.items()},
    "request_json": "canonical JSON where the nested request is not exact; preferred when present",
    "target_json": "canonical JSON where the nested target is not exact; preferred when present",
    "metadata_json": "canonical JSON where the nested metadata are not exact; preferred when present",
}


def schema_json(schema: pa.Schema, draft: Draft) -> dict[str, Any]:
    """Field names, types, nullability, meaning; and the dataset that the file belongs to."""
    return {
        "task": draft.task,
        "schema_version": SCHEMA_VERSION,
        "fields": [part for field in schema for part in _described(field, "")],
        "dataset": {
            "digest": draft.digest,
            "task": draft.task,
            "since": draft.since.isoformat(),
            "until": draft.until.isoformat(),
            "rows": len(draft.rows),
            "splits": draft.summary["splits"],
            "summary": draft.summary,
        },
    }


def _described(field: pa.Field, prefix: str) -> Iterator[dict[str, Any]]:
    """One entry a field, nested ones by their dotted path; ``[]`` stands for the elements of a list."""
    path = prefix + field.name
    yield {
        "name": path,
        "type": _type_name(field.type),
        "nullable": field.nullable,
        "meaning": MEANING.get(path, ""),
    }
    inner, path = field.type, path + "."
    while pa.types.is_list(inner):
        inner, path = inner.value_type, path.removesuffix(".") + "[]."
    if pa.types.is_struct(inner):
        for part in inner:
            yield from _described(part, path)


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        return "struct"
    if pa.types.is_list(kind):
        return f"list<{_type_name(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<string, {_type_name(kind.item_type)}>"
    return str(kind)


def markdown(draft: Draft, schema: pa.Schema) -> str:
    """dataset_summary.md: rows, fields, tasks, targets, notes; then the counts behind them."""
    about = draft.summary
    return "\n".join(
        [
            f"# Dataset {draft.task} / {draft.date}",
            "",
            f"- **Rows**: {about['rows']:,} of {about['units']:,} units",
            f"- **Fields**: {', '.join(f'`{field.name}`' for field in schema)} (each in `schema.json`)",
            f"- **Tasks**: {about['title']}",
            f"- **Targets**: {', '.join(about['targets'])}",
            *_notes(draft),
            "",
            *_table("Splits (by hash of the unit)", ("split", "rows", "units"), _splits(about)),
            *_table(
                "Who proposed what people reacted to",
                ("policy version", "rows"),
                about["proposed_by"].items(),
            ),
            *_table("Origin", ("origin", "rows"), about["origin"].items()),
            *_table("Left out", ("reason", "episodes"), about["excluded"].items()),
        ]
    )


def _notes(draft: Draft) -> list[str]:
    about = draft.summary
    versions = ", ".join(f"{name.removesuffix('_version')} {about[name]}" for name in _VERSIONS)
    return [
        "- **Notes**:",
        f"  - window: first decisions from {draft.since.isoformat()} to before {draft.until.isoformat()}",
        f"  - content digest `{draft.digest}`",
        f"  - versions: {versions}",
        f"  - answered by a fallback: {about['fell_back']:,} rows (`metadata.fell_back`)",
    ]


_VERSIONS = ("schema_version", "request_version", "prompt_version")


def _splits(about: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    for name, rows in about["splits"].items():
        yield name, rows, about["units_by_split"][name]


def _table(title: str, head: tuple[str, ...], lines: Any) -> list[str]:
    body = [" | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in line) for line in lines]
    if not body:
        return []
    rule = " | ".join("---" for _ in head)
    return [f"## {title}", "", *(f"| {line} |" for line in (" | ".join(head), rule, *body)), ""]
