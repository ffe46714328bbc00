"""`bakeoff keys`, as a person types it."""

import json
from pathlib import Path
from typing import Any

import pytest

from bakeoff.access import store
from bakeoff.access.make import is_key, read_key
from bakeoff.adapters.postgres import connect
from bakeoff.cli import cli, run_command


@pytest.fixture
def bakeoff(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Types a command on a fresh database; it must end with `code`. Gives what it said."""
    monkeypatch.setenv("BAKEOFF_DATABASE_URL", dsn)
    monkeypatch.setenv("BAKEOFF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def typed(*argv: str, code: int = 0) -> str:
        capsys.readouterr()
        ended = run_command(cli, name="bakeoff", argv=list(argv))
        said = capsys.readouterr()
        assert ended == code, said
        return said.out + said.err

    return typed


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(bakeoff: Any, dsn: str) -> None:
    text = bakeoff("keys", "create", "--role", "application", "--name", "shop").splitlines()[0]
    read = read_key(text)
    assert read is not None
    with connect(dsn, "exp") as conn:
        (kept,) = store.all_keys(conn)
    assert is_key(kept, read[1])
    assert (kept.name, kept.role) == ("shop", "application")
    listed = bakeoff("keys", "list")
    assert read[0] in listed
    assert read[1] not in listed
    assert "in use" in listed
    assert bakeoff("keys", "revoke", "shop").strip() == "shop is revoked"
    assert bakeoff("keys", "revoke", read[0]).strip() == f"{read[0]} was revoked before"
    assert "revoked 2" in bakeoff("keys", "list")


def test_json_says_the_same(bakeoff: Any) -> None:
    made = json.loads(bakeoff("keys", "create", "--role", "viewer", "--name", "board", "--json"))
    assert read_key(made["key"])
    (listed,) = json.loads(bakeoff("keys", "list", "--json"))["keys"]
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert json.loads(bakeoff("keys", "revoke", "board", "--json")) == {"name": "board", "revoked": True}


def test_what_cannot_be_is_told_with_what_to_type(bakeoff: Any) -> None:
    assert "bakeoff keys create --role application --name shop" in bakeoff("keys", "list")
    bakeoff("keys", "create", "--role", "application", "--name", "shop")
    assert "there is a key 'shop' in use" in bakeoff("keys", "create", "--role", "viewer", "--name", "shop", code=2)
    assert "no key 'till'; in use: shop" in bakeoff("keys", "revoke", "till", code=2)
    assert "expected lower-case letters" in bakeoff("keys", "create", "--role", "viewer", "--name", "My Shop", code=2)
    assert "'root'" in bakeoff("keys", "create", "--role", "root", "--name", "x", code=2)
