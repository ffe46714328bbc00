"""`POST /v1/policies/planner_policy/decide` with the python heuristic and the durable write, next to a bare FastAPI
handler that reads the same body and does one INSERT in one transaction on the same kind of pool.

    python benchmarks/bench_serve.py --seconds 20

Both are processes of uvicorn on loopback, over one PostgreSQL with its durability as it comes; this process only asks,
by a few lines of HTTP of its own, since a client library would cost more than the servers. Requests arrive on a fixed
timetable (a late answer makes the next ones wait, and their wait counts), the two in turns of a few seconds, so that a
busy machine hurts both alike; then as fast as some connections can ask. Prints a Markdown table."""

import argparse
import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from bench_decide import GOAL, POLICY, RATES, TURN_S, bare_insert, open_policy, quantiles, town_requests

from bakeoff import plugins
from bakeoff.access import store as access
from bakeoff.access.make import ENTROPY, make_key
from bakeoff.adapters import embedded, postgres
from bakeoff.adapters.postgres import Pool

CONNECTIONS = 16
SERVE = {"requests_per_second": 1e6, "burst": 1_000_000, "threads": 16, "connections": 16}
Make = Callable[[int], bytes]
"""Number of a request -> its bytes."""


def bare(dsn: str, like: str, port: int) -> None:
    """The floor, as a server of its own: `decide` as a beginner's tutorial would write it."""
    import uvicorn
    from fastapi import FastAPI

    pool = Pool(dsn, "exp", size=CONNECTIONS)
    ask, app = bare_insert(pool, like), FastAPI()

    @app.post("/decide")
    def decide(body: dict[str, Any]) -> dict[str, Any]:
        ask(int(body["unit_id"].rpartition("-")[2]))
        return {"answer": body["unit_id"]}

    uvicorn.run(app, port=port, http="h11", access_log=False, log_level="warning")


