"""How fast a dataset is built, beside a bare COPY of the same joined query and beside what one writes with pandas.

    python benchmarks/bench_datasets.py                # 10,000 and 100,000 episodes
    python benchmarks/bench_datasets.py --full         # 1,000,000 too: takes long, and some 20 GB of disk
    python benchmarks/bench_datasets.py --rows 20000 --repeat 3

An embedded PostgreSQL (durable settings as they come) is filled with households' weeks of the simulated town, copied
with other units, ids, times and cooking minutes until there are enough. Then, in one run: the query of
`events.stored_episodes` as ``COPY ... TO STDOUT (FORMAT binary)``, thrown away; the whole build; pandas. Each in a
process of its own, so that its peak memory is its own. Prints a Markdown table and where the build's time goes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from bakeoff.adapters import embedded, postgres
from bakeoff.datasets import build as dataset_build
from bakeoff.datasets import fit, place, publish, summary, table
from bakeoff.events import store as events
from bakeoff.fingerprint import canonical_json, digest_bytes
from bakeoff.plugins import load_task, migration_folders
from bakeoff.task import Request, Role, Served
from planner.policies import heuristic
from planner.town.world import Town

SIZES, FULL = (10_000, 100_000), 1_000_000
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
WINDOW = {"since": BEGAN - timedelta(days=1), "until": BEGAN + timedelta(days=400)}
PANDAS_AT_MOST = 200_000  # episodes: it holds everything in memory, several times over
GOAL = 2.0


@dataclass(kw_only=True)
class Week:
    """One household's week of the town: what is copied."""

    unit_id: str
    request: Request
    at: datetime
    answer: Mapping[str, Any]
    outcomes: list[tuple[str, timedelta, Mapping[str, Any]]] = field(default_factory=list)


def lived(units: int = 45, weeks: int = 12) -> list[Week]:
    """Some 500 weeks, answered by the heuristic."""
    town = Town(seed=1, units=units, weeks=weeks, ends_on=date(2025, 1, 12))
    log: dict[str, Week] = {}

    def decide(*, key: str, unit_id: str, request: Request, at: datetime) -> Served:
        answer = heuristic(request, seed=0).answer
        log[key] = Week(unit_id=unit_id, request=request, at=at, answer=answer)
        return Served(decision_id=key, answer=answer, context={"decision_id": key})

    def emit(
        *, event_id: str, event_type: str, context: Mapping[str, str], at: datetime, payload: Mapping[str, Any]
    ) -> None:
        week = log[context["decision_id"]]
        week.outcomes.append((event_type, at - week.at, payload))

    for week in range(weeks):
        town.step(week, decide, emit)
    return list(log.values())


def fill(dsn: str, rows: int) -> None:
    """`rows` episodes in a fresh database. Keys are trusted while it is filled, and statistics gathered after."""
    roles = {kind.name: kind.role.value for kind in load_task("planner").event_types}
    with postgres.connect(dsn, "exp") as conn:
        postgres.migrate(conn, "exp", migration_folders())
        conn.execute("set session_replication_role = replica")
        weeks = lived()
        for table, columns, made in (
            ("requests", "digest, task, request_version, body", _requests(weeks, rows)),
            (
                "events",
                "event_id, content_digest, event_type, role, task, unit_id, decision_id, need_id, request_digest, "
                "experiment_id, variant_id, policy_version_id, served_policy_version_id, assignment_probability, "
                "occurred_at, received_at, payload",
                _events(weeks, rows, roles),
            ),
        ):
            with conn.cursor() as cursor, cursor.copy(f"copy {table} ({columns}) from stdin") as copy:
                for row in made:
                    copy.write_row(row)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("vacuum analyze exp.requests")
        conn.execute("vacuum analyze exp.events")
        conn.execute("checkpoint")


def _copies(weeks: list[Week], rows: int) -> Iterator[tuple[int, Week, str]]:
    """Number, the week that is copied, and the text of its request with other minutes in it."""
    for n in range(rows):
        week, round_ = weeks[n % len(weeks)], n // len(weeks)
        options = [dict(option, minutes=option["minutes"] + round_) for option in week.request["options"]]
        yield n, week, canonical_json({**week.request, "options": options})


def _requests(weeks: list[Week], rows: int) -> Iterator[tuple[Any, ...]]:
    for _, _, text in _copies(weeks, rows):
        yield digest_bytes(text.encode()), "planner", "1", text


