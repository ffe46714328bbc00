"""What the columns of a dataset hold, as counts: enough to compare two datasets without opening their files again.

Columns that are profiled: scalars of ``metadata``, scalars of ``request`` and ``target`` at most two names deep (not
inside lists), and the lengths of such lists under the name ``request.pantry[]``. Each is one of:

- ``number``: deciles, and all values with their counts, or 101 percentiles where there are more than `MOST_VALUES`;
- ``category``: the most frequent values with their counts (at most `MOST_VALUES`), the others as ``rest``;
- ``date``: ISO 8601 texts, of which only the first and the last are kept;
- ``text``: values that hardly ever come twice, which are only counted;
- ``empty``: nothing but nulls.

Everything is exact and read in batches, so a profile does not depend on the order of rows or on row groups."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bakeoff.datasets.model import Split

MOST_VALUES = 50
DEPTH = 2  # names below request, target or metadata
NO_VALUE = "(none)"  # how a null is called where shares are compared
_BATCH = 1 << 13  # rows; larger ones are no faster and take more memory
_TRACKED = 5_000  # different texts of one column; with more it is 'text'
_RETURNS = 10  # a value of a 'category' comes that often on average, unless there are few values
_LONGEST = 200  # characters of a category's value
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d\S*)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One thing to profile."""

    name: str  # 'request.household.size', 'request.pantry[]'
    path: tuple[str, ...]  # field names from the top
    leaf: str  # the physical column to read: 'request.pantry.list.element.item'
    is_length: bool  # the length of the list, not its elements


def profile(file: pq.ParquetFile) -> dict[str, Any]:
    """``{"rows", "units", "units_by_split", "columns": {name: {"kind", "rows", "nulls", ...}}}``, JSON values.

    Memory grows with the different numbers of a column (16 bytes each), not with rows or texts."""
    columns = profiled(file)
    tallies = {column.name: _tally(file.schema_arrow, column) for column in columns}
    for batch in _batches(file, [column.leaf for column in columns]):
        for column in columns:
            tallies[column.name].see(_values(batch, column))
    rows, units = file.metadata.num_rows, units_by_split(file)
    return {
        "rows": rows,
        "units": sum(units.values()),
        "units_by_split": units,
        "columns": {name: {"rows": rows, **tallies[name].describe()} for name in sorted(tallies)},
    }


def profiled(file: pq.ParquetFile) -> list[Column]:
    """The columns of `file` that have a profile, by name. Of two with one name (a key ``a.b`` beside an ``a`` with a
    ``b`` in it) the first."""
    found: dict[str, Column] = {}
    for top in ("metadata", "request", "target"):
        if top in file.schema_arrow.names:
            kind = file.schema_arrow.field(top).type
            for path, is_length in _scalars_and_lists(kind, (top,)):
                name = ".".join(path) + ("[]" if is_length else "")
                leaf = _leaf(file, path, is_length)
                found.setdefault(name, Column(name=name, path=path, leaf=leaf, is_length=is_length))
    return [found[name] for name in sorted(found)]


def units_by_split(file: pq.ParquetFile) -> dict[str, int]:
    """How many different units each split has; a split without rows is left out."""
    counts = {split.value: len(units(file, split)) for split in Split}
    return {split: count for split, count in sorted(counts.items()) if count}


def units(file: pq.ParquetFile, split: Split | None = None) -> pa.Array:
    """All different units, or those of a split, in the order in which they come."""
    found, waiting, size = pa.array([], pa.string()), [], 0
    for batch in file.iter_batches(batch_size=_BATCH, columns=["split", "unit_id"], use_threads=False):
        mine = batch if split is None else batch.filter(pc.equal(batch["split"], split.value))
        waiting.append(pc.unique(mine["unit_id"]))
        size += len(waiting[-1])
        if size > len(found):  # rarely, as many as there are grow
            found, waiting, size = pc.unique(pa.concat_arrays([found, *waiting])), [], 0
    return pc.unique(pa.concat_arrays([found, *waiting]))


