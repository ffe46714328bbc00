"""The loop as a person types it: every arrow is one command, on a real PostgreSQL and MLflow, with the toy task."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

import stages
import teachable
import tiny
from bakeoff import plugins
from bakeoff.adapters import embedded
from bakeoff.cli.training import dataset_at
from bakeoff.experiments import store as experiments
from bakeoff.experiments.assign import assign
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
last_dwell_hours = 24.0
minimum_units = 20
planned_units = 100
horizon_weeks = 8.0
[[guardrails]]
metric = "intervention"
margin = 0.02
direction = "lower"
kind = "ramp"
"""
SHOPPERS = 600


@pytest.fixture(autouse=True)
def specs(tmp_path: Path) -> None:
    """What a gate and a test are asked for, in files."""
    (tmp_path / "gate.toml").write_text(GATE)
    (tmp_path / "test.toml").write_text(TEST)


def opened(bakeoff: Any, deps: Deps, clock: stages.Clock) -> None:
    """A shop with an incumbent, a day of log and a dataset."""
    for function in ("toy:stubborn", "toy:good"):
        bakeoff("policy", "create", "--task", "toy", "--python", function)
    bakeoff("policy", "adopt", "toy_policy/1", "--by", "Ada", "--reason", "it serves", "--last-resort", "toy_policy/1")
    stages.live(deps, clock, day=1, shoppers=200)
    clock.turn(days=4)
    bakeoff("dataset", "build", "--task", "toy")


@pytest.mark.usefixtures("toy_task")
def test_the_whole_loop_is_typed_and_status_knows_what_comes_next(
    bakeoff: Any, deps: Deps, clock: stages.Clock, tmp_path: Path
) -> None:
    def following() -> str:
        return str(bakeoff("status", "--json").json["policies"][0]["next"])

    assert "policy adopt --external" in bakeoff("status", "--json").json["next"]
    assert "policy create" in bakeoff("status").out
    bakeoff("policy", "create", "--task", "toy", "--python", "toy:stubborn")
    assert following().startswith("bakeoff policy adopt toy_policy/1")
    opened(bakeoff, deps, clock)
    again = [bakeoff("dataset", "build", "--task", "toy", "--json").json for _ in range(2)]
    assert again[0] == again[1]
    listed = bakeoff("dataset", "list", "--json").json["datasets"]
    assert [each["digest"] for each in listed] == [again[0]["digest"]]
    assert "# Dataset toy" in bakeoff("dataset", "show", listed[0]["digest"][:15], "--task", "toy").out
    assert following() == "bakeoff gate toy_policy/2"

    assert bakeoff("replay", "toy_policy/2", "--json").json["deterministic"] is True
    report = bakeoff("gate", "toy_policy/2", "--gate", tmp_path / "gate.toml", "--json").json
    assert report["verdict"] == "PASS"
    assert f"approve toy_policy/2 --report {report['digest']}" in following()
    bakeoff("approve", "toy_policy/2", "--report", report["digest"], "--by", "Grace", "--note", "read it")
    assert following().startswith("bakeoff experiment start toy_policy/2")

    started = bakeoff("experiment", "start", "toy_policy/2", "--spec", tmp_path / "test.toml", "--json").json
    assert (started["treated_share"], started["status"]) == (0.1, "running")
    assert following() == "bakeoff experiment watch --task toy"
    everyone = [f"shopper-{n:05d}" for n in range(SHOPPERS)]
    inside = frozenset(unit for unit in everyone if assign(started["experiment_id"], unit, 1000))
    stages.live(deps, clock, day=10, shoppers=SHOPPERS, only=inside)
    clock.turn(days=4)
    dry = bakeoff("experiment", "watch", "--task", "toy", "--dry-run", "--json").json
    assert (dry["status"], dry["advice"]["verdict"]) == ("running", "ship"), dry["advice"]
    with deps.db.transaction() as conn:
        assert experiments.snapshots(conn, started["experiment_id"]) == []
    assert bakeoff("experiment", "watch", "--task", "toy", "--json").json["status"] == "shipped"
    shown = bakeoff("experiment", "status", "--task", "toy", "--json").json["experiments"][-1]
    assert shown["advice"] == dry["advice"]
    assert following() == "bakeoff promote toy_policy/2 --explain"

    explained = bakeoff("promote", "toy_policy/2", "--explain", "--json").json
    assert explained["applied"] is False
    assert following() == "bakeoff promote toy_policy/2 --explain"
    bakeoff("promote", "toy_policy/2", "--by", "Grace", "--reason", "it won")
    assert bakeoff("promote", "toy_policy/2", "--by", "Grace", "--reason", "again", "--json").json["already"] is True
    assert following() == "bakeoff train --dataset 2025-01-10 --task toy"
    assert bakeoff("status", "--json").json["policies"][0]["incumbent"] == "toy_policy/2"
    assert bakeoff("policy", "last-resort", "toy_policy/2", "--json").json["last_resort"] == "toy_policy/2"
    rows = bakeoff("policy", "list", "--json").json["policy_versions"]
    assert {row["name"]: row["status"] for row in rows} == {"toy_policy/1": "retired", "toy_policy/2": "production"}
    assert "toy:good" in bakeoff("policy", "show", "toy_policy/2").out

    with deps.db.transaction() as conn:
        row = conn.execute("select decision_id from events where role = 'accept' order by occurred_at").fetchone()
    assert row is not None
    traced = bakeoff("trace", row["decision_id"], "--json").json
    assert traced["policy_version"]["name"] == "toy_policy/1"
    assert traced["outcomes"][0]["event_type"] == "accepted"
    assert traced["learnt_in"][0]["digest"] == listed[0]["digest"]
    version = bakeoff("trace", "toy_policy/2", "--json").json
    assert version["approval"]["report_digest"] == report["digest"]
    assert version["experiments"][0]["status"] == "shipped"
    assert "toy_policy/2" in bakeoff("trace", "toy_policy/2").out

    bakeoff("rollback", "toy_policy/1", "--by", "Ada", "--reason", "customers call")
    assert bakeoff("status", "--json").json["policies"][0]["incumbent"] == "toy_policy/1"


