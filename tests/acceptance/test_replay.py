"""``bakeoff replay`` as a person types it: looked at, stopped, killed, and shared by several machines."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

import fickle
import replayed
import stages
import tiny
from bakeoff import lifecycle, plugins
from bakeoff.datasets.model import Dataset
from bakeoff.lifecycle import Deps
from newcomer import Said

TESTS = Path(__file__).parents[1]
CHILD = """
import sys
sys.path[:0] = {paths!r}
import fickle
from bakeoff import plugins
from bakeoff.cli import cli, run_command
plugins.load_task = lambda name: fickle.Shop()
sys.exit(run_command(cli, name="bakeoff", argv={argv!r}))
"""
Type = Callable[..., Said]
Halts = Callable[[int], None]


@pytest.fixture
def typed(bakeoff: Type, monkeypatch: pytest.MonkeyPatch) -> Type:
    monkeypatch.setenv("BAKEOFF_THREADS", "1")
    monkeypatch.setattr(plugins, "load_task", lambda _: fickle.Shop())
    return bakeoff


@pytest.fixture
def dataset(deps: Deps) -> Dataset:
    return replayed.shop_dataset(deps)


def begin(*argv: object) -> subprocess.Popen[str]:
    """The command in a terminal of its own: Ctrl-C there reaches all of its processes."""
    text = CHILD.format(paths=[str(TESTS)], argv=[str(word) for word in argv])
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for_rows(dsn: str, many: int, process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 120
    with psycopg.connect(dsn, autocommit=True) as conn:
        while time.monotonic() < ends and process.poll() is None:
            row = conn.execute("select count(*) from exp.offline_replay_results").fetchone()
            if row and row[0] >= many:
                return
            time.sleep(0.02)
    pytest.fail(f"there were never {many} rows: {process.communicate()[1]}")


@pytest.fixture
def halts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Halts:
    """After how many rows the halting policy stands still."""
    folder = tmp_path / "halts"
    folder.mkdir()

    def after(rows: int) -> None:
        monkeypatch.setenv("FICKLE_FOLDER", str(folder))
        monkeypatch.setenv("FICKLE_WANTED", str(rows))

    return after


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize(("workers", "rows"), [(1, 20), (2, 30), (2, 69)])
def test_after_kill_9_the_same_command_ends_like_one_that_nobody_killed(
    deps: Deps, dataset: Dataset, dsn: str, workers: int, rows: int, halts: Halts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle, and when only the certificate is missing."""
    halts(rows)
    version = replayed.python_version(deps, "halting", seed=3)
    words = ("replay", version.name, "--workers", workers, "--json")
    with begin(*words) as killed:
        wait_for_rows(dsn, rows, killed)
        others = psutil.Process(killed.pid).children(recursive=True)
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert psutil.wait_procs(others, timeout=60)[1] == [], "nobody is left behind"
    with deps.db.transaction() as conn:
        before = conn.execute("select example_id, answer_digest from offline_replay_results").fetchall()
        assert [row["status"] for row in conn.execute("select status from replays").fetchall()] == ["running"]
    assert rows <= len(before) <= rows + 1
    monkeypatch.delenv("FICKLE_FOLDER")
    with begin(*words) as again:
        out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    body = json.loads(out)
    unbroken = lifecycle.replay(deps, fickle.Shop(), replayed.python_version(deps, "fickle", seed=3), dataset)
    assert (body["digest"], body["deterministic"]) == (unbroken.digest, True)
    with deps.db.transaction() as conn:
        after = conn.execute(
            "select example_id, repeat, answer_digest from offline_replay_results where replay_id = %s",
            (body["replay_id"],),
        ).fetchall()
    assert len(after) == len({row["example_id"] for row in after}) == unbroken.aggregates["rows"] == 69
    assert {(r["example_id"], r["answer_digest"]) for r in before} <= {
        (r["example_id"], r["answer_digest"]) for r in after
    }