def _events(weeks: list[Week], rows: int, roles: Mapping[str, str]) -> Iterator[tuple[Any, ...]]:
    place = (str(uuid.UUID(int=1)), str(uuid.UUID(int=2)), str(uuid.UUID(int=3)))
    for n, week, text in _copies(weeks, rows):
        ident = str(uuid.uuid5(uuid.NAMESPACE_OID, str(n)))
        unit, at = f"household-{n // 52:06d}", BEGAN + timedelta(weeks=n % 52, seconds=n % 400_000)
        shared = ("planner", unit, ident)
        payload = json.dumps({"answer": week.answer, "raw": None, "violations": []})
        yield (
            ident, "sha256:0", "plan_generated", Role.DECISION.value, *shared, f"week-{n % 52}",
            digest_bytes(text.encode()), *place, place[2], 1.0, at, at, payload,
        )  # fmt: skip
        for number, (kind, later, told) in enumerate(week.outcomes):
            event = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{n}/{number}"))
            yield (
                event, "sha256:0", kind, roles[kind], *shared, None, None, *place, None, None,
                at + later, at + later, json.dumps(told),
            )  # fmt: skip


# ---- what is measured, each in a process of its own ------------------------------------------------------------------


def bare_copy(dsn: str) -> dict[str, Any]:
    """The joined query as binary COPY, thrown away."""
    with postgres.connect(dsn, "exp") as conn, conn.cursor() as cursor:
        query = f"copy ({events.queries.needs.sql.rstrip(';')}) to stdout (format binary)"
        size = 0
        with cursor.copy(query, {"task": "planner", "experiment_id": None, "decision_ids": None, **WINDOW}) as copy:
            for data in copy:
                size += len(data)
    return {"bytes": size}


def build(dsn: str) -> dict[str, Any]:
    """The whole build into a scratch folder, with the time of each phase."""
    phases: dict[str, float] = {}
    for module, name, label in (
        (publish, "_write", "rows, checks and Parquet (streamed)"),
        (publish, "_check", "checks of the whole"),
        (summary, "summarise", "summary"),
        (fit, "frozen", "edit model"),
        (place, "reveal", "fsync and rename"),
    ):
        setattr(module, name, _timed(getattr(module, name), phases, label))
    with tempfile.TemporaryDirectory() as root, postgres.connect(dsn, "exp") as conn:
        stored = events.stored_episodes(conn, "planner", **WINDOW)
        made = publish.publish(root, load_task("planner"), stored, **WINDOW)
        size = sum(path.stat().st_size for path in Path(made.uri).iterdir())
    return {"rows": made.rows, "bytes": size, "phases": phases}


def pandas(dsn: str) -> dict[str, Any]:
    """What one writes in a notebook: everything in memory, JSON parsed, one file. Nothing is checked."""
    import warnings

    import pandas as pd

    query = events.queries.needs.sql.rstrip(";").replace("r.body", "r.body::text as body")
    with psycopg.connect(dsn, options="-c search_path=exp,public -c timezone=UTC") as conn:
        text = psycopg.ClientCursor(conn).mogrify(
            query, {"task": "planner", "experiment_id": None, "decision_ids": None, **WINDOW}
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas wants SQLAlchemy
            frame = pd.read_sql(text, conn)
    frame["body"] = frame["body"].map(json.loads)
    frame["told"] = frame["told"].map(json.dumps)  # mixed types in one list: Arrow cannot nest them
    with tempfile.TemporaryDirectory() as folder:
        frame.to_parquet(Path(folder) / "frame.parquet")
        size = (Path(folder) / "frame.parquet").stat().st_size
    return {"bytes": size}


def parts(dsn: str) -> dict[str, Any]:
    """Where the streamed phase spends its processor time, step by step and in one thread: microseconds an episode."""
    task, found = load_task("planner"), {}
    with postgres.connect(dsn, "exp") as conn:
        clock = time.thread_time()
        many = sum(1 for _ in islice(events.stored_episodes(conn, "planner", **WINDOW), 4_000))
        found["decode what the server sends"] = time.thread_time() - clock
        stored = list(islice(events.stored_episodes(conn, "planner", **WINDOW), many))
        clock = time.thread_time()
        for _ in task.examples(episode for episode, _ in stored):
            pass
        found["the task's examples"] = time.thread_time() - clock
        clock = time.thread_time()
        lines = list(dataset_build.lines(task, stored, excluded=Counter(), **WINDOW))
        found["provenance, split, texts, checks"] = time.thread_time() - clock - found["the task's examples"]
        made, clock = publish.Made(), time.thread_time()
        for line in lines:
            made.note(line)
        found["digest and samples"] = time.thread_time() - clock
    with tempfile.TemporaryDirectory() as folder:
        writer, clock = table.Writer(folder=Path(folder)), time.thread_time()
        for chunk in table.chunks(iter(lines)):
            writer.write(chunk)
        writer.close()
        found["to Arrow, compare, Parquet (second thread)"] = time.thread_time() - clock
    return {"us": {name: spent / many * 1e6 for name, spent in found.items()}}


def _timed(function: Callable[..., Any], phases: dict[str, float], label: str) -> Callable[..., Any]:
    def timed(*args: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **named)
        finally:
            phases[label] = phases.get(label, 0.0) + time.perf_counter() - began

    return timed


MEASURED: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "copy": bare_copy,
    "build": build,
    "pandas": pandas,
    "parts": parts,
}


