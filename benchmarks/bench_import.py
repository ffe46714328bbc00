"""Bulk import against a bare COPY of the same rows into tables with the same indexes, both durable, in one run.

    python benchmarks/bench_import.py --rows 20000

Rows are the simulated town's, cloned with other households and weeks; a decision's request has about 4 KB. Prints a
Markdown table, and where the import's time goes."""

import argparse
import json
import shutil
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import psycopg

from bakeoff import lifecycle, plugins
from bakeoff.adapters import embedded, postgres
from bakeoff.bootstrap import open_deps
from bakeoff.events import bulk, importing, sources
from bakeoff.inference.model import external_spec
from bakeoff.lifecycle import Deps
from bakeoff.settings import Settings
from bakeoff.task import Request, Served
from planner.policies import heuristic
from planner.town.world import Town

SINCE = datetime(2023, 1, 1, tzinfo=UTC)
EPISODES = 400  # of the town, before they are cloned
READING = "read and check rows (beside the rest, in a second thread)"
Part = tuple[Any, str, str]
"""A module or object, the name of a function in it, and how it is called in the table."""
PARTS: tuple[Part, ...] = (
    (importing, "_check", READING),
    (bulk, "_copy_requests", "COPY requests to the stage"),
    (bulk, "_copy_events", "COPY events to the stage"),
    (bulk.queries, "add_requests", "insert requests"),
    (bulk.queries, "add_events", "insert events"),
    (bulk.queries, "misfits", "compare outcomes with decisions"),
    (sources, "_file_digest", "sha256 of the file"),
)
Line = dict[str, Any]


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: None


def town_lines() -> list[list[Line]]:
    """Rows of some hundred episodes, each with its decision first."""
    town = Town(seed=1, units=250, weeks=2, ends_on=date(2024, 1, 14))
    episodes: dict[str, list[Line]] = {}

    def decide(*, key: str, unit_id: str, request: Request, at: datetime) -> Served:
        answer = heuristic(request, seed=1).answer
        row = {"event_type": "plan_generated", "unit_id": unit_id, "request": request, "payload": {"answer": answer}}
        episodes[key] = [row | {"decision_id": key, "occurred_at": at}]
        return Served(decision_id=key, answer=answer, context={"decision_id": key, "unit_id": unit_id})

    def emit(
        *, event_id: str, event_type: str, context: Mapping[str, str], at: datetime, payload: Mapping[str, Any]
    ) -> None:
        row = {"event_type": event_type, "unit_id": context["unit_id"], "payload": payload}
        row |= {"decision_id": context["decision_id"], "event_id": event_id, "occurred_at": at}
        episodes[context["decision_id"]].append(row)

    for week in range(2):
        town.step(week, decide, emit)
    return list(episodes.values())[:EPISODES]


def write_log(path: Path, rows: int) -> tuple[int, int]:
    """A log of at least `rows` lines; returns (decisions, lines)."""
    episodes = town_lines()
    number = written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < rows:
            for line in _clone(episodes[number % len(episodes)], number):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                written += 1
            number += 1
    return number, written


