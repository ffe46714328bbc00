import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from bakeoff.datasets import place, table
from bakeoff.datasets import publish as publishing
from bakeoff.datasets.files import describe, load, load_fitted
from bakeoff.datasets.fit import fitted
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Refused, Unreachable
from bakeoff.task import Episode, Example, Message, Request, TaskBase

Make = Callable[..., Episode]
Publish = Callable[..., Dataset]
Window = dict[str, datetime]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_dataset_is_a_folder_of_three_files_named_after_the_end_of_its_window(
    publish: Publish, episodes: list[Episode], tmp_path: Path
) -> None:
    dataset = publish(episodes)
    assert dataset.uri == str(tmp_path / "fruit" / "2025-03-03")
    assert dataset.version == "2025-03-03"
    assert names(Path(dataset.uri)) == ["dataset_summary.md", "schema.json", "training.parquet"]
    assert names(tmp_path / "fruit") == ["2025-03-03"], "no temporary folder is left"


def test_rows_are_those_of_the_episodes_in_their_order(publish: Publish, episodes: list[Episode]) -> None:
    dataset = publish(episodes)
    rows = load(dataset.uri)
    assert [row.example.example_id for row in rows] == [e.decision.decision_id for e in episodes[:110]]
    assert [row.example.request for row in rows] == [e.request for e in episodes[:110]]
    assert describe(dataset.uri) == dataset
    assert (dataset.rows, dataset.splits) == (110, dataset.summary["splits"])


def test_the_same_content_is_the_folder_that_is_there(publish: Publish, episodes: list[Episode]) -> None:
    first = publish(episodes)
    before = {path: path.stat().st_mtime_ns for path in Path(first.uri).iterdir()}
    assert publish(episodes) == first
    assert {path: path.stat().st_mtime_ns for path in Path(first.uri).iterdir()} == before


def test_other_content_with_the_same_date_gets_a_number(publish: Publish, episodes: list[Episode]) -> None:
    first, second, third = (publish(episodes[:many]) for many in (120, 90, 80))
    assert [d.version for d in (first, second, third)] == ["2025-03-03", "2025-03-03.2", "2025-03-03.3"]
    assert publish(episodes) == first
    assert publish(episodes[:90]) == second


def test_the_same_rows_through_another_window_are_nothing_new(
    publish: Publish, episodes: list[Episode], window: Window, tmp_path: Path
) -> None:
    first = publish(episodes)
    later = {"until": window["until"] + timedelta(days=3)}
    assert publish(episodes, previous=first, **later) == first
    assert names(tmp_path / "fruit") == ["2025-03-03"]
    assert publish(episodes[:100], previous=first, **later).version == "2025-03-06", "fewer rows are other rows"


def test_the_same_rows_are_new_for_another_version_of_the_prompt(
    publish: Publish, task: TaskBase, episodes: list[Episode]
) -> None:
    first = publish(episodes)
    task.prompt_version = "2"
    assert publish(episodes, previous=first).version == "2025-03-03.2"


def test_the_same_rows_are_new_where_the_earlier_folder_is_gone(
    publish: Publish, episodes: list[Episode], window: Window
) -> None:
    first = publish(episodes)
    Path(first.uri).rename(Path(first.uri).with_name("elsewhere"))
    later = {"until": window["until"] + timedelta(days=3)}
    assert publish(episodes, previous=first, **later).version == "2025-03-06"


def test_the_summary_tells_the_drift_against_the_previous_dataset(
    publish: Publish, episodes: list[Episode], episode: Make
) -> None:
    first = publish(episodes)
    second = publish([*episodes, *(episode(n, budget=99.5) for n in range(120, 600))], previous=first)
    assert first.version in (Path(second.uri) / "dataset_summary.md").read_text()


def test_progress_counts_rows(publish: Publish, episodes: list[Episode], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "ROW_GROUP", 50)
    seen: list[int] = []
    publish(episodes, on_rows=seen.append)
    assert seen == [50, 100, 110]


