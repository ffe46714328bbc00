"""A dataset's folder: training.parquet, schema.json, dataset_summary.md, on anything that fsspec opens.

Request, target and metadata are nested columns, for people and for SQL over Parquet. What does not come
back from them exactly (see `columns`) is kept beside them as canonical JSON in ``request_json``,
``target_json`` or ``metadata_json``, null for all other rows; `load` prefers those. Every row's request must
have the same digest when read as when stored: `write` reads its own file back before the folder is visible.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from bakeoff.datasets import columns, summary
from bakeoff.datasets.model import Dataset, Draft, Row, Split
from bakeoff.errors import BakeoffError, Refused, Unreachable, UsageError
from bakeoff.fingerprint import canonical_json, digest, short
from bakeoff.task import Example

TRAINING, SCHEMA, SUMMARY = "training.parquet", "schema.json", "dataset_summary.md"
_NESTED = ("request", "target", "metadata")
_ROW_GROUP = 5_000  # rows; fixed, so that the same rows give the same bytes


def write(root: str, draft: Draft) -> Dataset:
    """Writes ``{root}/{task}/{date}/`` and returns it. The same content again is the folder that is there;
    other content with the same date goes to ``{date}.2`` and so on. Nothing is visible before it is whole.

    Raises Unreachable where `root` cannot be written."""
    try:
        fs, base = fsspec.core.url_to_fs(root)
        parent = f"{base.rstrip('/')}/{draft.task}"
        folder, found = _place(fs, parent, draft)
        if not found:
            _publish(fs, f"{parent}/.{draft.date}-{short(draft.digest)}.part", folder, draft)
        return describe(fs.unstrip_protocol(folder) if not isinstance(fs, LocalFileSystem) else folder)
    except OSError as error:
        raise Unreachable(
            f"cannot write below {root}: {error}", cure="check the dataset root and its rights"
        ) from error


def describe(uri: str) -> Dataset:
    """The dataset in a folder, from its schema.json. Raises UsageError where there is none."""
    fs, folder = fsspec.core.url_to_fs(uri)
    try:
        about = json.loads(fs.cat_file(f"{folder}/{SCHEMA}"))["dataset"]
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(
            f"{uri} is no dataset: {SCHEMA} is missing or unreadable",
            cure="bakeoff dataset list shows the ones that are there",
        ) from error
    return Dataset(
        digest=about["digest"],
        task=about["task"],
        uri=uri.rstrip("/"),
        since=datetime.fromisoformat(about["since"]),
        until=datetime.fromisoformat(about["until"]),
        rows=about["rows"],
        splits=about["splits"],
        summary=about["summary"],
    )


def load(uri: str) -> tuple[Row, ...]:
    """All rows, in the dataset's order. Raises Refused where a request is not what was stored."""
    fs, folder = fsspec.core.url_to_fs(uri)
    try:
        with fs.open(f"{folder}/{TRAINING}", "rb") as file:
            table = pq.read_table(file)
    except FileNotFoundError as error:
        raise UsageError(f"{uri} is no dataset: {TRAINING} is missing") from error
    return from_table(table, uri)


def from_table(table: pa.Table, uri: str) -> tuple[Row, ...]:
    """The inverse of `to_table`; `uri` is for the message of Refused."""
    return tuple(_checked(row, uri) for row in _rows(table))


def to_table(rows: Sequence[Row]) -> pa.Table:
    """Rows as Arrow, with the JSON columns where the nested ones are not exact."""
    plain = {name: [_plain(getattr(row.example, name)) for row in rows] for name in _NESTED}
    kinds = {name: columns.arrow_type(columns.shape_of(values)) for name, values in plain.items()}
    data: dict[str, pa.Array] = {
        "example_id": pa.array([row.example.example_id for row in rows], pa.string()),
        "unit_id": pa.array([row.example.unit_id for row in rows], pa.string()),
        "occurred_at": pa.array([row.example.occurred_at for row in rows], pa.timestamp("us", "UTC")),
        "split": pa.array([row.split.value for row in rows], pa.string()),
        "slice": pa.array([row.slice for row in rows], pa.int8()),
        "request_digest": pa.array([row.request_digest for row in rows], pa.string()),
    }
    for name, values in plain.items():
        data[name] = pa.array([columns.encode(value, kinds[name]) for value in values], kinds[name])
    for name, values in plain.items():
        back = (columns.decode(value, kinds[name]) for value in data[name].to_pylist())
        exact = [None if _same(v, b) else canonical_json(v) for v, b in zip(values, back, strict=True)]
        if any(text is not None for text in exact):
            data[f"{name}_json"] = pa.array(exact, pa.string())
    return pa.Table.from_arrays(list(data.values()), schema=pa.schema(_fields(data)))