def _clone(episode: list[Line], number: int) -> Iterator[Line]:
    """Another household in another week: other ids, other times, another request."""
    unit, later = f"household-{number // 50:06d}", timedelta(weeks=number % 50 - 52)
    decision = str(uuid.uuid5(uuid.NAMESPACE_URL, f"bench {number}"))
    for place, line in enumerate(episode):
        at = line["occurred_at"] + later
        new = line | {"unit_id": unit, "decision_id": decision, "occurred_at": at.isoformat()}
        if "request" in line:
            new["request"] = line["request"] | {"week_start": str(number)}
        else:
            new["event_id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"bench {number} {place}"))
        yield new


def adopt(deps: Deps) -> str:
    version = lifecycle.create_policy(deps, "planner_policy", external_spec("planner", "before"))
    lifecycle.adopt(deps, version, signed_by="bench", reason="a measurement", since=SINCE)
    return version.name


def bare_copy(conn: psycopg.Connection[Any], table: str, file: Path) -> float:
    """Seconds for COPY from a file into an empty copy of `table` with the same indexes, committed."""
    conn.execute(f"create table bare_{table} (like {table} including all)".encode())
    conn.commit()
    _settle(conn)
    began = time.perf_counter()
    with (
        file.open("rb") as source,
        conn.cursor() as cursor,
        cursor.copy(f"copy bare_{table} from stdin".encode()) as copy,
    ):
        while block := source.read(1 << 17):
            copy.write(block)
    conn.commit()
    return time.perf_counter() - began


def _settle(conn: psycopg.Connection[Any]) -> None:
    """What came before has reached the disk."""
    conn.commit()
    conn.autocommit = True
    conn.execute("checkpoint")
    conn.autocommit = False


def export(conn: psycopg.Connection[Any], table: str, file: Path) -> None:
    with file.open("wb") as target, conn.cursor() as cursor, cursor.copy(f"copy {table} to stdout".encode()) as copy:
        for block in copy:
            target.write(block)


@contextmanager
def watched(spent: dict[str, float], parts: Sequence[Part]) -> Iterator[None]:
    """Adds up the seconds of each part."""
    before = [getattr(where, name) for where, name, _ in parts]
    for (where, name, label), function in zip(parts, before, strict=True):
        setattr(where, name, _timed(function, spent, label))
    yield
    for (where, name, _), function in zip(parts, before, strict=True):
        setattr(where, name, function)


def _timed(function: Callable[..., Any], spent: dict[str, float], label: str) -> Callable[..., Any]:
    @wraps(function)
    def timed(*args: Any, **how: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **how)
        finally:
            spent[label] += time.perf_counter() - began

    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="lines of the log")
    rows = parser.parse_args().rows
    folder = Path(tempfile.mkdtemp(prefix="bk-import-", dir="/tmp"))
    try:
        measure(folder, rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, rows: int) -> None:
    log = folder / "log.jsonl"
    decisions, lines = write_log(log, rows)
    server = embedded.start(folder / "pg")
    dsn = embedded.ensure_database(server, "bench")
    with postgres.connect(dsn, "exp") as conn:
        postgres.migrate(conn, "exp", plugins.migration_folders())
        conn.commit()
        settings = Settings(home=folder, database_url=dsn, mlflow_tracking_uri="sqlite://", threads=1)
        spent: dict[str, float] = defaultdict(float)
        with open_deps(settings, progress=Silent()) as deps, watched(spent, PARTS):
            name = adopt(deps)
            _settle(conn)
            began = time.perf_counter()
            report = lifecycle.import_events(
                deps, plugins.load_task("planner"), sources.open_file(log), policy_version=name,
                rejects=folder / "rejects.jsonl",
            )  # fmt: skip
            ours = time.perf_counter() - began
        assert (report.counts.decisions, report.counts.outcomes) == (decisions, lines - decisions), report
        bare = 0.0
        for table in ("requests", "events"):
            export(conn, table, folder / table)
            bare += bare_copy(conn, table, folder / table)
    size = log.stat().st_size / 1e6
    print(f"\n{lines} rows ({decisions} decisions), {size:.0f} MB of JSON lines\n")
    print("| way | seconds | rows/s | MB/s | times the bare COPY |\n|---|---|---|---|---|")
    for label, seconds in (("bare COPY of the same rows", bare), ("bakeoff events import", ours)):
        print(f"| {label} | {seconds:.2f} | {lines / seconds:.0f} | {size / seconds:.0f} | {seconds / bare:.2f} |")
    print("\n| part of the import | seconds | share |\n|---|---|---|")
    rest = ours - sum(seconds for label, seconds in spent.items() if label != READING)
    for label, seconds in [
        *sorted(spent.items(), key=lambda pair: -pair[1]),
        ("commit, waiting for rows, and the rest", rest),
    ]:
        print(f"| {label} | {seconds:.2f} | {seconds / ours:.0%} |")


if __name__ == "__main__":
    main()