def measure(name: str, dsn: str) -> dict[str, Any]:
    """Runs one of `MEASURED` in a new process: its answer, seconds (without imports) and peak memory in MB."""
    ran = subprocess.run(
        [sys.executable, __file__, "--measure", name, "--dsn", dsn], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def _measured(name: str, dsn: str) -> None:
    began = time.perf_counter()
    found = MEASURED[name](dsn)
    spent = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found | {"seconds": spent, "peak_mb": peak}))


# ---- the tables ----------------------------------------------------------------------------------------------------


def compare(dsn: str, rows: int, repeat: int) -> dict[str, dict[str, Any]]:
    """The median run of each, taken in turns, so that all see the same machine."""
    names = ["copy", "build", *(["pandas"] if rows <= PANDAS_AT_MOST else [])]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(repeat):
        for name in names:
            runs[name].append(measure(name, dsn))
            print(f"  {rows} {name}: {runs[name][-1]['seconds']:.1f} s", file=sys.stderr)
    return {name: sorted(found, key=lambda run: run["seconds"])[(len(found) - 1) // 2] for name, found in runs.items()}


def table_row(rows: int, found: Mapping[str, Mapping[str, Any]]) -> str:
    copy, built, pandas_ = found["copy"], found["build"], found.get("pandas")
    ratio = built["seconds"] / copy["seconds"]
    goal = "met" if ratio <= GOAL else f"missed by {(ratio / GOAL - 1) * 100:.0f} %"
    beside = f"{pandas_['seconds'] / built['seconds']:.2f} | {pandas_['peak_mb']:.0f}" if pandas_ else "not run | "
    cells = (
        f"{rows:,}", f"{copy['seconds']:.2f}", f"{copy['seconds'] / rows * 1e6:.0f}", f"{built['seconds']:.2f}",
        f"{built['seconds'] / rows * 1e6:.0f}", f"{ratio:.2f}", goal, f"{built['peak_mb']:.0f}", beside,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _phase(found: Mapping[str, Mapping[str, Any]], phase: str) -> str:
    return f"{found['build']['phases'][phase]:.2f}"


HEAD = (
    "| episodes | bare COPY s | us each | build s | us each | build / COPY | goal 2.0 | build peak MB "
    "| pandas / build | pandas peak MB |\n|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", help="episodes; default 10,000 and 100,000")
    parser.add_argument("--full", action="store_true", help="1,000,000 too")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each up to 100,000 episodes; one beyond")
    parser.add_argument("--folder", type=Path, help="where the server's data go; default: a scratch folder")
    parser.add_argument("--measure", choices=sorted(MEASURED), help=argparse.SUPPRESS)
    parser.add_argument("--dsn", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        return _measured(asked.measure, asked.dsn)
    sizes = asked.rows or [*SIZES, *([FULL] if asked.full else [])]
    with tempfile.TemporaryDirectory(prefix="bk-", dir="/tmp") as scratch:
        server = embedded.start((asked.folder or Path(scratch)) / "pg")
        found, lines = {}, []
        for rows in sizes:
            dsn = embedded.ensure_database(server, f"bench_{rows}_{uuid.uuid4().hex[:8]}")
            began = time.perf_counter()
            fill(dsn, rows)
            print(f"  {rows} episodes filled in: {time.perf_counter() - began:.0f} s", file=sys.stderr)
            found[rows] = compare(dsn, rows, asked.repeat if rows <= SIZES[-1] else 1)
            lines.append(table_row(rows, found[rows]))
        spent = measure("parts", dsn)["us"]
    print("\n".join([HEAD, *lines]))
    print("\nWhere the build's time goes, in seconds:\n")
    phases = list(found[sizes[0]]["build"]["phases"])
    print(f"| phase | {' | '.join(f'{rows:,}' for rows in sizes)} |\n|---|{'---|' * len(sizes)}")
    for phase in phases:
        print(f"| {phase} | {' | '.join(_phase(found[rows], phase) for rows in sizes)} |")
    print("\nProcessor time of the streamed phase, in microseconds an episode (the server's own comes on top):\n")
    print("| step | us |\n|---|---|")
    for name, us in spent.items():
        print(f"| {name} | {us:.0f} |")
    return None


if __name__ == "__main__":
    main()
