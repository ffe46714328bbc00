"""``bakeoff dataset build`` as people type it, on a real PostgreSQL and MLflow."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import stages
import toy
from bakeoff import bootstrap, plugins
from bakeoff.cli import cli, run_command
from bakeoff.lifecycle import Deps


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def bakeoff(
    dsn: str,
    mlflow_uri: str,
    tmp_path: Path,
    clock: stages.Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Any:
    """Types a command, in the environment of a person whose clock is the shop's and whose task is the toy."""
    monkeypatch.setenv("BAKEOFF_DATABASE_URL", dsn)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("BAKEOFF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(bootstrap, "utc_now", clock)
    monkeypatch.setattr(plugins, "load_task", lambda _: toy.ToyTask())

    def typed(*argv: object, code: int = 0) -> Said:
        capsys.readouterr()
        said = Said(run_command(cli, name="bakeoff", argv=[str(word) for word in argv]), *capsys.readouterr())
        assert said.code == code, said
        assert "Traceback" not in said.err
        return said

    return typed


def test_a_build_says_what_it_made_and_later_that_there_is_nothing_new(
    bakeoff: Any, deps: Deps, clock: stages.Clock
) -> None:
    stages.open_shop(deps)
    stages.live(deps, clock, day=1, shoppers=120)
    clock.turn(days=4)
    first = bakeoff("dataset", "build", "--task", "toy", "--json").json
    assert first["new"] is True
    clock.turn(days=3)
    again = bakeoff("dataset", "build", "--task", "toy")
    assert f"nothing new since {first['version']} (same {first['rows']} rows)" in again.out
    assert bakeoff("dataset", "build", "--task", "toy", "--json").json == first | {"new": False}
    assert len(bakeoff("dataset", "list", "--json").json["datasets"]) == 1
