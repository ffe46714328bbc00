"""training.parquet: rows as texts into nested columns, chunk by chunk, and back.

Request, target and metadata are nested columns, for people and for SQL over Parquet. What does not come back from
them exactly (see `shape`) is kept beside them as canonical JSON in ``request_json``, ``target_json`` or
``metadata_json``, null for all other rows; reading prefers those. Every text is compared with what the columns give
back before it is written.

The types are read off the rows that do not fit into the types so far. Where that happens after a part was written,
the parts before are written again when all is known, so that the file is the same whatever came when.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bakeoff.datasets import columns
from bakeoff.datasets.model import Line, Row, Split
from bakeoff.datasets.shape import Shape, place, see
from bakeoff.errors import BakeoffError, Refused
from bakeoff.events.canonical import canonical_bytes, loads
from bakeoff.fingerprint import digest_bytes

TRAINING = "training.parquet"
NESTED = ("request", "target", "metadata")
ROW_GROUP = 2_000  # rows; fixed, so that the same rows give the same bytes
ROW_GROUP_BYTES = 32 << 20  # of texts; a row group ends where either is reached
_FIRST = 256  # rows that the types are read off before anything is tried

_PLAIN = (
    pa.field("example_id", pa.string(), nullable=False),
    pa.field("unit_id", pa.string(), nullable=False),
    pa.field("occurred_at", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("split", pa.string(), nullable=False),
    pa.field("slice", pa.int8(), nullable=True),
    pa.field("request_digest", pa.string(), nullable=False),
)


def chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Lists of lines, each a row group."""
    chunk: list[Line] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line.request) + len(line.target) + len(line.metadata)
        if len(chunk) >= ROW_GROUP or size >= ROW_GROUP_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The columns of a part of the file."""

    places: Mapping[str, pa.Field]  # of the nested columns
    texts: frozenset[str]  # nested columns that need a JSON column beside them

    def schema(self) -> pa.Schema:
        beside = [pa.field(f"{name}_json", pa.string()) for name in NESTED if name in self.texts]
        return pa.schema([*_PLAIN, *self.places.values(), *beside])

    def same(self, other: "Layout") -> bool:
        return bool(self.schema().equals(other.schema(), check_metadata=True))


@dataclass(kw_only=True, slots=True)
class Writer:
    """Writes ``training.parquet`` into `folder`. Call `write` for each chunk, then `close`."""

    folder: Path
    shapes: dict[str, Shape] = field(default_factory=lambda: {name: Shape() for name in NESTED})
    texts: set[str] = field(default_factory=set)  # see Layout
    parts: list[tuple[Path, Layout]] = field(default_factory=list)
    _file: Any = None
    _begun: int = 0  # parts

    def write(self, lines: Sequence[Line]) -> None:
        """One row group."""
        self._append(_plain(lines), {name: [getattr(line, name) for line in lines] for name in NESTED})

    def close(self) -> Path:
        """The whole file, in one piece and with one schema. Types only ever widen, so this comes to an end."""
        self._end()
        while len(self.parts) > 1:
            before, self.parts = self.parts, []
            for path, layout in before:
                self._again(path, layout)
            self._end()
        return self.parts[0][0].rename(self.folder / TRAINING)

    def abandon(self) -> None:
        """Closes what is open; the folder is somebody else's to remove."""
        self._end()

    def _append(self, plain: Mapping[str, Any], texts: Mapping[str, Sequence[bytes]]) -> None:
        nested = {name: self._fit(name, texts[name]) for name in NESTED}
        layout = self._layout()
        self._write(layout, _table(layout, plain, nested))

    def _again(self, path: Path, layout: Layout) -> None:
        """Rows of a part, in today's types."""
        with pq.ParquetFile(path) as part:
            for number in range(part.num_row_groups):
                group = part.read_row_group(number)
                if layout.same(self._layout()):
                    self._write(layout, group)
                else:
                    plain = {column.name: group[column.name] for column in _PLAIN}
                    self._append(plain, {name: _encoded(group, name) for name in NESTED})
        path.unlink()

    def _write(self, layout: Layout, group: pa.Table) -> None:
        if not self.parts or not self.parts[-1][1].same(layout):
            self._end()
            self.parts.append((self.folder / f"part-{self._begun}.parquet", layout))
            self._begun += 1
            self._file = pq.ParquetWriter(self.parts[-1][0], layout.schema(), compression="zstd")
        self._file.write_table(group, row_group_size=ROW_GROUP)

    def _layout(self) -> Layout:
        places = {name: _place(name, shape) for name, shape in self.shapes.items()}
        return Layout(places=places, texts=frozenset(self.texts))

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _fit(self, name: str, texts: Sequence[bytes]) -> tuple[pa.Array, pa.Array | None]:
        """The nested column, and the JSON column or None. Widens the type until nothing more is won by it."""
        shape = self.shapes[name]
        if not shape.kinds:
            see(shape, map(loads, texts[:_FIRST]))
        while True:
            before = _place(name, shape)
            array, bad = _parsed(texts, before)
            if not bad:
                return array, None
            see(shape, (loads(texts[number]) for number in bad))
            if _place(name, shape).equals(before, check_metadata=True):
                break
        if array is None:
            raise BakeoffError(f"the column {name} cannot hold what its type was made for; this is our bug")
        self.texts.add(name)
        wrong = set(bad)
        return array, pa.array([t.decode() if n in wrong else None for n, t in enumerate(texts)], pa.string())


