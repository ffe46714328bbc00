"""A row is the same whichever kind of source it comes from."""

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bakeoff.events import sources
from bakeoff.events.sources import Line, as_text

AT = datetime(2025, 1, 3, 8, tzinfo=UTC)


def test_columns_are_read_as_a_json_line_would_be() -> None:
    """Uuids and exact numbers of a database, JSON as text, nothing where there is nothing."""
    ident = uuid.UUID(int=7)
    line = Line(
        number=1,
        text=None,
        values={"event_id": ident, "action_propensity": Decimal("0.25"), "payload": '{"a": 1}', "need_id": None},
    )
    assert line.read() == {"event_id": str(ident), "action_propensity": 0.25, "payload": {"a": 1}}


def test_exact_numbers_of_a_parquet_file_are_numbers(tmp_path: Path) -> None:
    table = pa.table({"action_propensity": pa.array([Decimal("0.5")], pa.decimal128(5, 2)), "occurred_at": [AT]})
    pq.write_table(table, tmp_path / "log.parquet")
    (line,) = sources.open_file(tmp_path / "log.parquet").lines(skip=0)
    assert line.read() == {"action_propensity": 0.5, "occurred_at": AT}
    assert json.loads(as_text(line) or b"") == {"action_propensity": 0.5, "occurred_at": str(AT)}


def test_a_file_is_read_for_its_digest_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("{}\n")
    source = sources.open_file(path)
    before = source.digest
    path.unlink()
    assert source.digest == before
