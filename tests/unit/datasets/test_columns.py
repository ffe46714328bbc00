from typing import Any

import pyarrow as pa

from bakeoff.datasets.columns import MOST_FIELDS, arrow_type, decode, encode, shape_of
from bakeoff.fingerprint import canonical_json


def _through(values: list[Any]) -> list[Any]:
    kind = arrow_type(shape_of(values))
    return [decode(v, kind) for v in pa.array([encode(v, kind) for v in values], kind).to_pylist()]


def test_missing_keys_stay_missing_and_nulls_stay_null() -> None:
    values = [{"a": 1, "b": None}, {"a": 2, "b": "x", "c": [1.5]}, {"b": None}]
    assert _through(values) == values


def test_empty_lists_objects_of_lists_and_whole_nulls_come_back() -> None:
    values = [
        {"p": None, "l": []},
        {"p": {"kept": ["r1"]}, "l": [{"x": True}, {}]},
        {"p": {"kept": []}, "l": []},
    ]
    assert _through(values) == values


def test_objects_keyed_by_ids_become_maps() -> None:
    values = [{f"recipe-{n}": {"uses": n} for n in range(i, i + 3)} for i in range(MOST_FIELDS)]
    assert pa.types.is_map(arrow_type(shape_of(values)))
    assert _through(values) == values


def test_ints_stay_ints_beside_floats_in_other_places() -> None:
    assert canonical_json(_through([{"n": 1, "x": 1.0}])) == '[{"n":1,"x":1.0}]'


def test_mixed_numbers_are_doubles_for_people_and_so_not_exact() -> None:
    """Why the writer reads back: 1 and 1.0 are the same number but not the same JSON."""
    assert arrow_type(shape_of([{"q": 1}, {"q": 0.5}])).field("q").type == pa.float64()
    assert canonical_json(_through([{"q": 1}, {"q": 0.5}])) == '[{"q":1.0},{"q":0.5}]'