@pytest.mark.parametrize("fails", ["rows", "checks", "leaks", "summary", "reveal"])
def test_a_failure_leaves_nothing_behind(
    fails: str, publish: Publish, episodes: list[Episode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise Refused("no")

    if fails == "rows":
        episodes[60] = replace(episodes[60], request_digest="sha256:0")
    elif fails == "checks":
        episodes = episodes[:20]
    else:
        module, name = {
            "leaks": (publishing.check, "check_leaks"),
            "summary": (publishing.summary, "summarise"),
            "reveal": (place, "reveal"),
        }[fails]
        monkeypatch.setattr(module, name, broken)
    with pytest.raises(Refused):
        publish(episodes)
    assert names(tmp_path / "fruit") == []


def test_what_a_killed_build_left_is_swept_away(publish: Publish, episodes: list[Episode], tmp_path: Path) -> None:
    """Of a process that is no more, on this machine; of others nothing is known."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    home = tmp_path / "fruit"
    mine = home / f".2025-03-03-{place.host()}-{ended.pid}-0123abcd.part"
    alive = home / f".2025-03-03-{place.host()}-{os.getpid()}-0123abcd.part"
    foreign = home / f".2025-03-03-another-{ended.pid}-0123abcd.part"
    for part in (mine, alive, foreign):
        part.mkdir(parents=True)
        (part / "rubbish").write_text("half")
    dataset = publish(episodes)
    assert names(home) == sorted([alive.name, foreign.name, "2025-03-03"])
    assert "rubbish" not in names(Path(dataset.uri))


def test_a_folder_of_somebody_else_is_left_alone(publish: Publish, episodes: list[Episode], tmp_path: Path) -> None:
    theirs = tmp_path / "fruit" / "2025-03-03"
    theirs.mkdir(parents=True)
    (theirs / "notes.txt").write_text("mine")
    assert publish(episodes).version == "2025-03-03.2"
    assert names(theirs) == ["notes.txt"]


def test_who_comes_second_finds_what_the_first_made(
    publish: Publish, episodes: list[Episode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two builds of the same window, the other one a moment faster, between the look and the rename."""
    first = publish(episodes)
    there = Path(first.uri)
    hidden = there.with_name("hidden")
    there.rename(hidden)
    rename = Path.rename

    def slow(self: Path, target: Any) -> Path:
        if Path(target) == there and hidden.exists():
            rename(hidden, there)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", slow)
    assert publish(episodes) == first
    assert names(tmp_path / "fruit") == ["2025-03-03"]


def test_a_root_that_cannot_be_written_is_unreachable(
    publish: Publish, episodes: list[Episode], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unreachable, match="cannot write below"):
        publish(episodes, root=str(tmp_path / "file"))


def test_any_file_system_will_do(publish: Publish, episodes: list[Episode]) -> None:
    """As on S3: no folders, no atomic rename, the same three files."""
    root = f"memory://{uuid.uuid4().hex}"
    first = publish(episodes, root=root)
    assert first.uri.startswith("memory://")
    assert len(load(first.uri)) == 110
    assert publish(episodes, root=root) == first
    second = publish(episodes[:-30], root=root)
    assert (first.version, second.version) == ("2025-03-03", "2025-03-03.2")
    left = fsspec.filesystem("memory").find(root)
    assert len(left) == 6, "no temporary file is left"


def test_an_upload_that_was_cut_off_is_completed_one_of_other_content_is_left_alone(
    publish: Publish, episodes: list[Episode]
) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    memory = fsspec.filesystem("memory")
    first = publish(episodes, root=root)
    memory.rm_file(f"{root}/fruit/2025-03-03/schema.json")
    memory.rm_file(f"{root}/fruit/2025-03-03/training.parquet")
    assert publish(episodes[:-30], root=root).version == "2025-03-03.2"
    assert publish(episodes, root=root) == first
    assert len(memory.find(root)) == 6


def test_bytes_and_digest_are_equal_in_every_process(
    publish: Publish, episodes: list[Episode], episode: Make, tmp_path: Path
) -> None:
    """Another seed of hashing, time zone and locale: the same content digest and, by the same versions, bytes."""
    dataset = publish(episodes)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import conftest; from bakeoff.datasets.publish import publish\n"
        "from bakeoff.events.canonical import canonical_bytes\n"
        "made = [conftest._episode(n, accepted=n < 110) for n in range(120)]\n"
        "pairs = [(e, canonical_bytes(e.request)) for e in made]\n"
        "print(publish(sys.argv[2], conftest.FruitTask(), pairs, since=conftest.SINCE, until=conftest.UNTIL).uri)\n"
    )
    env = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    ran = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "b")],
        check=True, env=env, capture_output=True, text=True,
    )  # fmt: skip
    other = describe(ran.stdout.strip())
    assert (other.digest, other.rows_digest) == (dataset.digest, dataset.rows_digest)
    for name in names(Path(dataset.uri)):
        assert (Path(other.uri) / name).read_bytes() == (Path(dataset.uri) / name).read_bytes()


class Learner(TaskBase):
    """Learns how often people keep figs on Monday."""

    name = "fruit"

    def __init__(self, share: float | None = None) -> None:
        self.share = share

    def render(self, request: Request) -> Sequence[Message]:
        return []

    def fitted(self, examples: Sequence[Example], held_out: Sequence[Example] = ()) -> "Learner":
        assert examples
        assert not {e.unit_id for e in examples} & {e.unit_id for e in held_out}
        return Learner(sum(e.target["basket"]["mon"] == "fig" for e in examples) / len(examples))

    def frozen(self) -> Mapping[str, Any] | None:
        return None if self.share is None else {"share": self.share}

    def thawed(self, frozen: Mapping[str, Any]) -> "Learner":
        return Learner(frozen["share"])


def test_what_the_task_learnt_is_kept_with_the_dataset(publish: Publish, episodes: list[Episode]) -> None:
    dataset = publish(episodes, by=Learner())
    assert names(Path(dataset.uri)) == ["dataset_summary.md", "fitted.json", "schema.json", "training.parquet"]
    assert load_fitted(dataset.uri) == {"share": 1.0}
    listed = json.loads((Path(dataset.uri) / "schema.json").read_text())["files"]["fitted.json"]
    assert listed["sha256"] == hashlib.sha256((Path(dataset.uri) / "fitted.json").read_bytes()).hexdigest()
    again = fitted(Learner(), dataset.uri)
    assert isinstance(again, Learner)
    assert again.share == 1.0


def test_a_task_that_learns_nothing_has_no_such_file(publish: Publish, task: TaskBase, episodes: list[Episode]) -> None:
    dataset = publish(episodes)
    assert load_fitted(dataset.uri) is None
    assert fitted(task, dataset.uri) is task


def test_a_dataset_without_a_frozen_fit_is_fitted_again(publish: Publish, episodes: list[Episode]) -> None:
    again = fitted(Learner(), publish(episodes).uri)
    assert isinstance(again, Learner)
    assert again.share == 1.0
