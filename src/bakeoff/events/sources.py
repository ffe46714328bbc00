"""Where rows come from: JSON lines (gzip or not), Parquet, a query. Streams, and can skip what was read before."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from psycopg import Connection, Error
from psycopg.rows import dict_row

from bakeoff.errors import UsageError
from bakeoff.events.canonical import loads
from bakeoff.fingerprint import digest

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
_JSON_COLUMNS = ("payload", "request", "request_key", "context")
_CHUNK = 1 << 20
_QUERY_ROWS = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One row as it was found."""

    number: int  # from 1
    text: bytes | None  # of a JSON lines file; None where the source has values instead
    values: Mapping[str, Any] | None  # of a column source

    @property
    def size(self) -> int:
        """Roughly, in bytes."""
        return len(self.text) if self.text is not None else 1_000

    def read(self) -> Any:
        """The row. Raises ValueError or RecursionError where a text is no JSON."""
        return loads(self.text) if self.text is not None else _as_row(self.values or {})


class Source(Protocol):
    """Rows in an order that does not change."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """Of the content; the same digest is the same rows."""
        ...

    @property
    def total(self) -> int:
        """How much there is, in the unit of `done`; 0: nobody knows."""
        ...

    @property
    def done(self) -> int:
        """How much of it was read."""
        ...

    @property
    def can_resume(self) -> bool:
        """Whether a second reading gives the same rows."""
        ...

    def lines(self, *, skip: int) -> Iterator[Line]:
        """Rows after the first `skip`."""
        ...


def open_file(path: Path) -> "JsonLines | Parquet":
    """Raises UsageError for a file that is not there or of an unknown kind."""
    if not path.is_file():
        raise UsageError(f"{path} is not a file", cure="name a file: bakeoff events import log.jsonl")
    if path.name.endswith(".parquet"):
        return Parquet(path)
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return JsonLines(path)
    raise UsageError(f"{path.name} is of an unknown kind", cure=f"expected one of {', '.join(SUFFIXES)}")


class JsonLines:
    """One JSON object per line; blank lines are passed over."""

    can_resume = True

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self.total = path.stat().st_size
        self.done = 0

    @cached_property
    def digest(self) -> str:
        return _file_digest(self.path)

    def lines(self, *, skip: int) -> Iterator[Line]:
        with self.path.open("rb", buffering=_CHUNK) as file:
            unzipped = gzip.GzipFile(fileobj=file, mode="rb") if self.name.endswith(".gz") else file
            number = 0
            try:
                for number, text in enumerate(islice(unzipped, skip, None), start=skip + 1):
                    self.done = file.tell() if number % 256 == 0 else self.done
                    if stripped := text.strip():
                        yield Line(number=number, text=stripped, values=None)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise UsageError(
                    f"{self.name} cannot be unpacked after line {max(number, skip)}: {error}",
                    cure="copy the file again; what was read before is in the log, and the same command goes on",
                ) from error
        self.done = self.total


class Parquet:
    """Columns named as the fields of a row; payload, request, request_key and context as JSON text or as structs."""

    can_resume = True

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq
        from pyarrow import ArrowInvalid

        self.path, self.name = path, path.name
        try:
            self._file = pq.ParquetFile(path)
        except ArrowInvalid as error:
            raise UsageError(f"{path.name} is not a Parquet file: {error}") from error
        self.total = self._file.metadata.num_rows
        self.done = 0

    @cached_property
    def digest(self) -> str:
        return _file_digest(self.path)

    def lines(self, *, skip: int) -> Iterator[Line]:
        self.done = 0
        for batch in self._file.iter_batches(batch_size=1_000):
            if self.done + batch.num_rows > skip:
                for offset, values in enumerate(batch.to_pylist(), start=self.done + 1):
                    if offset > skip:
                        yield Line(number=offset, text=None, values=values)
            self.done += batch.num_rows


class Query:
    """Rows of a query of the application's own database, through a cursor on its side: never all in memory. Its
    order is the database's own, so it does not go on after a kill but starts again, and meets its own rows."""

    can_resume = False
    total = 0

    def __init__(self, conn: Connection[Any], query: str) -> None:
        self._conn, self._query = conn, query
        self.name = "query"
        self.digest = digest(query)
        self.done = 0

    def lines(self, *, skip: int) -> Iterator[Line]:
        try:
            with self._conn.cursor(name="bakeoff_import", row_factory=dict_row) as cursor:
                cursor.itersize = _QUERY_ROWS
                cursor.execute(self._query.encode())
                for number, values in enumerate(cursor, start=1):
                    self.done = number
                    if number > skip:
                        yield Line(number=number, text=None, values=values)
        except Error as error:
            raise UsageError(
                f"the query failed: {error}", cure="try it in psql; it is one select, without a semicolon"
            ) from error


def _as_row(values: Mapping[str, Any]) -> dict[str, Any]:
    """Columns as a row of a JSON file has them: JSON texts are read, absent values are left out."""
    row = {name: _scalar(value) for name, value in values.items() if value is not None}
    for name in _JSON_COLUMNS:
        if isinstance(row.get(name), str):
            row[name] = loads(row[name].encode())
    return row


def as_text(line: Line) -> bytes | None:
    """The row as it was, as JSON; None where it was none."""
    if line.text is None:
        return json.dumps(line.values, default=_told, ensure_ascii=True).encode()
    try:
        line.read()
    except (ValueError, RecursionError):
        return None
    return line.text


def _told(value: Any) -> Any:
    plain = _scalar(value)
    return str(value) if plain is value else plain


def _scalar(value: Any) -> Any:
    """Uuids and numbers as a JSON file has them."""
    if isinstance(value, UUID):
        return str(value)
    return float(value) if isinstance(value, Decimal) else value


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
