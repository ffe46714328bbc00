"""docs/your-own-data.md, typed block by block by somebody in an empty folder."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from newcomer import arrives

DOCUMENT = Path(__file__).parents[2] / "docs" / "your-own-data.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def app_dsn(postgres_server: str) -> Iterator[str]:
    """A database in which there is nothing of bakeoff's."""
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute("create database your_own_data")
        info = admin.info
        yield f"postgresql://{info.user}@/your_own_data?host={info.host}&port={info.port}"
        admin.execute("drop database your_own_data with (force)")


@pytest.mark.slow
def test_every_block_runs_as_it_is_typed_and_there_is_a_dataset_at_the_end(app_dsn: str) -> None:
    with arrives() as person:
        person.env["APP_DSN"] = app_dsn
        told = "\n".join(person.types(block).out for block in BLOCKS)
        listed = person.types("bakeoff dataset list --json").json["datasets"]
        folder = person.folder / "datasets" / "planner" / "2025-07-01"
        assert {"training.parquet", "schema.json", "dataset_summary.md"} <= {path.name for path in folder.iterdir()}
    assert told.count("nothing wrong") == 3
    assert "rejects" not in told
    assert "200 equal to the stored ones" in told
    assert [each["version"] for each in listed] == ["2025-06-01", "2025-07-01"]
    newest = listed[-1]
    assert newest["rows"] > 800
    assert all(newest["splits"].values())
    with psycopg.connect(app_dsn) as conn:
        origins = conn.execute("select distinct origin from exp.events").fetchall()
        decided = conn.execute("select count(*) from exp.events where role = 'decision'").fetchone()
    assert origins == [("backfill",)]
    assert decided is not None
    assert decided[0] >= newest["rows"]


def test_the_document_shows_each_command_of_the_way() -> None:
    shown = "\n".join(BLOCKS)
    way = ("init", "db migrate", "task check", "policy adopt --external", "events import", "task skew", "dataset build")
    assert [command for command in way if f"bakeoff {command}" not in shown] == []