@pytest.mark.usefixtures("bakeoff")
def test_looking_imports_neither_torch_nor_mlflow() -> None:
    script = """
import sys
from bakeoff.cli import cli, run_command
typed = (["status"], ["policy", "list"], ["dataset", "list"])
codes = [run_command(cli, name="bakeoff", argv=words) for words in typed]
print(codes, sorted({"torch", "mlflow", "transformers", "peft"} & set(sys.modules)), file=sys.stderr)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stderr.splitlines()[-1] == "[0, 0, 0] []"


def test_train_makes_a_registered_model_and_a_policy_version(
    bakeoff: Any, deps: Deps, clock: stages.Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a model of a few thousand weights; the demo's test does it with a real one."""
    monkeypatch.setattr(plugins, "load_task", lambda _: teachable.Teachable())
    monkeypatch.setenv("BAKEOFF_THREADS", "1")
    base = tiny.write_model(tmp_path / "tiny")
    opened(bakeoff, deps, clock)
    words = ("train", "--task", "toy", "--base", base, "--epochs", "2", "--lora-layers", "all", "--max-rows", "16")
    planned = bakeoff(*words, "--dtype", "float32", "--plan", "--json").json
    assert (planned["epochs"], planned["lora_layers"], planned["max_rows"]) == (2, None, 16)
    made = bakeoff(*words, "--dtype", "float32", "--json").json
    assert made["policy_version"] == "toy_policy/3"
    assert made["model"].startswith("models:/toy_model/")
    assert {"training_loss", "validation_loss", "eval_right"} <= set(made["metrics"])
    again = bakeoff(*words, "--dtype", "float32", "--json").json
    assert again == made | {"reused": True}
    version = bakeoff("trace", made["model"], "--json").json
    assert (version["name"], version["dataset_digest"]) == ("toy_policy/3", planned["dataset_digest"])
    learnt = bakeoff("trace", planned["dataset_digest"], "--json").json["learnt_by"]
    assert [each["name"] for each in learnt] == ["toy_policy/3"]
    # As the guide says it: a folder of another machine is found below the dataset root.
    found = dataset_at(deps, f"/datasets/toy/{made['dataset_version']}")
    assert found.digest == planned["dataset_digest"]


