"""``bakeoff events import`` as a person types it, and as the power goes out in the middle of it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import stages
import toy
from bakeoff import bootstrap, lifecycle, plugins
from bakeoff.cli import cli, run_command
from bakeoff.inference.model import external_spec
from bakeoff.lifecycle import Deps

SINCE = datetime(2024, 1, 1, tzinfo=UTC)
TESTS = Path(__file__).parents[1]
CHILD = """
import os, signal, sys, time
sys.path[:0] = {paths!r}
import toy
from bakeoff import plugins
from bakeoff.cli import cli, run_command
from bakeoff.events import bulk, importing
plugins.load_task = lambda name: toy.ToyTask()

def dies(where, name, count, after):
    whole, calls = getattr(where, name), iter(range(1, 1000000))
    def half(*args, **how):
        now = next(calls) == count
        result = whole(*args, **how) if after or not now else None
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(where, name, half)

moment = {moment!r}
if moment == "half a batch":
    dies(bulk.queries, "add_events", 6, after=True)
elif moment == "rejects written":
    dies(importing._RejectFile, "write", 3, after=True)
elif moment == "before commit":
    dies(bulk.queries, "advance_import", 4, after=True)
elif moment == "after commit":
    dies(importing, "_batch", 2, after=True)
elif moment == "nearly done":
    dies(bulk.queries, "finish_import", 1, after=False)
elif moment == "slowly":
    batch = importing._batch
    importing._batch = lambda *args: (time.sleep(0.1), batch(*args))[1]