@pytest.mark.usefixtures("typed", "dataset")
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_stops_all_processes_without_a_traceback(deps: Deps, dsn: str, workers: int, halts: Halts) -> None:
    halts(5)
    version = replayed.python_version(deps, "halting")
    with begin("replay", version.name, "--workers", workers) as stopped:
        wait_for_rows(dsn, 5, stopped)
        others = psutil.Process(stopped.pid).children(recursive=True)
        os.killpg(stopped.pid, signal.SIGINT)
        out, err = stopped.communicate(timeout=60)
    assert (stopped.returncode, out) == (130, "")
    assert "the same command goes on from here" in err
    assert "Traceback" not in err
    assert psutil.wait_procs(others, timeout=60)[1] == []


def test_what_a_person_sees(typed: Type, deps: Deps, dataset: Dataset, clock: stages.Clock) -> None:
    version = replayed.python_version(deps, "fickle")
    said = typed("replay", version.name, "--sample", 30)
    first = said.out.splitlines()
    assert first[0] == f"{version.name} over 30 held-out rows of dataset {dataset.version} (test split, a sample of 30)"
    assert "deterministic: 16 of 16 answers were the same the second time" in said.out
    assert said.err == ""
    clock.turn(hours=1)
    again = typed("replay", version.name, "--sample", 30)
    assert again.out == said.out
    assert (
        "done before, 2025-01-06 08:00 UTC: nothing was answered now; --no-cache answers everything anew" in again.err
    )
    anew = typed("replay", version.name, "--sample", 30, "--no-cache", "--json")
    assert (anew.err, anew.json["digest"] in said.out, anew.json["replay_id"] in said.out) == ("", True, False)


def test_repeats_of_dice_of_stones_and_of_a_model(typed: Type, deps: Deps, dataset: Dataset, tmp_path: Path) -> None:
    dice, stone = replayed.python_version(deps, "fickle"), replayed.python_version(deps, "stubborn", "toy")
    body = typed("replay", dice.name, "--split", "validation", "--repeats", 3, "--json").json
    held = dataset.splits["validation"]
    assert (body["aggregates"]["rows"], body["repeats"], body["selection"]["split"]) == (3 * held, 3, "validation")
    assert 0.3 < body["aggregates"]["varying"] < 1.0
    said = typed("replay", stone.name, "--repeats", 2)
    assert "all repeats gave the same answers, so one says as much" in said.err
    model = replayed.model_version(deps, tiny.write_model(tmp_path / "tiny"))
    assert (
        "answers greedily, so every repeat would be the same" in typed("replay", model.name, "--repeats", 2, code=2).err
    )


def test_libraries_that_moved_since_are_named(
    typed: Type, deps: Deps, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = replayed.model_version(deps, tiny.write_model(tmp_path / "tiny"))
    typed("replay", model.name, "--sample", 2)
    with monkeypatch.context() as moved:
        moved.setattr("bakeoff.cli.replaying.metadata.version", lambda name: "99.0" if name == "peft" else None)
        said = typed("replay", model.name, "--sample", 2).err
    assert "note: answered with peft " in said
    assert "(now 99.0); --no-cache answers everything with what is installed now" in said
    assert "torch" not in said


def test_several_machines_answer_a_shard_each(typed: Type, deps: Deps, dataset: Dataset) -> None:
    version = replayed.python_version(deps, "fickle")
    shards = [typed("replay", version.name, "--shard", f"{n}/3", "--json").json for n in (1, 3)]
    assert [each["missing"] for each in shards] == [69 - shards[0]["rows"], 69 - shards[0]["rows"] - shards[1]["rows"]]
    said = typed("replay", version.name, "--shard", "2/3").out
    assert "no row is missing: the same command without --shard ends the replay" in said
    body = typed("replay", version.name, "--json").json
    assert body["aggregates"]["rows"] == 69
    assert body["digest"] == typed("replay", version.name, "--no-cache", "--json").json["digest"]
    with deps.db.transaction() as conn:
        replays = conn.execute("select status, attempt from replays order by started_at").fetchall()
    assert len(replays) == 2, "the shards are one replay"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shard", "0/3"], "is no shard; expected for instance 2/4"),
        (["--shard", "half"], "is no shard"),
        (["--shard", "1/2", "--no-cache"], "do not go together"),
        (["--workers", "0"], "0 is not in the range"),
        (["--split", "train"], "'train' is not one of"),
    ],
)
def test_wrong_words_end_with_2(typed: Type, words: list[Any], said: str) -> None:
    assert said in typed("replay", "toy_policy/1", *words, code=2).err