def _place(name: str, shape: Shape) -> pa.Field:
    """Metadata are counted by name, so they stay a struct however many they are."""
    return place(name, shape, is_struct=name == "metadata")


def _parsed(texts: Sequence[bytes], kind: pa.Field) -> tuple[pa.Array | None, Sequence[int]]:
    """The column, and the numbers of the rows that it does not hold exactly: all, where it is None."""
    try:
        array = columns.parse(texts, kind)
    except pa.ArrowInvalid:
        return None, range(len(texts))
    exact = pc.fill_null(pc.equal(columns.render(array, kind), columns.as_texts(texts)), False)
    return array, [] if pc.all(exact).as_py() else pc.indices_nonzero(pc.invert(exact)).to_pylist()


def _plain(lines: Sequence[Line]) -> dict[str, pa.Array]:
    values = {part.name: [getattr(line, part.name) for line in lines] for part in _PLAIN}
    return {part.name: pa.array(values[part.name], part.type) for part in _PLAIN}


def _table(
    layout: Layout, plain: Mapping[str, Any], nested: Mapping[str, tuple[pa.Array, pa.Array | None]]
) -> pa.Table:
    data = [plain[part.name] for part in _PLAIN]
    data += [nested[name][0] for name in NESTED]
    rows = len(data[0])
    for name in NESTED:
        if name in layout.texts:
            text = nested[name][1]
            data.append(pa.nulls(rows, pa.string()) if text is None else text)
    return pa.Table.from_arrays(data, schema=layout.schema())


# ---- reading --------------------------------------------------------------------------------------------------------


def read(file: pq.ParquetFile, uri: str, splits: frozenset[Split] | None = None) -> Iterator[Row]:
    """Rows in the file's order, of these splits only where some are named; one row group in memory at a time.

    Raises Refused where a request is not what was stored; `uri` is for the message."""
    for number in range(file.num_row_groups):
        group = file.read_row_group(number)
        if splits is not None:
            group = group.filter(pc.is_in(group["split"], pa.array(sorted(splits), pa.string())))
        yield from rows(group, uri)


def some(file: pq.ParquetFile, uri: str, example_ids: Collection[str]) -> Iterator[Row]:
    """The rows of these examples, in the file's order. Raises Refused, see `read`."""
    wanted = pa.array(sorted(example_ids), pa.string())
    for number in range(file.num_row_groups):
        inside = pc.is_in(file.read_row_group(number, columns=["example_id"])["example_id"], wanted)
        if pc.any(inside).as_py():
            yield from rows(file.read_row_group(number).filter(inside), uri)


def rows(table: pa.Table, uri: str) -> Iterator[Row]:
    """Rows of a table with the file's columns. Raises Refused, see `read`."""
    return (line.row() for line in lines(table, uri))


def lines(table: pa.Table, uri: str) -> Iterator[Line]:
    """`rows`, as the texts that were digested."""
    nested = {name: _encoded(table, name) for name in NESTED}
    plain = [table[part.name].to_pylist() for part in _PLAIN]
    for n, (example_id, unit_id, occurred_at, split, slice_, request_digest) in enumerate(zip(*plain, strict=True)):
        request = nested["request"][n]
        if digest_bytes(request) != request_digest and digest_bytes(canonical_bytes(loads(request))) != request_digest:
            raise Refused(
                f"{uri}: the request of row {example_id} is not the one that was stored",
                cure="the file was changed; build the dataset again",
            )
        yield Line(
            example_id=example_id,
            unit_id=unit_id,
            occurred_at=occurred_at,
            split=Split(split),
            slice=slice_,
            request_digest=request_digest,
            request=request,
            target=nested["target"][n],
            metadata=nested["metadata"][n],
        )


def texts_of(table: pa.Table, name: str) -> pa.Array:
    """The canonical JSON texts of a nested column."""
    column = table[name].combine_chunks()
    array = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    text = columns.render(array, table.schema.field(name))
    if f"{name}_json" in table.column_names:
        text = pc.coalesce(table[f"{name}_json"].combine_chunks(), text)
    return text


def _encoded(table: pa.Table, name: str) -> list[bytes]:
    return [value.encode() for value in texts_of(table, name).to_pylist()]
