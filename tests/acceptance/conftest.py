"""A person at work, typing into this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

import stages
import toy
from bakeoff import bootstrap, plugins
from bakeoff.cli import cli, run_command
from newcomer import Said


@pytest.fixture
def toy_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy stands for an installed task."""
    monkeypatch.setattr(plugins, "load_task", lambda _: toy.ToyTask())


@pytest.fixture
def bakeoff(
    dsn: str,
    mlflow_uri: str,
    tmp_path: Path,
    clock: stages.Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Said]:
    """Types a command, in the environment of a person whose clock is the shop's; it must end with `code`, with any
    where that is None."""
    monkeypatch.setenv("BAKEOFF_DATABASE_URL", dsn)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("BAKEOFF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(bootstrap, "utc_now", clock)

    def typed(*argv: object, code: int | None = 0) -> Said:
        capsys.readouterr()
        said = Said(run_command(cli, name="bakeoff", argv=[str(word) for word in argv]), *capsys.readouterr())
        assert code is None or said.code == code, said
        assert "Traceback" not in said.err
        return said

    return typed
