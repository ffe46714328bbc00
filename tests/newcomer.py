"""A person on the first day: a shell in an empty folder, with bakeoff and pip in an environment of their own."""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

OURS = ("BAKEOFF_", "MLFLOW_", "AWS_", "PG", "PIP_", "PYTHON")


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@contextmanager
def arrives() -> Iterator["Newcomer"]:
    """A newcomer in a folder of their own. Not in pytest's: that one is closed to other users again and again, and the
    embedded server runs as another user where root starts it."""
    with tempfile.TemporaryDirectory(prefix="bk-", dir="/tmp", ignore_cleanup_errors=True) as root:
        yield Newcomer(Path(root))


class Newcomer:
    """Types commands into bash. Nothing is installed from a network: what this environment has is seen from there."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "work"
        self.folder.mkdir()
        self.bin = _environment(root / "env")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.env = {
            **kept,
            "PATH": f"{self.bin}:{kept.get('PATH', '/usr/bin:/bin')}",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as its option --no-build-isolation
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
        }

    def types(self, command: str, *, code: int | None = 0, timeout: float = 300, **env: str) -> Said:
        """Runs `command`; with `code`, it must end with it."""
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=self.folder, env={**self.env, **env}, text=True,
            capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout, check=False,
        )  # fmt: skip
        said = Said(ran.returncode, ran.stdout, ran.stderr)
        assert code is None or said.code == code, f"$ {command}\n{said.out}\n{said.err}"
        assert "Traceback" not in said.err, said.err
        return said


def _environment(folder: Path) -> Path:
    """A virtual environment that sees the packages of the running one; returns its folder of programs."""
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (packages / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    python = folder / "bin" / "python"
    for name, module in {"bakeoff": "-c 'from bakeoff.cli import main; main()'", "pip": "-m pip"}.items():
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {python} {module} "$@"\n')
        program.chmod(0o755)
    assert sys.version_info >= (3, 11)
    return folder / "bin"