@contextmanager
def running(argv: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
    process = subprocess.Popen(argv, env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


class Connections:
    """A few kept ones to a server; a request waits for one that is free."""

    def __init__(self, port: int, make: Make) -> None:
        self.port, self.make = port, make
        self.free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def open(self, patience_s: float = 120.0) -> None:
        ends = time.monotonic() + patience_s
        while self.free.qsize() < CONNECTIONS:
            try:
                self.free.put_nowait(await asyncio.open_connection("127.0.0.1", self.port))
            except OSError:
                if time.monotonic() > ends:
                    raise
                await asyncio.sleep(0.2)

    async def ask(self, number: int) -> bytes:
        """The body of the answer, which must be 200."""
        reader, writer = await self.free.get()
        if reader.at_eof():  # the server ends a connection that is idle for seconds
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(self.make(number))
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(int(length.partition(b":")[2]))
        self.free.put_nowait((reader, writer))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head.decode()}{body.decode()}")
        return body

    async def on_a_timetable(self, rate: float, seconds: float, first: int) -> list[float]:
        """Seconds from when each request was due to its answer."""

        async def one(number: int, due: float) -> float:
            await self.ask(number)
            return time.perf_counter() - due

        asked, began = [], time.perf_counter()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            asked.append(asyncio.create_task(one(first + number, due)))
        return list(await asyncio.gather(*asked))

    async def as_fast_as_can_be(self, seconds: float, first: int) -> tuple[list[float], float]:
        """Seconds of each answer, and answers per second."""
        taken: list[float] = []
        began = time.perf_counter()

        async def keep_asking(number: int) -> None:
            while (asked := time.perf_counter()) < began + seconds:
                await self.ask(number)
                taken.append(time.perf_counter() - asked)
                number += CONNECTIONS

        await asyncio.gather(*(keep_asking(first + n) for n in range(CONNECTIONS)))
        return taken, len(taken) / (time.perf_counter() - began)


def asks(port: int, path: str, requests: Sequence[Mapping[str, Any]], key: str) -> Make:
    def make(number: int) -> bytes:
        request = {**requests[number % len(requests)], "asked": number}  # each body is new, as from real households
        body = json.dumps({"unit_id": f"household-{number}", "request": request}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
            f"idempotency-key: {uuid.uuid4().hex}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    return make


async def compare(ways: Mapping[str, Connections], seconds: float) -> None:
    print("| load | server | requests | p50 ms | p99 ms | answers/s | p99 times the bare one's |")
    print("|---|---|---|---|---|---|---|")
    number = 0
    for rate in (*RATES, None):
        found: dict[str, list[float]] = {name: [] for name in ways}
        speed: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(max(round(seconds / TURN_S), 1)):
            for name, way in ways.items():
                if rate is None:
                    taken, per_second = await way.as_fast_as_can_be(TURN_S, number)
                    speed[name].append(per_second)
                else:
                    taken = await way.on_a_timetable(rate, TURN_S, number)
                found[name] += taken
                number += 1_000_000
        floor = quantiles(next(iter(found.values())))[1]
        load = f"{CONNECTIONS} connections, as fast as it goes" if rate is None else f"{rate}/s"
        for name, taken in found.items():
            p50, p99 = quantiles(taken)
            each = f"{np.mean(speed[name]):.0f}" if rate is None else f"{rate}"
            print(f"| {load} | {name} | {len(taken)} | {p50:.2f} | {p99:.2f} | {each} | {p99 / floor:.2f} |")
    print(f"\nGoal: {GOAL:g} times the bare handler's p99.")


async def measure(
    dsn: str, key: str, ports: tuple[int, int], env: Mapping[str, str], *, seconds: float, workers: int
) -> None:
    requests, (ours_at, bare_at) = town_requests(), ports
    ours = Connections(ours_at, asks(ours_at, f"/v1/policies/{POLICY}/decide", requests, key))
    serve = [sys.executable, "-c", "from bakeoff.cli import main; main()", "serve", "--port", str(ours_at)]
    serve += ["--workers", str(workers)]
    with running(serve, env):
        await ours.open()
        like = json.loads(await ours.ask(0))["decision_id"]
        floor = Connections(bare_at, asks(bare_at, "/decide", requests, key))
        with running([sys.executable, __file__, "--bare", dsn, "--like", like, "--port", str(bare_at)], env):
            await floor.open()
            name = "bakeoff serve" + (f" --workers {workers}" if workers > 1 else "")
            ways = {"a bare FastAPI handler, one INSERT": floor, name: ours}
            for way in ways.values():  # connections are opened, statements prepared
                await way.as_fast_as_can_be(1.0, 10**9)
            await compare(ways, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each server and load")
    parser.add_argument("--workers", type=int, default=1, help="processes of ours; the bare handler has one")
    parser.add_argument("--bare", metavar="DSN", help=argparse.SUPPRESS)
    parser.add_argument("--like", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=18080, help="of ours; the next one is the bare server's")
    given = parser.parse_args()
    if given.bare:
        bare(given.bare, given.like, given.port)
        return
    folder = Path(tempfile.mkdtemp(prefix="bk-serve-", dir="/tmp"))
    try:
        dsn = embedded.ensure_database(embedded.start(folder / "pg"), "bench")
        with postgres.connect(dsn, "exp") as conn:
            postgres.migrate(conn, "exp", plugins.migration_folders())
        pool = Pool(dsn, "exp", size=1)
        open_policy(pool)
        kept, key = make_key("bench", "application", entropy=secrets.token_bytes(ENTROPY), now=datetime.now(UTC))
        with pool.transaction() as conn:
            access.insert_key(conn, kept)
        pool.close()
        home = {"BAKEOFF_HOME": str(folder / "home"), "BAKEOFF_DATABASE_URL": dsn, "BAKEOFF_SERVE": json.dumps(SERVE)}
        print(f"{os.cpu_count()} CPUs\n")
        ports = (given.port, given.port + 1)
        asyncio.run(measure(dsn, key, ports, home, seconds=given.seconds, workers=given.workers))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
