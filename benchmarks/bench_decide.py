"""`Service.decide` with the python heuristic and the durable write, next to a bare function that does one INSERT in one
transaction on the same pool: the floor. In one process, over one PostgreSQL with its durability as it comes.

    python benchmarks/bench_decide.py --seconds 20

Requests arrive on a fixed timetable (a late answer makes the next ones wait, and their wait counts), the two ways in
turns of a few seconds, so that a busy machine hurts both alike; then as fast as some threads can ask. Prints Markdown
tables."""

import argparse
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from bench_import import town_lines
from psycopg.types.json import Jsonb

from bakeoff import plugins
from bakeoff.adapters import embedded, postgres
from bakeoff.adapters.postgres import Pool
from bakeoff.events import store as events
from bakeoff.experiments import store as experiments
from bakeoff.inference.model import PolicySpec
from bakeoff.inference.run_policy import run_policy
from bakeoff.policies import store as policies
from bakeoff.policies.approve import adopt
from bakeoff.serving.service import Service

RATES = (50, 200)
THREADS = 16  # that ask; as many connections
TURN_S = 2.5
GOAL = 2.0  # times the floor's p99
POLICY = "planner_policy"
NOBODY: Any = None  # a python policy needs no engine
Ask = Callable[[int], object]


def town_requests() -> list[Mapping[str, Any]]:
    return [line["request"] for lines in town_lines() for line in lines if "request" in line]


def open_policy(pool: Pool) -> PolicySpec:
    """The heuristic serves everyone, and is its own last resort."""
    spec = PolicySpec(
        task="planner", engine="python", prompt_version="1", function="planner.policies:heuristic", function_version="1"
    )
    now = datetime.now(UTC)
    with pool.transaction() as conn:
        version = policies.create_version(conn, POLICY, spec, now=now)
        policies.insert_approval(conn, adopt(version, signed_by="bench", reason="a measurement", now=now))
        policies.set_last_resort(conn, POLICY, version)
        experiments.open_default(
            conn, policy_id=POLICY, incumbent=version.policy_version_id, explorer=None, explorer_bp=0, now=now
        )
    return spec


def bare_insert(pool: Pool, like: str) -> Ask:
    """One INSERT of a decision's row, as big as ours, into a table with the same indexes and no triggers."""
    with pool.transaction() as conn:
        conn.execute("create table bare_events (like events including all)")
        row = dict(events.find_decision(conn, like) or {})
    del row["request"]
    columns, payload = ", ".join(row), Jsonb(row["payload"])
    statement = f"insert into bare_events ({columns}) values ({', '.join(f'%({name})s' for name in row)})".encode()

    def ask(number: int) -> None:
        ident = uuid.uuid4()
        with pool.transaction() as conn:
            own = {"event_id": ident, "decision_id": ident, "unit_id": f"household-{number}", "payload": payload}
            conn.execute(statement, {**row, **own})

    return ask


def decides(service: Service, requests: Sequence[Mapping[str, Any]]) -> Ask:
    def ask(number: int) -> None:
        request = {**requests[number % len(requests)], "asked": number}  # each body is new, as from real households
        service.decide(POLICY, key=uuid.uuid4().hex, unit_id=f"household-{number}", request=request)

    return ask


def on_a_timetable(ask: Ask, rate: float, seconds: float, first: int) -> list[float]:
    """Seconds from when each request was due to its answer."""
    taken: list[float] = []

    def one(number: int, due: float) -> None:
        ask(number)
        taken.append(time.perf_counter() - due)

    with ThreadPoolExecutor(THREADS) as threads:
        asked, began = [], time.perf_counter()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            time.sleep(max(due - time.perf_counter(), 0))
            asked.append(threads.submit(one, first + number, due))
    for each in asked:
        each.result()  # raises what went wrong
    return taken


def as_fast_as_can_be(ask: Ask, seconds: float, first: int) -> tuple[list[float], float]:
    """Seconds of each answer, and answers per second."""
    taken: list[float] = []
    ends = time.perf_counter() + seconds

    def keep_asking(thread: int) -> None:
        number = first + thread
        while (began := time.perf_counter()) < ends:
            ask(number)
            taken.append(time.perf_counter() - began)
            number += THREADS

    threads = [threading.Thread(target=keep_asking, args=(n,)) for n in range(THREADS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken, len(taken) / (time.perf_counter() - began)


def quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    p50, p99 = np.percentile(np.asarray(seconds) * 1000, [50, 99])
    return float(p50), float(p99)


def compare(ways: Mapping[str, Ask], seconds: float) -> None:
    print(
        "| load | way | requests | p50 ms | p99 ms | answers/s | p99 times the floor's |\n|---|---|---|---|---|---|---|"
    )
    number = 0
    for rate in (*RATES, None):
        found: dict[str, list[float]] = {name: [] for name in ways}
        speed: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(max(round(seconds / TURN_S), 1)):
            for name, ask in ways.items():
                if rate is None:
                    taken, per_second = as_fast_as_can_be(ask, TURN_S, number)
                    speed[name].append(per_second)
                else:
                    taken = on_a_timetable(ask, rate, TURN_S, number)
                found[name] += taken
                number += 1_000_000
        floor = quantiles(next(iter(found.values())))[1]
        load = "as fast as it goes" if rate is None else f"{rate}/s"
        for name, taken in found.items():
            p50, p99 = quantiles(taken)
            each = f"{np.mean(speed[name]):.0f}" if rate is None else f"{rate}"
            print(f"| {load} | {name} | {len(taken)} | {p50:.2f} | {p99:.2f} | {each} | {p99 / floor:.2f} |")
    print(f"\nGoal: {GOAL:g} times the floor's p99.")


def policy_alone(spec: PolicySpec, requests: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    task, taken = plugins.load_task("planner"), []
    for request in requests:
        began = time.perf_counter()
        run_policy(task, spec, request, engine=None)
        taken.append(time.perf_counter() - began)
    return quantiles(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each way and load")
    seconds = parser.parse_args().seconds
    folder = Path(tempfile.mkdtemp(prefix="bk-decide-", dir="/tmp"))
    try:
        dsn = embedded.ensure_database(embedded.start(folder / "pg"), "bench")
        with postgres.connect(dsn, "exp") as conn:
            postgres.migrate(conn, "exp", plugins.migration_folders())
        pool = Pool(dsn, "exp", size=THREADS)
        spec, requests = open_policy(pool), town_requests()
        service = Service(pool, NOBODY, plugins.load_task, clock=lambda: datetime.now(UTC))
        service.start()
        served = service.decide(POLICY, key="first", unit_id="household-0", request=requests[0])
        ways = {
            "one INSERT (floor)": bare_insert(pool, served.decision_id),
            "Service.decide": decides(service, requests),
        }
        for ask in ways.values():  # connections are opened, statements prepared
            as_fast_as_can_be(ask, 1.0, 10**9)
        print(f"{os.cpu_count()} CPUs, {THREADS} threads that ask\n")
        compare(ways, seconds)
        print(
            "\nThe heuristic alone, in one thread: p50 {:.2f} ms, p99 {:.2f} ms.".format(*policy_alone(spec, requests))
        )
        service.stop()
        pool.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
