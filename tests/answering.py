"""A server over a real socket and a real PostgreSQL: in a thread of the test, or as a process that a person started."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

import stages
from bakeoff import lifecycle
from bakeoff.access.make import ENTROPY
from bakeoff.access.model import KeyRole
from bakeoff.adapters import postgres
from bakeoff.api.app import build
from bakeoff.api.metrics import Metrics
from bakeoff.lifecycle import Deps
from bakeoff.serving.service import Service
from bakeoff.settings import ServeSettings
from toy import ToyTask

REQUEST = {"likes": "coffee", "day": 1}
ROLES: tuple[KeyRole, ...] = ("application", "viewer", "operator", "approver")


def keys(deps: Deps) -> dict[KeyRole, str]:
    """One of each role."""
    return {role: lifecycle.create_key(deps, role, role, entropy=os.urandom(ENTROPY))[1] for role in ROLES}


def application(deps: Deps, settings: ServeSettings | None = None, **parts: Any) -> Any:
    """The ASGI application over the test's database, with the toy as its task."""
    settings, db = settings or ServeSettings(), deps.db
    assert isinstance(db, postgres.Database)
    several = postgres.Pool(db.dsn, db.schema, size=settings.connections)
    metrics = Metrics()
    service = Service(
        several, deps.engines, lambda _: ToyTask(), clock=deps.clock, poll_s=0.2, deadline_s=settings.deadline_s,
        on_count=metrics.on_count,
    )  # fmt: skip
    return build(
        parts.get("service", service), several, metrics=metrics, clock=parts.get("clock", deps.clock),
        settings=settings, version="0", on_stop=several.close,
    )  # fmt: skip


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Address of `app` on a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_config=None, lifespan="on", http="h11", ws="none", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            _until(lambda: server.started or not thread.is_alive())
            assert server.started
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            hang_up()
            server.should_exit = True
            thread.join(60)


_open: list[httpx2.Client] = []


def hang_up() -> None:
    """Ends the connections of all callers."""
    while _open:
        _open.pop().close()


class Caller:
    """Says what a client would, and gives the answer back."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.http = httpx2.Client(base_url=url, timeout=60)
        self.key = key
        _open.append(self.http)

    def post(self, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(
            path, content=content, headers={"content-type": "application/json", **self._bearer(key), **named}
        )

    def get(self, path: str, *, key: str | None = None) -> httpx2.Response:
        return self.http.get(path, headers=self._bearer(key))

    def decide(self, name: str = "k", unit: str = "u", request: Any = None, **body: Any) -> httpx2.Response:
        sent = {"unit_id": unit, "request": REQUEST if request is None else request, **body}
        return self.post(f"/v1/policies/{stages.POLICY}/decide", sent, idempotency_key=name)

    def _bearer(self, key: str | None) -> dict[str, str]:
        text = self.key if key is None else key
        return {"authorization": f"Bearer {text}"} if text else {}


@contextmanager
def process(dsn: str, home: Path, *more: str, **environment: str) -> Iterator["Process"]:
    """`bakeoff serve` as a person starts it, with the toy installed."""
    started = Process(dsn, home, *more, **environment)
    try:
        yield started
    finally:
        hang_up()
        started.end()


class Process:
    """A server process."""

    def __init__(self, dsn: str, home: Path, *more: str, **environment: str) -> None:
        env = {**os.environ, **_installed(home), "BAKEOFF_DATABASE_URL": dsn, "BAKEOFF_HOME": str(home), **environment}
        argv = [sys.executable, "-c", "from bakeoff.cli import main; main()", "serve", "--port", "0", "--json", *more]
        self.log = (home / f"serve-{time.monotonic_ns()}.log").open("wb")
        self.popen = subprocess.Popen(argv, env=env, cwd=home, stdout=subprocess.PIPE, stderr=self.log)
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            self.end()
            raise AssertionError(self.logged())
        self.said: Mapping[str, Any] = json.loads(line)
        self.url: str = self.said["url"]

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    def logged(self) -> str:
        return Path(self.log.name).read_text()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def end(self) -> int:
        """As systemd does it; the exit code."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        self.log.close()
        return int(self.popen.returncode)


def _installed(home: Path) -> dict[str, str]:
    """The toy as an installed task: what its package would say of itself, on the path of the child."""
    home.mkdir(parents=True, exist_ok=True)
    about = home / "toy-1.dist-info"
    if not about.exists():
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
        (about / "entry_points.txt").write_text("[bakeoff.tasks]\ntoy = toy:ToyTask\n")
    paths = [str(home), str(Path(__file__).parent), *(path for path in sys.path if path)]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def _until(ready: Callable[[], bool], patience_s: float = 60.0) -> None:
    ends = time.monotonic() + patience_s
    while not ready():
        assert time.monotonic() < ends
        time.sleep(0.01)
