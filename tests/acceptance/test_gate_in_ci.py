"""examples/gate-in-ci: the commands of its workflow run as a CI job runs them, on the planner and a real PostgreSQL."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import rows
import stages
from bakeoff import lifecycle
from bakeoff.adapters import embedded
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Split
from bakeoff.datasets.publish import publish
from bakeoff.events.canonical import canonical_bytes
from bakeoff.fingerprint import digest
from bakeoff.inference.model import PolicySpec
from bakeoff.lifecycle import Deps
from bakeoff.task import PythonAnswer, Request
from planner.policies import explorer
from planner.task import PlannerTask
from planner.town.world import Town
from planner_town import live

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "gate-in-ci"
SHARES = {Split.TRAIN: 2500, Split.VALIDATION: 1500, Split.TEST: 6000}


class Job(NamedTuple):
    """What a CI job left behind."""

    code: int
    summary: str
    log: str


class Runner:
    """A repository with the example in it, and the part of GitHub's runner that the workflow asks for."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder / "repository"
        shutil.copytree(EXAMPLE, self.folder)
        binaries = folder / "bin"
        binaries.mkdir()
        program = binaries / "bakeoff"
        program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from bakeoff.cli import main; main()' \"$@\"\n")
        program.chmod(0o755)
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("BAKEOFF_", "MLFLOW_"))},
            **env,
            "PATH": f"{binaries}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{self.folder}:{ROOT / 'src'}",
            "OMP_NUM_THREADS": "1",
        }
        self.sh("git init -q -b main && git config user.email ci@example.org && git config user.name ci")
        self.commit()

    def sh(self, command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """As the runner starts a step's script: ``bash -e``."""
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command], cwd=self.folder, text=True,
            capture_output=True, timeout=300, check=False, env={**self.env, **env},
        )  # fmt: skip

    def commit(self) -> None:
        assert self.sh("git add -A && git commit -qm change").returncode == 0

    def prompt(self, text: str) -> None:
        """A pull request that changes the prompt."""
        (self.folder / "app" / "prompt.txt").write_text(text)
        self.commit()

    def job(self) -> Job:
        """Every step with commands, but the installation; a failing step ends the job."""
        job = yaml.safe_load((self.folder / "gate.yml").read_text())["jobs"]["gate"]
        outputs: dict[str, str] = {}
        summary, log = self.folder.parent / "summary.md", ""
        summary.write_text("")
        for step in job["steps"]:
            if "run" not in step or step["name"] == "Install":
                continue
            output = self.folder.parent / "output"
            output.write_text("")
            own = {name: _filled(value, outputs) for name, value in step.get("env", {}).items()}
            ran = self.sh(
                step["run"], **own, TASK=job["env"]["TASK"], GITHUB_OUTPUT=str(output), GITHUB_STEP_SUMMARY=str(summary)
            )
            log += ran.stdout + ran.stderr
            if ran.returncode:
                return Job(ran.returncode, summary.read_text(), log)
            if "id" in step:
                outputs |= {
                    f"steps.{step['id']}.outputs.{name}": value
                    for name, value in (line.split("=", 1) for line in output.read_text().splitlines())
                }
        return Job(0, summary.read_text(), log)


def _filled(text: str, outputs: Mapping[str, str]) -> str:
    for name, value in outputs.items():
        text = text.replace("${{ " + name + " }}", value)
    assert "${{" not in text, text
    return text


def explored(town: Town, unit: str, week: int, request: Request) -> PythonAnswer:
    return explorer(request, seed=9)


@pytest.fixture
def production() -> str:
    """The function that serves."""
    return "planner.policies:explorer"


@pytest.fixture
def runner(deps: Deps, dsn: str, mlflow_uri: str, tmp_path: Path, clock: stages.Clock, production: str) -> Runner:
    """Something serves; 260 households were shown random plans for a week."""
    clock.now = rows.at(30)
    task = PlannerTask()
    log = [replace(each, request_digest=digest(each.request)) for each in live(260, 1, explored, seed=3)]
    log.sort(key=lambda each: (each.decision.occurred_at, str(each.decision.decision_id)))
    moments = [each.decision.occurred_at for each in log]
    stored = [(each, canonical_bytes(each.request)) for each in log]
    written = publish(
        deps.datasets_root, task, stored, since=min(moments), until=max(moments).replace(hour=23), shares=SHARES
    )
    with deps.db.transaction() as conn:
        datasets.insert(conn, written, mlflow_run_id=None, created_at=clock.now)
    spec = PolicySpec(task="planner", engine="python", prompt_version="1", function=production, function_version="1")
    incumbent = lifecycle.create_policy(deps, "planner_policy", spec)
    lifecycle.adopt(deps, incumbent, signed_by="Ada", reason="it serves", last_resort=incumbent)
    env = {
        "BAKEOFF_DATABASE_URL": dsn,
        "BAKEOFF_DATASETS_ROOT": deps.datasets_root,
        "BAKEOFF_HOME": str(tmp_path / "home"),
        "MLFLOW_TRACKING_URI": mlflow_uri,
    }
    return Runner(tmp_path, env)


def test_a_better_prompt_passes_and_looks_are_counted(runner: Runner) -> None:
    runner.prompt("You plan dinners for a household's week. Choose what this household likes.\n")
    better = runner.job()
    assert better.code == 0, better.summary + better.log
    assert better.summary.startswith("## ✅ PASS: planner_policy/2 against planner_policy/1")
    assert "| ✅ PASS | plan_alignment_score |" in better.summary
    assert "attempt 1." in better.summary
    again = runner.job()
    assert (again.code, again.summary) == (0, better.summary), "the same commit again is no other look"
    runner.prompt("You plan dinners for a household's week. Choose what most people like.\n")
    other = runner.job()
    assert "planner_policy/3 against planner_policy/1" in other.summary
    assert "attempt 2." in other.summary
    assert "judged 1 time before" in other.summary


@pytest.mark.parametrize("production", ["planner.policies:heuristic"])
def test_a_worse_prompt_fails_the_job(runner: Runner) -> None:
    runner.prompt("You plan dinners for a household's week. Surprise them.\n")
    worse = runner.job()
    assert worse.code == 3, worse.log
    assert worse.summary.startswith("## ❌ FAIL: planner_policy/2 against planner_policy/1")
    assert "| ❌ FAIL | predicted_edits |" in worse.summary
    assert "The stricter tests (segments, stress requests) wait" in worse.summary


def test_what_is_wrong_ends_the_job_without_a_verdict(runner: Runner, postgres_server: str) -> None:
    (runner.folder / "app" / "policies.py").write_text("def plan(request, *, seed)\n")
    runner.commit()
    job = runner.job()
    assert job.code == 1, "a file that Python cannot read is no wrong use of bakeoff"
    runner.sh("git checkout -q HEAD~1 -- app")
    runner.commit()
    runner.env["BAKEOFF_DATABASE_URL"] = embedded.ensure_database(postgres_server, "ci_empty")
    job = runner.job()
    assert (job.code, job.summary) == (2, "")
    assert "bakeoff db migrate" in job.log


def test_the_workflow_keeps_secrets_from_other_people_s_code(runner: Runner) -> None:
    """No run step splices an expression into its script, forks are left out, and the token may only read."""
    workflow: dict[Any, Any] = yaml.safe_load((EXAMPLE / "gate.yml").read_text())
    job = workflow["jobs"]["gate"]
    assert workflow["permissions"] == {"contents": "read"}
    assert "head.repo.full_name == github.repository" in job["if"]
    assert not any("${{" in step["run"] for step in job["steps"] if "run" in step)
    assert "pull_request_target" not in workflow[True]