def quantile(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], hundredths: Sequence[int]) -> list[float]:
    """The smallest value that at least so many hundredths of the rows do not exceed; of sorted `values` (V,) with
    `counts` (V,). Definition 1 of Hyndman and Fan 1996, The American Statistician 50(4)."""
    below = np.cumsum(counts)
    rows = int(below[-1])
    ranks = [max(-(-rows * share // 100), 1) for share in hundredths]
    return [_number(values[index]) for index in np.searchsorted(below, ranks)]


@dataclass(kw_only=True, slots=True)
class _Numbers:
    """Different numbers with their counts; mutable while the file is being read."""

    values: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    nulls: int = 0

    def see(self, array: pa.Array) -> None:
        self.nulls += array.null_count
        new = array.drop_null().cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        fresh, count = np.unique(new, return_counts=True)
        merged, place = np.unique(np.concatenate([self.values, fresh]), return_inverse=True)
        counts = np.zeros(len(merged), dtype=np.int64)
        np.add.at(counts, place, np.concatenate([self.counts, count]))
        self.values, self.counts = merged, counts

    def describe(self) -> dict[str, Any]:
        if not len(self.values):
            return {"kind": "empty", "nulls": self.nulls}
        about = {"kind": "number", "nulls": self.nulls}
        deciles = quantile(self.values, self.counts, range(0, 101, 10))
        if len(self.values) > MOST_VALUES:
            return {**about, "deciles": deciles, "percentiles": quantile(self.values, self.counts, range(101))}
        pairs = zip(self.values, self.counts, strict=True)
        return {**about, "deciles": deciles, "values": [[_number(value), int(count)] for value, count in pairs]}


@dataclass(kw_only=True, slots=True)
class _Texts:
    """Different texts with their counts, as long as they are few; mutable while the file is being read."""

    counts: Counter[str] = field(default_factory=Counter)
    nulls: int = 0
    is_free: bool = False  # too many or too long: no longer counted
    is_date: bool = True
    first: str = ""
    last: str = ""

    def see(self, array: pa.Array) -> None:
        self.nulls += array.null_count
        array = array.drop_null()
        if not len(array) or (self.is_free and not self.is_date):
            return
        found = pc.value_counts(array.cast(pa.string()))
        values, counts = found.field("values").to_pylist(), found.field("counts").to_pylist()
        self.is_date = self.is_date and all(map(_ISO.fullmatch, values))
        self.first = min(self.first or min(values), min(values))
        self.last = max(self.last, max(values))
        if not self.is_free:
            self.counts.update(dict(zip(values, counts, strict=True)))
        if len(self.counts) > _TRACKED or max(map(len, values)) > _LONGEST:
            self.is_free, self.counts = True, Counter()

    def describe(self) -> dict[str, Any]:
        rows, distinct = sum(self.counts.values()), len(self.counts)
        if not (self.last or self.counts):  # a column of empty texts has no last
            return {"kind": "empty", "nulls": self.nulls}
        if self.is_date:
            return {"kind": "date", "nulls": self.nulls, "first": self.first, "last": self.last}
        if self.is_free or (distinct > MOST_VALUES and rows < _RETURNS * distinct):
            return {"kind": "text", "nulls": self.nulls, "distinct": distinct or None}
        top = sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_VALUES]
        rest = rows - sum(count for _, count in top)
        about = {"kind": "category", "nulls": self.nulls, "distinct": distinct}
        return {**about, "top": [[value, count] for value, count in top], "rest": rest}


def _tally(schema: pa.Schema, column: Column) -> _Numbers | _Texts:
    kind = schema.field(column.path[0]).type
    for name in column.path[1:]:
        kind = kind.field(name).type
    return _Numbers() if column.is_length or _is_number(kind) else _Texts()


def _scalars_and_lists(kind: pa.DataType, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool]]:
    if not pa.types.is_struct(kind) or len(path) > DEPTH:
        return
    for part in kind:
        here = (*path, part.name)
        if pa.types.is_list(part.type):
            yield here, True
        elif _is_number(part.type) or pa.types.is_string(part.type) or pa.types.is_boolean(part.type):
            yield here, False
        else:
            yield from _scalars_and_lists(part.type, here)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _leaf(file: pq.ParquetFile, path: Sequence[str], is_length: bool) -> str:
    """Any physical column below a list knows its length; the cheapest one is read."""
    name = ".".join(path)
    if not is_length:
        return name
    below = [at for at in range(len(file.schema)) if file.schema.column(at).path.startswith(f"{name}.")]
    first = file.metadata.row_group(0) if file.metadata.num_row_groups else None
    cheapest = min(below, key=lambda at: first.column(at).total_uncompressed_size if first else at)
    return str(file.schema.column(cheapest).path)


def _batches(file: pq.ParquetFile, leaves: list[str]) -> Iterator[pa.RecordBatch]:
    if leaves:
        yield from file.iter_batches(batch_size=_BATCH, use_threads=False, columns=leaves)


def _values(batch: pa.RecordBatch, column: Column) -> pa.Array:
    array = pc.struct_field(batch[column.path[0]], list(column.path[1:]))
    return pc.list_value_length(array) if column.is_length else array


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)
