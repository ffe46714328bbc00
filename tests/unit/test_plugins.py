"""Plug-ins by entry points: found, or an answer that says what is there."""

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import toy
from bakeoff import plugins
from bakeoff.errors import UsageError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Entry points by name; the group does not matter here."""
    found: dict[str, str] = {}

    def entry_points(group: str) -> list[EntryPoint]:
        return [EntryPoint(name=name, value=value, group=group) for name, value in found.items()]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    plugins.load_task.cache_clear()
    yield found  # type: ignore[misc]
    plugins.load_task.cache_clear()


class NoTask:
    name = "empty"
    metrics = ()


def test_a_task_is_loaded_by_its_name(installed: dict[str, str]) -> None:
    installed["toy"] = "toy:ToyTask"
    assert isinstance(plugins.load_task("toy"), toy.ToyTask)


def test_an_unknown_task_is_answered_with_the_installed_ones(installed: dict[str, str]) -> None:
    installed |= {"toy": "toy:ToyTask", "another": "toy:ToyTask"}
    with pytest.raises(UsageError, match=r"no 'tea' in entry-point group 'bakeoff.tasks'; installed: another, toy"):
        plugins.load_task("tea")
    installed.clear()
    with pytest.raises(UsageError, match="installed: none"):
        plugins.load_world("tea")


def test_a_task_that_lacks_parts_is_told_which(installed: dict[str, str]) -> None:
    installed["empty"] = f"{__name__}:NoTask"
    with pytest.raises(UsageError) as error:
        plugins.load_task("empty")
    said = str(error.value).splitlines()[0]
    assert "task 'empty' lacks" in said
    for part in ("render", "parse", "score", "violations", "event_types", "gate_file"):
        assert part in said
    assert "name" not in said.split("lacks")[1].split(", ")


@pytest.mark.parametrize("value", ["no_such_package:Task", "toy:NoSuchTask"])
def test_a_plug_in_that_cannot_be_imported_is_named(installed: dict[str, str], value: str) -> None:
    installed["bad"] = value
    with pytest.raises(UsageError, match=f"entry point 'bad' \\({value}\\) cannot be loaded"):
        plugins.load_task("bad")


def folders() -> Path:
    return Path("/there")


def test_migrations_of_packages_come_after_our_own(installed: dict[str, str]) -> None:
    installed |= {"zoo": f"{__name__}:folders", "abc": f"{__name__}:folders"}
    found: dict[str, Any] = plugins.migration_folders()
    assert list(found) == ["bakeoff", "abc", "zoo"]
    assert (found["bakeoff"] / "0001_loop.sql").is_file()


def test_the_planner_comes_in_by_the_same_door() -> None:
    plugins.load_task.cache_clear()
    assert plugins.load_task("planner").name == "planner"
    assert callable(plugins.load_world("planner"))
    assert "planner" in plugins.migration_folders()