def test_doctor_finds_database_migrations_and_registry_in_order(bakeoff: Any) -> None:
    checks = {check["name"]: check for check in bakeoff("doctor", "--json", code=None).json["checks"]}
    names = ("database", "migrations", "MLflow", "settings", "datasets")
    assert {checks[name]["state"] for name in names} == {"fine"}
    assert "BAKEOFF_DATABASE_URL" in checks["settings"]["says"]
    assert "torch" in checks["versions"]["says"]


@pytest.mark.usefixtures("toy_task")
def test_a_gate_that_does_not_pass_ends_with_3_and_opens_no_way(
    bakeoff: Any, deps: Deps, clock: stages.Clock, tmp_path: Path
) -> None:
    opened(bakeoff, deps, clock)
    bakeoff("policy", "create", "--task", "toy", "--python", "toy:contrary")
    said = bakeoff("gate", "toy_policy/3", "--gate", tmp_path / "gate.toml", code=3)
    assert "verdict: FAIL" in said.out
    digest = said.out.split("report ")[1].split()[0]
    refused = bakeoff("approve", "toy_policy/3", "--report", digest, "--by", "G", "--note", "n", code=3)
    assert "only PASS can be approved" in refused.err
    refused = bakeoff("experiment", "start", "toy_policy/3", "--spec", tmp_path / "test.toml", code=3)
    assert "no valid approval" in refused.err
    assert "never tried" in bakeoff("promote", "toy_policy/3", "--explain", code=3).err
    # `good` passes and is tried; a second test at the same time is refused, a stopped one frees the way.
    report = bakeoff("gate", "toy_policy/2", "--gate", tmp_path / "gate.toml", "--json").json
    bakeoff("approve", "toy_policy/2", "--report", report["digest"], "--by", "G", "--note", "n")
    start = ("experiment", "start", "toy_policy/2", "--spec", tmp_path / "test.toml")
    bakeoff(*start, "--name", "one")
    assert "one test at a time" in bakeoff(*start, "--name", "two", code=3).err
    bakeoff("experiment", "stop", "--task", "toy", "--reason", "the kettle broke")
    assert "has ended" in bakeoff(*start, "--name", "one", code=3).err
    bakeoff(*start, "--name", "two")


@pytest.mark.usefixtures("toy_task")
def test_wrong_words_end_with_2_and_say_what_to_type(bakeoff: Any) -> None:
    bakeoff("policy", "create", "--task", "toy", "--python", "toy:good")
    assert "known: toy_policy/1" in bakeoff("policy", "show", "toy_policy/9", code=2).err
    assert "no policy 'tea'" in bakeoff("gate", "tea/1", code=2).err
    assert "bakeoff dataset build" in bakeoff("replay", "toy_policy/1", code=2).err
    assert "holds no event" in bakeoff("dataset", "build", "--task", "toy", code=2).err
    assert "cannot be loaded" in bakeoff("policy", "create", "--task", "toy", "--python", "toy:bad", code=2).err
    assert "--base, --endpoint and --python" in bakeoff("policy", "create", "--task", "toy", code=2).err
    assert "no test of toy_policy is running" in bakeoff("experiment", "watch", "--task", "toy", code=2).err
    assert "bakeoff policy list" in bakeoff("trace", "whatever", code=2).err
    assert "no moment" in bakeoff("dataset", "build", "--since", "yesterday", code=2).err


def test_an_unknown_task_is_named_with_the_installed_ones(bakeoff: Any) -> None:
    assert "installed: planner" in bakeoff("dataset", "build", "--task", "nope", code=2).err


def test_what_is_away_ends_with_4(bakeoff: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEOFF_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    assert "BAKEOFF_DATABASE_URL" in bakeoff("policy", "list", code=4).err
    assert bakeoff("doctor", "--json", code=4).json["checks"][-1]["state"] == "unreachable"


def test_an_empty_database_asks_for_its_migrations(
    bakeoff: Any, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAKEOFF_DATABASE_URL", embedded.ensure_database(postgres_server, "empty"))
    assert "bakeoff db migrate" in bakeoff("policy", "list", code=2).err
    assert "bakeoff db migrate" in bakeoff("doctor", code=3).out
    assert bakeoff("db", "migrate", "--json").json["applied"][0].startswith("bakeoff/0001")
    assert "nothing to do" in bakeoff("db", "migrate").out
    assert bakeoff("policy", "list", "--json").json == {"policy_versions": []}
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute("drop database empty with (force)")
