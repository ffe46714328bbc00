import pyarrow as pa
import pytest

from bakeoff.datasets.check import check_units
from bakeoff.errors import Refused


def _table(*places: tuple[str, str, int | None]) -> pa.Table:
    names = ("unit_id", "split", "slice")
    return pa.table({name: list(column) for name, column in zip(names, zip(*places, strict=True), strict=True)})


def test_a_unit_in_two_splits_or_slices_is_refused() -> None:
    for other in (("u", "train", None), ("u", "test", 2)):
        with pytest.raises(Refused, match="units in two splits: u"):
            check_units(_table(("u", "test", 1), ("v", "train", None), other))


def test_a_unit_may_have_many_rows_in_one_place() -> None:
    check_units(_table(("u", "test", 1), ("u", "test", 1), ("v", "train", None), ("v", "train", None)))
