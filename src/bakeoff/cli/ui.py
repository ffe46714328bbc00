"""``bakeoff ui``: MLflow's own pages over the local tracking store."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping

import click

from bakeoff import bootstrap, settings
from bakeoff.adapters import embedded, tracking
from bakeoff.cli.session import answer, as_json, say
from bakeoff.errors import Unreachable, UsageError

HOST = "127.0.0.1"
_PATIENCE_S = 90.0


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@as_json
def ui(port: int, as_json: bool) -> None:
    """MLflow in your browser: runs, curves, artefacts and registered models. Ctrl-C ends it.

    Listens on this machine only. With MLFLOW_TRACKING_URI=http... there is a server already: its address is printed.

    \b
    Example: bakeoff ui --port 5001
    """
    found = settings.load()
    if (found.mlflow_tracking_uri or "").startswith("http"):
        return answer(as_json, {"url": found.mlflow_tracking_uri}, f"MLflow is at {found.mlflow_tracking_uri}")
    if importlib.util.find_spec("mlflow") is None:
        raise UsageError("MLflow is not installed", cure="pip install 'bakeoff[mlflow]'")
    _check_free(port)
    uri = backend(found)
    root = str(found.home.resolve() / "artifacts")
    server = subprocess.Popen(command(uri, root, port), env=environment(os.environ), stdout=sys.stderr)
    try:
        _wait(server, port)
        url = f"http://{HOST}:{port}"
        answer(as_json, {"url": url, "backend": uri, "artifacts": root}, f"MLflow: {url}   (Ctrl-C ends it)")
        sys.stdout.flush()
        server.wait()
    except KeyboardInterrupt:
        say("stopped")
    finally:
        server.terminate()
        server.wait()
    return None


def backend(found: settings.Settings) -> str:
    """The tracking store as SQLAlchemy names it. Starts the embedded PostgreSQL, which ends with this process."""
    server = found.database_url or embedded.start(found.home.resolve() / "postgres")
    return tracking.with_driver(bootstrap.tracking_uri(found, server))


def command(uri: str, artifacts: str, port: int) -> list[str]:
    """MLflow's server over a tracking store, on loopback, with one worker."""
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", uri, "--default-artifact-root", artifacts),
        *("--host", HOST, "--port", str(port), "--workers", "1"),
    ]  # fmt: skip


def environment(around: Mapping[str, str]) -> dict[str, str]:
    """Without what would send it elsewhere, and without reports about usage."""
    kept = {name: value for name, value in around.items() if name != "MLFLOW_TRACKING_URI"}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return {**kept, **quiet, "PYTHONWARNINGS": "ignore"}


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise UsageError(f"port {port} is in use", cure=f"bakeoff ui --port {port + 1}")


def _wait(server: "subprocess.Popen[bytes]", port: int) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise Unreachable(
                f"MLflow's server ended at once, with code {server.returncode}", cure="its words are above"
            )
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.2)
    raise Unreachable(f"MLflow did not answer on port {port} within {_PATIENCE_S:.0f} s", cure="try again")
