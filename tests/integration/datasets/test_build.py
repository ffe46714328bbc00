"""The way from the log to a folder, on a real PostgreSQL: streamed, killed, built twice at once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import stages
import toy
from bakeoff import lifecycle
from bakeoff.datasets import files
from bakeoff.datasets.model import Dataset
from bakeoff.events import store as events
from bakeoff.lifecycle import Deps

WINDOW = {"since": stages.START, "until": stages.START + timedelta(days=4)}
SHOPPERS = 90

PRELUDE = """
import os, sys
from datetime import datetime
from pathlib import Path
import stages, toy
from bakeoff import lifecycle
from bakeoff.bootstrap import open_deps
from bakeoff.datasets import place, publish, summary, table
from bakeoff.settings import Settings

def die(*_, **__):
    os.kill(os.getpid(), 9)

home, dsn, mlflow, until = sys.argv[1:5]
settings = Settings(home=Path(home), database_url=dsn, mlflow_tracking_uri=mlflow, dtype="float32", threads=1)
table.ROW_GROUP = 40
"""
BUILD = """
with open_deps(settings, progress=stages.Silent(), clock=lambda: datetime.fromisoformat(until)) as wired:
    made = lifecycle.build_dataset(wired, toy.ToyTask(), since=stages.START, until=datetime.fromisoformat(until))
    print(made.digest, made.uri)
"""
POINTS: Mapping[str, str] = {
    "in the second row group": """
write, count = table.Writer.write, []
def second(self, lines):
    write(self, lines)
    count.append(1)
    if len(count) == 2: die()
table.Writer.write = second
""",
    "before the rows are whole": "table.Writer.close = die",
    "before the summary": "summary.summarise = die",
    "before the rename": "place.reveal = die",
    "after the rename": """
reveal = place.reveal
def shown(*args):
    reveal(*args)
    die()
place.reveal = shown
""",
    "before it is registered": "lifecycle.learn.datasets.insert = die",
}


@pytest.fixture
def log(deps: Deps, clock: stages.Clock) -> Deps:
    """Two days of a shop."""
    stages.open_shop(deps)
    for day in range(2):
        stages.live(deps, clock, day=day, shoppers=SHOPPERS)
        clock.turn(days=1)
    return deps


@pytest.fixture
def start(log: Deps, dsn: str, mlflow_uri: str, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts a build of `WINDOW` in a process of its own, after some lines of code."""

    def started(before: str = "") -> "subprocess.Popen[str]":
        path = os.pathsep.join([str(Path(stages.__file__).parent), *sys.path])
        return subprocess.Popen(
            [
                sys.executable, "-c", PRELUDE + before + BUILD,
                str(tmp_path / "home"), dsn, mlflow_uri, WINDOW["until"].isoformat(),
            ],
            env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return started


def visible(deps: Deps) -> list[str]:
    """Folders that a person sees."""
    home = Path(deps.datasets_root) / "toy"
    return sorted(path.name for path in home.iterdir() if not path.name.startswith(".")) if home.exists() else []


def test_the_log_becomes_a_dataset_that_is_registered_once(log: Deps) -> None:
    made = lifecycle.build_dataset(log, toy.ToyTask(), **WINDOW)
    rows = files.load(made.uri)
    assert len(rows) == made.rows > 60
    assert [(row.example.occurred_at, row.example.example_id) for row in rows] == sorted(
        (row.example.occurred_at, row.example.example_id) for row in rows
    )
    assert lifecycle.build_dataset(log, toy.ToyTask(), **WINDOW) == made
    with log.db.transaction() as conn:
        assert lifecycle.learn.datasets.all_datasets(conn, "toy") == [made]


def test_a_later_window_with_nothing_new_in_it_makes_no_version(log: Deps, clock: stages.Clock) -> None:
    made = lifecycle.build_dataset(log, toy.ToyTask(), **WINDOW)
    later = {"since": stages.START, "until": WINDOW["until"] + timedelta(days=9)}
    assert lifecycle.build_dataset(log, toy.ToyTask(), **later) == made
    assert visible(log) == [made.version]
    stages.live(log, clock, day=2, shoppers=SHOPPERS)
    assert lifecycle.build_dataset(log, toy.ToyTask(), **later).digest != made.digest


def test_a_reader_of_episodes_may_stop_early(log: Deps) -> None:
    """What comes after it in the same transaction still works."""
    with log.db.transaction() as conn:
        stream = events.episodes(conn, "toy", **WINDOW)
        first = next(stream)
        stream.close()
        assert events.summarize(conn, "toy").decisions == 2 * SHOPPERS
        assert next(events.episodes(conn, "toy", **WINDOW)) == first


def test_a_build_that_is_killed_shows_nothing_half_and_the_next_one_completes_it(
    log: Deps, start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    for point, code in POINTS.items():
        killed = start(code)
        killed.communicate(timeout=120)
        assert killed.returncode == -9, point
        for name in visible(log):
            assert files.describe(str(Path(log.datasets_root) / "toy" / name)).rows > 60, point
    again = start()
    said, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    digest, uri = said.split()
    undisturbed = _elsewhere(log, tmp_path)
    assert digest == undisturbed.digest
    assert uri.endswith(undisturbed.version)
    home = Path(log.datasets_root) / "toy"
    assert [path.name for path in home.iterdir()] == [undisturbed.version], "what killed builds left is gone"
    with log.db.transaction() as conn:
        assert [each.digest for each in lifecycle.learn.datasets.all_datasets(conn, "toy")] == [digest]


def test_two_builds_of_one_window_at_once_make_one_dataset(
    log: Deps, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    both = [start(), start()]
    said = [each.communicate(timeout=120) for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert len(visible(log)) == 1


def test_two_builds_of_different_windows_at_once_do_not_mix(
    log: Deps, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    narrow = "stages.START = stages.START.replace(hour=9)\n"
    both = [start(), start(narrow.replace("hour=9", "day=7"))]
    said = [each.communicate(timeout=120) for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    for out, _ in said:
        digest, uri = out.split()
        found = files.describe(uri)
        assert found.digest == digest
        assert len(files.load(uri)) == found.rows
    assert len(visible(log)) == 2


def _elsewhere(deps: Deps, folder: Path) -> Dataset:
    """The same build below another root, in this process."""
    from bakeoff.datasets.publish import publish

    with deps.db.transaction() as conn:
        stored: Any = events.stored_episodes(conn, "toy", **WINDOW)
        return publish(str(folder / "elsewhere"), toy.ToyTask(), stored, **WINDOW)


def test_schema_json_lists_every_file_of_the_folder(log: Deps) -> None:
    made = lifecycle.build_dataset(log, toy.ToyTask(), **WINDOW)
    listed = json.loads(files.read_text(made.uri, files.SCHEMA))["files"]
    assert sorted([*listed, files.SCHEMA]) == sorted(path.name for path in Path(made.uri).iterdir())
