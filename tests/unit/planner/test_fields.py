"""Every field of a row has a meaning, and every meaning a field."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from bakeoff.datasets.schema import undocumented
from bakeoff.task import Example
from planner.fields import FIELDS
from planner.task import PlannerTask

KEYED = ("request.history.kept", "request.history.removed", "request.options[].flags", "target.informative")


def paths(value: Any, path: str) -> Iterator[str]:
    """Every place in a JSON value, with ``*`` for keys that are words or ids."""
    yield path
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from paths(part, f"{path}.{'*' if path in KEYED else key}")
    elif isinstance(value, list):
        for part in value:
            yield from paths(part, f"{path}[]")


def places(examples: list[Example]) -> set[str]:
    return {
        path
        for example in examples
        for name in ("request", "target", "metadata")
        for path in paths(dict(getattr(example, name)), name)
    } - {"request", "target", "metadata"}


def test_no_field_of_a_town_row_lacks_a_meaning(town_examples: list[Example]) -> None:
    elements = {path.rsplit("[].", 1)[0] + "[]" for path in FIELDS if "[]." in path}  # objects, field by field
    assert sorted(places(town_examples) - set(FIELDS) - elements) == []


def test_schema_json_lists_no_field_of_a_town_row_as_undocumented(town_examples: list[Example]) -> None:
    """Empty lists stay without a type here, as they may in a small dataset."""
    rows = [{"request": e.request, "target": e.target, "metadata": e.metadata} for e in town_examples]
    assert undocumented(pa.Table.from_pylist(rows).schema, PlannerTask()) == []


def test_no_meaning_is_for_a_field_that_does_not_exist(town_examples: list[Example]) -> None:
    """A town of sixty weeks has no move and no addition; they are described nonetheless."""
    rare = {f"target.user_edits[].{name}" for name in ("to_day", "servings", "servings_before")}
    assert sorted(set(FIELDS) - places(town_examples) - rare) == []


def test_meanings_say_something_and_units_are_no_blanks() -> None:
    assert all(len(field.meaning) > 5 and field.unit != "" for field in FIELDS.values())
    assert PlannerTask().fields is FIELDS