print("begun", flush=True)
sys.exit(run_command(cli, name="bakeoff", argv={argv!r}))
"""


def write_log(path: Path, offers: int) -> Path:
    """Offers with their acceptances, in no order, and some rows that nobody can take."""
    rows: list[str] = []
    for n in range(offers):
        at = SINCE + timedelta(hours=n)
        head = {"unit_id": f"shopper-{n % 9}", "decision_id": f"offer-{n}"}
        rows.append(
            json.dumps(
                head
                | {"event_type": "offered", "occurred_at": at.isoformat(), "payload": {}}
                | {"request": {"likes": "tea", "day": n}}
            )
        )
        accepted = {"accepted_by": "user", "drink": "tea"} if n % 5 else {"drink": "tea", "extra": 1}
        later = (at + timedelta(minutes=3)).isoformat()
        rows.append(json.dumps(head | {"event_type": "accepted", "occurred_at": later, "payload": accepted}))
        if n % 7 == 0:
            rows.append('{"event_type": ')
    random.Random(7).shuffle(rows)
    path.write_text("\n".join(rows))
    return path


@pytest.fixture
def adopted(deps: Deps, monkeypatch: pytest.MonkeyPatch) -> Deps:
    monkeypatch.setattr(plugins, "load_task", lambda _: toy.ToyTask())
    version = lifecycle.create_policy(deps, stages.POLICY, external_spec("toy", "the shop"))
    lifecycle.adopt(deps, version, signed_by="Ada", reason="it served before", since=SINCE)
    return deps


@pytest.fixture
def typed(
    adopted: Deps, dsn: str, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:  # fmt: skip
    """Types a command; gives its exit code and what it printed."""
    monkeypatch.setenv("BAKEOFF_DATABASE_URL", dsn)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("BAKEOFF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(bootstrap, "utc_now", adopted.clock)
    monkeypatch.chdir(tmp_path)

    def type_(*words: str) -> tuple[int, str, str]:
        code = run_command(cli, name="bakeoff", argv=["events", "import", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return type_


def log(deps: Deps) -> list[tuple[Any, ...]]:
    with deps.db.transaction() as conn:
        found = conn.execute(
            "select event_id::text, content_digest, decision_id::text, payload::text, request_digest from events "
            "order by event_id"
        ).fetchall()
        requests = conn.execute("select digest, body::text from requests order by digest").fetchall()
    return [tuple(row.values()) for row in [*found, *requests]]


def forget(deps: Deps) -> None:
    with deps.db.transaction() as conn:
        conn.execute("set local bakeoff.erasure = 'on'")
        for table in ("events", "requests", "imports"):
            conn.execute(f"delete from {table}".encode())


def test_a_person_is_told_what_came_in_and_what_did_not(
    typed: Callable[..., tuple[int, str, str]], adopted: Deps, tmp_path: Path
) -> None:
    write_log(tmp_path / "log.jsonl", 70)
    code, out, _ = typed("log.jsonl", "--policy", "toy_policy/1", "--dry-run")
    assert code == 0
    assert "dry run: nothing was kept" in out
    assert log(adopted) == []
    code, out, _ = typed("log.jsonl", "--policy", "toy_policy/1")
    assert code == 0
    for said in (
        "log.jsonl: 150 lines read",
        "new: 70 decisions, 56 outcomes; there already: 0",
        "24 rows were refused",
        "14  missing field",
        "10  not JSON",
        "they are in log.jsonl.rejects.jsonl",
    ):
        assert said in out
    code, out, _ = typed("log.jsonl", "--policy", "toy_policy/1", "--json")
    assert code == 0
    (report,) = json.loads(out)["imports"]
    assert report["finished_before"] is not None
    assert (report["decisions"], report["outcomes"]) == (70, 56)
    assert report["rejected"] == {"missing field": 14, "not JSON": 10}
    assert "nothing was done" in typed("log.jsonl", "--policy", "toy_policy/1")[1]


def test_a_query_of_the_applications_database(typed: Callable[..., tuple[int, str, str]], dsn: str) -> None:
    query = (
        "select 'offered' as event_type, 'u' as unit_id, 'o' || n as decision_id, '{}'::json as payload, "
        "timestamptz '2024-02-01' as occurred_at, json_build_object('day', n, 'likes', 'tea') as request "
        "from generate_series(1, 12) n"
    )
    for more in ([], ["--dsn", dsn]):
        code, out, _ = typed("--from-sql", query, "--policy", "toy_policy/1", "--json", *more)
        assert code == 0
        (report,) = json.loads(out)["imports"]
        assert report["decisions"] + report["already_there"] == 12
    code, _, err = typed("--from-sql", "delete from events", "--policy", "toy_policy/1")
    assert (code, "the query failed" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "name files to import, or --from-sql"),
        (["missing.jsonl"], 2, "is not a file"),
        (["log.jsonl"], 3, "no row of log.jsonl could be taken: the row has no context"),
        (["log.jsonl", "--policy", "toy_policy/9"], 2, "no policy version toy_policy/9"),
        (["log.jsonl", "--map", "toy:nothing"], 2, "--map toy:nothing"),
        (["log.jsonl", "--map", "toy"], 2, "toy is no function"),
    ],
)
def test_wrong_use_says_what_to_type(
    typed: Callable[..., tuple[int, str, str]], tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    (tmp_path / "log.jsonl").write_text(
        json.dumps(
            {
                "event_type": "accepted", "unit_id": "u", "decision_id": "d", "occurred_at": "2024-02-01T00:00:00Z",
                "payload": {"accepted_by": "user", "drink": "tea"},
            }
        )
    )  # fmt: skip
    found, _, err = typed(*words)
    assert (found, said in err) == (code, True), err


# ---- kill -9 ----


def child(moment: str, path: Path) -> list[str]:
    argv = ["events", "import", str(path), "--policy", "toy_policy/1", "--batch", "40", "--json"]
    return [sys.executable, "-c", CHILD.format(paths=[str(TESTS), *sys.path], moment=moment, argv=argv)]


@pytest.fixture
def undisturbed(
    typed: Callable[..., tuple[int, str, str]], adopted: Deps, tmp_path: Path
) -> tuple[Path, list[tuple[Any, ...]], dict[str, Any], bytes]:
    """A log, and what an import that nobody kills makes of it."""
    path = write_log(tmp_path / "log.jsonl", 150)
    code, out, err = typed(str(path), "--policy", "toy_policy/1", "--batch", "40", "--json")
    assert code == 0, err
    (report,) = json.loads(out)["imports"]
    rejects = path.with_name("log.jsonl.rejects.jsonl")
    kept = log(adopted), report, rejects.read_bytes()
    rejects.unlink()
    forget(adopted)
    return path, *kept


@pytest.fixture
def goes_on(
    typed: Callable[..., tuple[int, str, str]],
    adopted: Deps,
    undisturbed: tuple[Path, list[tuple[Any, ...]], dict[str, Any], bytes],
) -> Callable[[], None]:
    """The same command again: no row twice, none lost, the same counts and the same rejects."""
    path, rows, report, rejects = undisturbed

    def check() -> None:
        code, out, err = typed(str(path), "--policy", "toy_policy/1", "--batch", "40", "--json")
        assert code == 0, err
        (again,) = json.loads(out)["imports"]
        assert log(adopted) == rows
        assert path.with_name("log.jsonl.rejects.jsonl").read_bytes() == rejects
        own = ("resumed_at", "finished_before")
        assert {k: v for k, v in again.items() if k not in own} == {k: v for k, v in report.items() if k not in own}

    return check


@pytest.mark.parametrize("moment", ["half a batch", "rejects written", "before commit", "after commit", "nearly done"])
def test_a_killed_import_is_completed_by_the_same_command(
    undisturbed: tuple[Path, Any, Any, Any], goes_on: Callable[[], None], moment: str
) -> None:
    ended = subprocess.run(child(moment, undisturbed[0]), timeout=60, check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    goes_on()


def test_an_import_that_is_killed_at_any_time(
    undisturbed: tuple[Path, Any, Any, Any], goes_on: Callable[[], None]
) -> None:
    """By a clock instead of a place, again and again."""
    dice = random.Random(11)
    for _ in range(3):
        words = child("slowly", undisturbed[0])
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == "begun\n"
            time.sleep(dice.uniform(0.3, 1.2))
            os.kill(running.pid, signal.SIGKILL)
    goes_on()
