"""Report, signature and rejection as a person types them, alone and with the two roles of a database at work."""

import io
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

import stages
from bakeoff.cli import approving
from bakeoff.errors import Refused
from bakeoff.lifecycle import Deps

GATE = """
name = "toy"
minimum_effective_units = 5
slices_per_gate = 4
[metrics.right]
kind = "non_inferior"
margin = 0.3
[metrics.known_drink]
kind = "absolute"
minimum = 1.0
"""
TEST = """
hypothesis = "superiority"
primary = "accepted"
stages = [1000]
minimum_units = 20
horizon_weeks = 8.0
"""


@pytest.fixture
def report(bakeoff: Any, deps: Deps, clock: stages.Clock, tmp_path: Path, toy_task: None) -> str:
    """Digest of a report that says PASS about toy_policy/2."""
    for function in ("toy:stubborn", "toy:good"):
        bakeoff("policy", "create", "--task", "toy", "--python", function)
    bakeoff("policy", "adopt", "toy_policy/1", "--by", "Ada", "--reason", "it serves")
    stages.live(deps, clock, day=1, shoppers=120)
    clock.turn(days=4)
    bakeoff("dataset", "build", "--task", "toy")
    (tmp_path / "gate.toml").write_text(GATE)
    (tmp_path / "test.toml").write_text(TEST)
    return str(bakeoff("gate", "toy_policy/2", "--gate", tmp_path / "gate.toml", "--json").json["digest"])


