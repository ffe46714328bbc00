"""``bakeoff serve``"""

import importlib.util
import ipaddress
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import click

from bakeoff import bootstrap, lifecycle, plugins, settings
from bakeoff.adapters import postgres
from bakeoff.cli.progress import TerminalProgress
from bakeoff.cli.session import answer, as_json, deps, say
from bakeoff.errors import Unreachable, UsageError
from bakeoff.settings import Settings

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

NEEDED = ("fastapi", "fastapi_swagger", "prometheus_client", "uvicorn")
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
_PATIENCE_S = 60
"""How long a process may be silent before another takes its place: a busy machine imports for many seconds."""
_IDLE_S = 75
"""How long a connection may lie idle: longer than a proxy in front keeps it, or it would be closed under a request."""
_MOST_HEADERS = 65_536  # bytes; h11 gives up beyond, and says so in plain text


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is everybody's.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes on this port.")
@as_json
def serve(host: str, port: int, workers: int, as_json: bool) -> None:
    """Answer requests and take events over HTTP. Ctrl-C ends it, when what is running has its answer.

    Listens on this machine only, unless --host says otherwise. Every request needs a key (bakeoff keys create). A new
    production version is picked up while it runs. Several of these over one PostgreSQL need nothing of each other.

    \b
    Example: bakeoff serve
             bakeoff serve --host 0.0.0.0 --port 8080 --workers 4
    """
    _check_installed()
    found = settings.load()
    with deps(found) as wired, ExitStack() as stack:
        has_key = any(key.revoked_at is None for key in lifecycle.list_keys(wired))
        listening = stack.enter_context(_listen(host, port))
        url = _url(host, listening.getsockname()[1])
        _advise(host, has_key)
        tell = partial(_tell, as_json, url, workers)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # what uvicorn raises again once all have their answer
        try:
            if workers == 1:
                _run_one(found, listening, tell)
            else:
                _run_many(found, listening, workers, tell)
        except KeyboardInterrupt:
            say("stopped")


def application(found: Settings | None = None, *, metrics_folder: str | None = None) -> "ASGIApp":
    """The ASGI application of one process, wired from the environment; what it opened it closes when it ends."""
    from bakeoff.api.app import build
    from bakeoff.api.metrics import Metrics
    from bakeoff.serving.service import Service

    found = found or settings.load()
    stack, metrics = ExitStack(), Metrics(metrics_folder)
    wired = stack.enter_context(bootstrap.open_deps(found, progress=TerminalProgress(), clock=bootstrap.utc_now))
    one = cast(postgres.Database, wired.db)
    db = postgres.Pool(one.dsn, one.schema, size=found.serve.connections)
    stack.callback(db.close)
    service = Service(
        db,
        wired.engines,
        plugins.load_task,
        clock=wired.clock,
        poll_s=found.serve.poll_s,
        deadline_s=found.serve.deadline_s,
        on_count=metrics.on_count,
        cost_limits=found.serve.cost_limits,
    )
    return build(
        service, db, metrics=metrics, clock=wired.clock, settings=found.serve, version=version("bakeoff"),
        on_stop=stack.close,
    )  # fmt: skip


def _check_installed() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"serving needs {', '.join(missing)}", cure="pip install 'bakeoff[serve]'")


def _listen(host: str, port: int) -> socket.socket:
    """Raises UsageError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        other = f"bakeoff serve --port {port + 1 if port < 65535 else 8080}"
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror or error}", cure=other) from error
    listening.set_inheritable(True)
    return listening


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _advise(host: str, has_key: bool) -> None:
    if not is_loopback(host):
        say(
            f"warning: {host} can be reached from other machines, and keys travel as they are: put TLS in front "
            "(nginx, Caddy, a load balancer)"
        )
    if not has_key:
        say("no key is in use, so every request is refused; type: bakeoff keys create --role application --name shop")


def _tell(as_json: bool, url: str, workers: int) -> None:
    text = (
        f"bakeoff answers on {url}   (all of it: {url}/docs; Ctrl-C ends it)\n"
        f"try: curl -s {url}/readyz\n"
        f"     curl -s {url}/v1/policies/planner_policy/decide -H 'Authorization: Bearer bko_...' \\\n"
        '          -H \'Idempotency-Key: try-1\' --json \'{"unit_id": "household-1", "request": {...}}\''
    )
    answer(as_json, {"url": url, "docs": f"{url}/docs", "workers": workers, "pid": os.getpid()}, text)
    sys.stdout.flush()


def _config(app: Any, found: Settings, **more: Any) -> "uvicorn.Config":
    import uvicorn

    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=LOGGING,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_S,
        h11_max_incomplete_event_size=_MOST_HEADERS,
        timeout_graceful_shutdown=int(found.serve.drain_s) or 1,
        **more,
    )


def _run_one(found: Settings, listening: socket.socket, tell: Callable[[], None]) -> None:
    import uvicorn

    class Telling(uvicorn.Server):
        """Says where it is once it answers."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                tell()

    server = Telling(_config(application(found), found))
    server.run(sockets=[listening])
    if not server.started:
        raise Unreachable("the server did not start", cure="its words are above")


def _run_many(found: Settings, listening: socket.socket, workers: int, tell: Callable[[], None]) -> None:
    """Processes that share the port. Each writes its numbers to one folder, so that /metrics of any tells of all."""
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    class Telling(Multiprocess):
        """Says where it is once a process answers; starts those anew that ended or hang."""

        has_told = False

        def keep_subprocess_alive(self) -> None:
            super().keep_subprocess_alive()
            if not self.has_told and any(each.is_ready(timeout=_PATIENCE_S) for each in self.processes):
                self.has_told = True
                tell()

    folder = tempfile.mkdtemp(prefix="bakeoff-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        made = partial(application, metrics_folder=folder)
        config = _config(made, found, factory=True, workers=workers, timeout_worker_healthcheck=_PATIENCE_S)
        processes = Telling(config, sockets=[listening])
        processes.run()
        if any(each.exitcode == STARTUP_FAILURE for each in processes.processes):
            raise Unreachable("the server did not start", cure="its words are above")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
