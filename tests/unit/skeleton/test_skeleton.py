"""The skeleton of a task: laid down whole, under any good name, and never over something else."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bakeoff import skeleton
from bakeoff.errors import Refused, UsageError

NAMES = ("checkout", "menu_of_2025", "ab")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_package_whose_entry_point_is_its_class(tmp_path: Path, name: str) -> None:
    files = {path.relative_to(tmp_path / name).as_posix() for path in skeleton.lay_down(tmp_path, name)}
    assert {f"src/{name}/task.py", f"src/{name}/history.py", f"src/{name}/gate.toml", "tests/test_task.py"} <= files
    project = tomllib.loads((tmp_path / name / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["bakeoff.tasks"] == {name: f"{name}.task:{skeleton.class_name(name)}"}
    assert f"class {skeleton.class_name(name)}(TaskBase)" in (tmp_path / name / f"src/{name}/task.py").read_text()
    assert not [path for path in (tmp_path / name).rglob("*") if "template" in path.name or path.name == "name"]
    assert "$" not in "".join(path.read_text() for path in (tmp_path / name).rglob("*") if path.is_file())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_formatted_and_without_a_linters_word(tmp_path: Path, name: str) -> None:
    skeleton.lay_down(tmp_path, name)
    ruff = Path(sys.executable).with_name("ruff")
    for words in (["check", "--select", "E,F,B,UP,SIM,RUF,C4,N"], ["format", "--check"]):
        ran = subprocess.run(
            [ruff, *words, "--isolated", "--line-length", "120", "--no-cache", tmp_path],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_again_it_writes_only_what_is_missing(tmp_path: Path) -> None:
    files = skeleton.lay_down(tmp_path, "checkout")
    assert skeleton.lay_down(tmp_path, "checkout") == []
    files[0].unlink()
    assert skeleton.lay_down(tmp_path, "checkout") == [files[0]]


def test_nothing_is_overwritten_and_then_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "README.md").write_text("mine")
    with pytest.raises(Refused, match=r"README.md is another one"):
        skeleton.lay_down(tmp_path, "checkout")
    assert [path.name for path in (tmp_path / "checkout").iterdir()] == ["README.md"]


@pytest.mark.parametrize("name", ["Checkout", "1st", "check-out", "class", "", "x", "a" * 60, "../up", "end_"])
def test_a_name_that_cannot_be_a_package_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        skeleton.lay_down(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bakeoff", "planner", "json"])
def test_a_name_that_is_taken_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="a module"):
        skeleton.lay_down(tmp_path, name)