def test_a_report_is_read_then_signed_in_the_name_of_whoever_types(
    bakeoff: Any, report: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = bakeoff("report", "toy_policy/2", "--json").json
    assert (page["verdict"], page["report_digest"]) == ("PASS", report)
    assert "<!doctype html>" in Path(page["page"]).read_text()
    other = bakeoff("report", "toy_policy/2", "--report", report[:15], "--out", tmp_path / "for_grace.html")
    assert other.out.startswith("PASS: ")
    assert (tmp_path / "for_grace.html").read_text() == Path(page["page"]).read_text()
    assert f"known: {report}" in bakeoff("report", "toy_policy/2", "--report", "sha256:ffffffff", code=2).err
    assert "at least 6 digits" in bakeoff("report", "toy_policy/2", "--report", report[:9], code=2).err
    assert "toy_policy/1 was not judged yet" in bakeoff("report", "toy_policy/1", code=2).err
    opened: list[str] = []
    monkeypatch.setattr(subprocess, "run", _git_says("Grace Hopper"))
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    bakeoff("report", "toy_policy/2", "--open")
    assert opened == [Path(page["page"]).as_uri()]

    said = bakeoff("approve", "toy_policy/2", "--report", report[:15], "--note", "read it", "--json")
    assert said.json["signed_by"] == "Grace Hopper"
    assert said.json["report_digest"] == report
    assert {"report", "policy spec", "gate", "dataset"} <= set(said.json["covers"])
    assert "signing as Grace Hopper (from git config user.name; --by names somebody else)" in said.err
    assert "PASS: toy_policy/2 may be tried on at most 10 %" in said.err
    assert page["page"] in said.err
    assert "the rules themselves, so they are advisory" in said.err  # the tests' user is superuser
    assert bakeoff("status", "--json").json["policies"][0]["next"].startswith("bakeoff experiment start toy_policy/2")
    checks = {check["name"]: check for check in bakeoff("doctor", "--json", code=None).json["checks"]}
    assert checks["signatures"]["state"] == "note"


def _git_says(name: str) -> Any:
    """git that knows a name; every other process is as it was."""
    real = subprocess.run

    def run(argv: list[str], **more: Any) -> Any:
        if argv[:2] == ["git", "config"]:
            return subprocess.CompletedProcess(argv, 0, stdout=f"{name}\n")
        return real(argv, **more)

    return run


def test_a_rejected_version_is_out_and_everybody_is_told_why(bakeoff: Any, report: str, tmp_path: Path) -> None:
    words = ("toy_policy/2", "--report", report, "--by", "Grace")
    assert "needs a name and a reason" in bakeoff("reject", *words, "--reason", " ", code=2).err
    assert bakeoff("reject", *words, "--reason", "five soups").out.startswith("toy_policy/2 is rejected by Grace")
    refused = bakeoff("approve", *words, "--note", "read it", code=3)
    assert "toy_policy/2 cannot be approved: it was rejected" in refused.err
    started = bakeoff("experiment", "start", "toy_policy/2", "--spec", tmp_path / "test.toml", code=3)
    assert "Grace rejected it on 2025-01-10: five soups" in started.err
    assert bakeoff("trace", "toy_policy/2", "--json").json["rejection"]["reason"] == "five soups"
    policy = bakeoff("status", "--json").json["policies"][0]
    assert {row["version"]: row["status"] for row in policy["versions"]}["toy_policy/2"] == "rejected"
    assert "train" in policy["next"]


def test_a_void_approval_is_told_by_status_and_trace(bakeoff: Any, deps: Deps, report: str, tmp_path: Path) -> None:
    bakeoff("approve", "toy_policy/2", "--report", report, "--by", "Grace", "--note", "read it")
    uri = Path(bakeoff("dataset", "show", "latest", "--task", "toy", "--json").json["uri"])
    (uri / "dataset_summary.md").write_text("better than it is")
    started = bakeoff("experiment", "start", "toy_policy/2", "--spec", tmp_path / "test.toml", code=3)
    assert "what Grace signed has changed (dataset_summary.md of the dataset was" in started.err
    policy = bakeoff("status", "--json").json["policies"][0]
    assert (policy["next"], policy["why"].partition(":")[0]) == (
        "bakeoff gate toy_policy/2", "the approval of toy_policy/2 is void",
    )  # fmt: skip
    assert "dataset_summary.md" in bakeoff("trace", "toy_policy/2", "--json").json["approval_ended"]["reason"]


def test_at_a_terminal_a_person_is_asked_and_a_no_writes_nothing(
    bakeoff: Any, deps: Deps, report: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def typed(text: str) -> None:
        terminal = io.StringIO(text)
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdin", terminal)

    words = ("approve", "toy_policy/2", "--report", report, "--by", "Grace", "--note", "read it")
    typed("n\n")
    assert "you did not confirm" in bakeoff(*words, code=3).err
    with deps.db.transaction() as conn:
        assert conn.execute("select 1 from approvals where kind = 'signed'").fetchone() is None
    typed("")
    bakeoff(*words, "--yes")
    typed("y\n")
    assert "is approved by Grace" in bakeoff(*words).out
    typed("n\n")
    with pytest.raises(Refused):
        approving._confirm("Sign?", yes=False)


def test_at_work_who_builds_does_not_sign_and_who_signs_does_not_build(
    bakeoff: Any, dsn: str, report: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By two users of the database who are members of the roles that `bakeoff db roles` made."""
    mark = uuid.uuid4().hex[:8]
    names = {kind: f"{kind}_{mark}" for kind in ("writer", "approver", "app", "grace")}
    roles = ("db", "roles", "--writer", names["writer"], "--approver", names["approver"])
    try:
        printed = bakeoff(*roles, "--print").out
        assert f'create role "{names["writer"]}" nologin;' in printed
        made = bakeoff(*roles, "--json").json
        assert made["applied"] is True
        assert bakeoff(*roles, "--print").out != printed  # the roles are there now
        with psycopg.connect(dsn, autocommit=True) as admin:
            for user, role in (("app", "writer"), ("grace", "approver")):
                create = sql.SQL("create role {} login in role {}")
                admin.execute(create.format(*(sql.Identifier(names[each]) for each in (user, role))))

        def as_user(user: str) -> None:
            monkeypatch.setenv("BAKEOFF_DATABASE_URL", dsn.replace(f"//{_user(dsn)}@", f"//{names[user]}@"))

        words = ("toy_policy/2", "--report", report, "--by", "Grace")
        as_user("app")
        refused = bakeoff("approve", *words, "--note", "read it", code=3)
        assert "permission denied for table approvals" in refused.err
        assert "only the approver signs" in refused.err
        assert "permission denied for table rejections" in bakeoff("reject", *words, "--reason", "r", code=3).err
        start = ("experiment", "start", "toy_policy/2", "--spec", tmp_path / "test.toml")
        assert "has no valid approval" in bakeoff(*start, code=3).err
        as_user("grace")
        signed = bakeoff("approve", *words, "--note", "read it")
        assert "advisory" not in signed.err
        refused = bakeoff(*start, code=3)
        assert "permission denied for table policies" in refused.err
        assert "bakeoff db roles" in refused.err
        as_user("app")
        assert bakeoff(*start, "--json").json["status"] == "running"
        checks = {check["name"]: check for check in bakeoff("doctor", "--json", code=None).json["checks"]}
        assert checks["signatures"]["state"] == "fine"
    finally:
        _drop(dsn, [names[each] for each in ("app", "grace", "writer", "approver")])


def _user(dsn: str) -> str:
    return dsn.split("//")[1].split("@")[0]


def _drop(dsn: str, names: list[str]) -> None:
    """Roles belong to the whole server, which other tests use."""
    with psycopg.connect(dsn, autocommit=True) as admin:
        for name in names:
            if admin.execute("select 1 from pg_roles where rolname = %s", (name,)).fetchone():
                admin.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
                admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))