def _fields(data: Mapping[str, pa.Array]) -> Iterator[pa.Field]:
    for name, values in data.items():
        yield pa.field(name, values.type, nullable=name == "slice" or name.endswith("_json"))


def _rows(table: pa.Table) -> Iterator[Row]:
    kinds = {name: table.schema.field(name).type for name in _NESTED}
    for record in table.to_pylist():
        value = {name: _value(record, name, kinds[name]) for name in _NESTED}
        yield Row(
            example=Example(
                example_id=record["example_id"],
                unit_id=record["unit_id"],
                occurred_at=record["occurred_at"],
                request=value["request"],
                target=value["target"],
                metadata=value["metadata"],
            ),
            split=Split(record["split"]),
            slice=record["slice"],
            request_digest=record["request_digest"],
        )


def _value(record: Mapping[str, Any], name: str, kind: pa.DataType) -> Any:
    text = record.get(f"{name}_json")
    return columns.decode(record[name], kind) if text is None else json.loads(text)


def _checked(row: Row, uri: str) -> Row:
    if digest(row.example.request) != row.request_digest:
        raise Refused(
            f"{uri}: the request of row {row.example.example_id} is not the one that was stored",
            cure="the file was changed; build the dataset again",
        )
    return row


def _place(fs: Any, parent: str, draft: Draft) -> tuple[str, bool]:
    """The folder to use, and whether this content lies there already."""
    for number in range(1, 1_000):
        folder = f"{parent}/{draft.date}" + (f".{number}" if number > 1 else "")
        if not fs.exists(folder):
            return folder, False
        if fs.exists(f"{folder}/{SCHEMA}") and describe(fs.unstrip_protocol(folder)).digest == draft.digest:
            return folder, True
    raise Refused(f"there are 999 datasets of {draft.date} in {parent}", cure="move old ones away")


def _publish(fs: Any, part: str, folder: str, draft: Draft) -> None:
    """Writes into `part` (a killed build may have left one: emptied), reads back, then moves it whole."""
    if fs.exists(part):
        fs.rm(part, recursive=True)
    fs.makedirs(part)
    table = to_table(draft.rows)
    with fs.open(f"{part}/{TRAINING}", "wb") as file:
        pq.write_table(table, file, compression="zstd", row_group_size=_ROW_GROUP)
    _check_read_back(draft, load(fs.unstrip_protocol(part)))
    schema = summary.schema_json(table.schema, draft)
    fs.pipe_file(f"{part}/{SUMMARY}", summary.markdown(draft, table.schema).encode())
    fs.pipe_file(f"{part}/{SCHEMA}", (json.dumps(schema, indent=2, ensure_ascii=False) + "\n").encode())
    if isinstance(fs, LocalFileSystem):
        Path(part).rename(folder)  # atomic; refuses a folder that came into being meanwhile
    else:
        fs.mv(part, folder, recursive=True)


def _check_read_back(draft: Draft, rows: Sequence[Row]) -> None:
    if [row.logical() for row in rows] != [_json_row(row) for row in draft.rows]:
        raise BakeoffError(f"dataset {short(draft.digest)} does not read back as it was written; this is our bug")


def _json_row(row: Row) -> dict[str, Any]:
    return row.logical() | {"target": _plain(row.example.target), "metadata": _plain(row.example.metadata)}


def _plain(value: Mapping[str, Any]) -> Any:
    """As JSON values: tuples become lists, dates text."""
    return json.loads(canonical_json(value))


def _same(left: Any, right: Any) -> bool:
    return canonical_json(left) == canonical_json(right)


def read_text(uri: str, name: str) -> str:
    """One of the folder's text files. Raises UsageError where it is missing."""
    fs, folder = fsspec.core.url_to_fs(uri)
    try:
        text: str = fs.cat_file(f"{folder}/{name}").decode()
    except FileNotFoundError as error:
        raise UsageError(f"{uri} is no dataset: {name} is missing") from error
    return text


def split_of_example(uri: str, example_id: str) -> str | None:
    """Split of the row with this id, None where there is none; reads two columns only. Raises UsageError."""
    fs, folder = fsspec.core.url_to_fs(uri)
    try:
        with fs.open(f"{folder}/{TRAINING}", "rb") as file:
            table = pq.read_table(file, columns=["example_id", "split"])
    except FileNotFoundError as error:
        raise UsageError(f"{uri} is no dataset: {TRAINING} is missing") from error
    found: int = table["example_id"].index(example_id).as_py()
    return None if found < 0 else str(table["split"][found].as_py())
