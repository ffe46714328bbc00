"""The town as an application before bakeoff: tables and a log in its own words, and the way back."""

import json
import subprocess
import sys
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from bakeoff.adapters.postgres import Connection
from bakeoff.errors import UsageError
from bakeoff.fingerprint import digest
from bakeoff.task import Episode, Example, LoggedEvent, RequestKey, Role
from planner.history import to_events
from planner.task import PlannerTask
from planner.town.history import main, write_history
from planner_town import ENDS_ON, ROLES, live, logged

SIZE = {"seed": 1, "units": 12, "weeks": 3, "ends_on": ENDS_ON}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "app.jsonl").read_text(encoding="utf-8").splitlines()]


def key(raw: dict[str, str]) -> RequestKey:
    return RequestKey(unit_id=raw["unit_id"], need_id=raw["need_id"], as_of=datetime.fromisoformat(raw["as_of"]))


def as_logged(row: dict[str, Any]) -> LoggedEvent:
    at = datetime.fromisoformat(row["occurred_at"])
    ident = digest(row) if ROLES[row["event_type"]] is not Role.DECISION else row["decision_id"]
    return logged(row["event_type"], ident, row["decision_id"], row["unit_id"], at, row["payload"])


def read_back(conn: Connection, folder: Path) -> list[Episode]:
    """What an import makes of the log: episodes with requests from the tables."""
    rows = [event for line in lines(folder) for event in to_events(line)]
    decisions = [row for row in rows if row["event_type"] == "plan_generated"]
    requests = PlannerTask().requests(conn, [key(row["request_key"]) for row in decisions])
    outcomes = [as_logged(row) for row in rows if row["event_type"] != "plan_generated"]
    return [
        Episode(
            need_id=row["need_id"], unit_id=row["unit_id"], request=request or {}, request_digest=digest(request),
            decisions=(as_logged(row),),
            outcomes=tuple(each for each in outcomes if each.decision_id == row["decision_id"]),
        )
        for row, request in zip(decisions, requests, strict=True)
    ]  # fmt: skip


def heuristic_town() -> list[Episode]:
    from planner.policies import heuristic

    return live(SIZE["units"], SIZE["weeks"], lambda _t, _u, _w, request: heuristic(request, seed=0), seed=SIZE["seed"])


def test_the_log_read_back_is_the_town_s_life(scratch: Connection, tmp_path: Path) -> None:
    """The same requests, targets and edits as with a log of our own; only the reasons for edits were never logged."""
    written = write_history(scratch, tmp_path, **SIZE)
    back = {(e.unit_id, e.need_id): e for e in read_back(scratch, tmp_path)}
    truth = {(e.unit_id, e.need_id): e for e in heuristic_town()}
    assert back.keys() == truth.keys() and len(back) == written.plans
    task, edited = PlannerTask(), 0
    for place, episode in truth.items():
        assert digest(back[place].request) == digest(episode.request)
        [ours], [own] = task.examples([back[place]]), task.examples([episode])
        assert isinstance(ours, Example) == isinstance(own, Example)
        if isinstance(ours, Example) and isinstance(own, Example):
            plain = [{k: v for k, v in edit.items() if k != "reason"} for edit in own.target["user_edits"]]
            assert ours.target == {**own.target, "user_edits": plain}
            edited += bool(plain)
        assert task.outcome(back[place]) == task.outcome(episode)
    assert edited > 5


def test_the_log_is_in_the_application_s_own_words(scratch: Connection, tmp_path: Path) -> None:
    write_history(scratch, tmp_path, **SIZE)
    found = lines(tmp_path)
    kinds = Counter(line["kind"] for line in found)
    assert {"app.opened", "plan.created", "plan.confirmed", "plan.dismissed", "week.done"} <= set(kinds)
    names = {name for line in found for name in line}
    assert names.isdisjoint({"event_id", "event_type", "decision_id", "experiment_id", "request", "payload", "edits"})
    assert [line["ts"] for line in found] == sorted(line["ts"] for line in found)
    assert all(line["synthetic"] is True for line in found)


def test_the_same_arguments_give_the_same_log(scratch: Connection, tmp_path: Path) -> None:
    logs = []
    for name in ("one", "two"):
        with scratch.transaction(force_rollback=True):
            write_history(scratch, tmp_path / name, **SIZE)
        logs.append((tmp_path / name / "app.jsonl").read_bytes())
    assert logs[0] == logs[1]


def test_tables_that_are_lived_in_are_left_alone(scratch: Connection, tmp_path: Path) -> None:
    write_history(scratch, tmp_path, **SIZE)
    with pytest.raises(UsageError, match="already hold households"):
        write_history(scratch, tmp_path / "other", **SIZE)
    assert not (tmp_path / "other").exists()


def test_without_tables_it_says_what_to_type(scratch: Connection, tmp_path: Path) -> None:
    scratch.execute("drop schema planner cascade")
    with pytest.raises(UsageError, match="bakeoff db migrate"):
        write_history(scratch, tmp_path, **SIZE)


def test_the_command_writes_and_commits(dsn: str, conn: Connection, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "planner.town.history", "--folder", str(tmp_path), "--dsn", dsn]
    small = ["--units", "4", "--weeks", "2", "--ends-on", ENDS_ON.isoformat()]
    ran = subprocess.run([*command, *small], capture_output=True, text=True, check=True)
    said = json.loads(ran.stdout)
    assert said["lines"] == len(lines(tmp_path)) and said["households"] == 4
    assert date.fromisoformat(said["first_at"][:10]) >= date(2024, 12, 30)
    assert None not in PlannerTask().requests(
        conn,
        [key(event["request_key"]) for line in lines(tmp_path) for event in to_events(line) if "request_key" in event],
    )


def test_the_command_s_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = f"postgresql:///none?host={tmp_path}"
    assert main(["--folder", str(tmp_path), "--dsn", nowhere]) == 4
    assert "does not answer" in capsys.readouterr().err
