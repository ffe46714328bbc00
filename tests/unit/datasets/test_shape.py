import pyarrow as pa

from bakeoff.datasets.shape import MOST_FIELDS, Mark, Shape, place, see


def _place(*values: object) -> pa.Field:
    shape = Shape()
    see(shape, values)
    return place("x", shape)


def test_a_key_that_is_never_null_but_sometimes_missing_is_marked() -> None:
    kind = _place({"a": 1}, {"a": 2, "b": 3}, {"a": 4, "c": None}).type
    assert [Mark.MISSING.on(kind.field(name)) for name in "abc"] == [False, True, False]
    assert [kind.field(name).nullable for name in "abc"] == [False, True, True]


def test_ints_among_fractions_are_doubles_whose_whole_ones_are_ints() -> None:
    assert _place(1, 0.5).type == pa.float64()
    assert Mark.WHOLE.on(_place(1, 0.5))
    assert not Mark.WHOLE.on(_place(1.0, 0.5))
    assert _place(1, 2).type == pa.int64()


def test_what_no_type_holds_is_json() -> None:
    for values in ((1, "a"), ({}, {}), (2**64,), ([], {}), (True, 1)):
        assert Mark.JSON.on(_place(*values)), values
    assert not Mark.JSON.on(_place("a", None))


def test_objects_keyed_by_ids_become_maps() -> None:
    values = [{f"recipe-{n}": {"uses": n} for n in range(i, i + 3)} for i in range(MOST_FIELDS)]
    kind = _place(*values).type
    assert pa.types.is_map(kind)
    assert kind.item_type == pa.struct([pa.field("uses", pa.int64(), nullable=False)])


def test_more_values_only_widen() -> None:
    shape = Shape()
    see(shape, [{"a": 1}])
    see(shape, [{"a": 1.5, "b": "x"}])
    together = Shape()
    see(together, [{"a": 1}, {"a": 1.5, "b": "x"}])
    assert place("x", shape).equals(place("x", together), check_metadata=True)
