"""`Service.log` in batches next to a bare COPY of the same rows, in batches as large, into a table with the same
indexes; both durable, one thread, in one run.

    python benchmarks/bench_ingest.py --rows 50000

Rows are outcomes of the simulated town. Prints a Markdown table, and where the time goes for the largest batch."""

import argparse
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from bench_import import Part, Silent, adopt, watched, write_log

from bakeoff import lifecycle, plugins
from bakeoff.adapters import embedded, postgres
from bakeoff.adapters.postgres import Pool
from bakeoff.bootstrap import open_deps
from bakeoff.events import bulk, sources
from bakeoff.events import model as event_model
from bakeoff.experiments import contexts
from bakeoff.serving import ingest
from bakeoff.serving.service import Service
from bakeoff.settings import Settings

BATCHES = (1, 10, 100, 1_000, 5_000)
GOAL = 2.0  # times the bare COPY
Row = Mapping[str, Any]
NOBODY: Any = None  # no policy answers here
PARTS: tuple[Part, ...] = (
    (ingest, "_check", "check rows"),
    (bulk.queries, "stage", "empty the stage"),
    (bulk, "_copy_events", "COPY to the stage"),
    (bulk, "_misfits", "compare with decisions"),
    (bulk, "_load_live", "all of the database's work, with these three"),
)


def outcomes(log: Path, context: Mapping[str, str], policy_id: str) -> list[Row]:
    """The log's outcomes, as an application would send them."""
    found = []
    for line in sources.open_file(log).lines(skip=0):
        row = line.read()
        if "request" not in row:
            ident = event_model.as_uuid("decision_id", row["decision_id"])
            found.append({**row, "decision_id": ident, "context": {**context, "decision_id": ident}})
    return found


def ours(service: Service, rows: Sequence[Row], batch: int) -> float:
    """Rows per second."""
    began = time.perf_counter()
    for first in range(0, len(rows), batch):
        receipts = service.log("planner", rows[first : first + batch])
        assert all(receipt.status == "stored" for receipt in receipts), receipts
    return len(rows) / (time.perf_counter() - began)


def bare(conn: psycopg.Connection[Any], lines: Sequence[bytes], batch: int) -> float:
    """Rows per second: COPY and commit, batch by batch."""
    began = time.perf_counter()
    for first in range(0, len(lines), batch):
        with conn.cursor() as cursor, cursor.copy(b"copy bare_events from stdin") as copy:
            copy.write(b"".join(lines[first : first + batch]))
        conn.commit()
    return len(lines) / (time.perf_counter() - began)


def as_copied(conn: psycopg.Connection[Any], since: datetime) -> list[bytes]:
    """Outcomes that arrived since, in COPY's text format."""
    text = bytearray()
    query = b"copy (select * from events where role <> 'decision' and received_at >= %s) to stdout"
    with conn.cursor() as cursor, cursor.copy(query, (since,)) as copy:
        for block in copy:
            text += block
    conn.commit()
    return bytes(text).splitlines(keepends=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="outcomes for each of the larger batches")
    rows = parser.parse_args().rows
    folder = Path(tempfile.mkdtemp(prefix="bk-ingest-", dir="/tmp"))
    try:
        measure(folder, rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, rows: int) -> None:
    """The decisions are in the log before; each batch size takes outcomes that it has not."""
    log, decisions_only = folder / "log.jsonl", folder / "decisions.jsonl"
    shares = {batch: rows if batch >= 100 else min(rows, batch * 200) for batch in BATCHES}
    write_log(log, round(sum(shares.values()) * 1.5))
    decisions_only.write_bytes(b"".join(line for line in log.open("rb") if b'"request"' in line))
    dsn = embedded.ensure_database(embedded.start(folder / "pg"), "bench")
    with postgres.connect(dsn, "exp") as conn:
        postgres.migrate(conn, "exp", plugins.migration_folders())
        conn.commit()
        task, pool = plugins.load_task("planner"), Pool(dsn, "exp", size=2)
        settings = Settings(home=folder, database_url=dsn, mlflow_tracking_uri="sqlite://", threads=1)
        with open_deps(settings, progress=Silent()) as deps:
            name = adopt(deps)
            lifecycle.import_events(
                deps, task, sources.open_file(decisions_only), policy_version=name, rejects=folder / "rejects"
            )
        before = contexts.reader(conn, task, name, now=datetime.now(UTC)).default
        assert before is not None
        told = iter(outcomes(log, before.context, before.policy_id))
        service = Service(pool, NOBODY, plugins.load_task, clock=lambda: datetime.now(UTC))
        service.start()
        conn.execute("create table bare_events (like events including all)")
        conn.commit()
        table(service, conn, {batch: [next(told) for _ in range(count)] for batch, count in shares.items()})
        service.stop()
        pool.close()


def table(service: Service, conn: psycopg.Connection[Any], shares: Mapping[int, Sequence[Row]]) -> None:
    spent: dict[str, float] = defaultdict(float)
    print("| events a batch | events | bare COPY, events/s | Service.log, events/s | times the bare COPY |")
    print("|---|---|---|---|---|")
    for batch, rows in shares.items():
        spent.clear()
        since = datetime.now(UTC)
        with watched(spent, PARTS):
            speed = ours(service, rows, batch)
        lines = as_copied(conn, since)
        assert len(lines) == len(rows)
        floor = bare(conn, lines, batch)
        print(f"| {batch} | {len(rows)} | {floor:.0f} | {speed:.0f} | {floor / speed:.2f} |")
        total = len(rows) / speed
    print(f"\nGoal: {GOAL:g} times the bare COPY.\n\n| part, of the largest batch | seconds | share |\n|---|---|---|")
    for label, seconds in sorted(spent.items(), key=lambda pair: -pair[1]):
        print(f"| {label} | {seconds:.2f} | {seconds / total:.0%} |")


if __name__ == "__main__":
    main()
