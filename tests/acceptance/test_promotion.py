"""From a won test to everyone and back, as a person types it: real PostgreSQL, real MLflow, the toy task."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import stages
import winners
from bakeoff.experiments import store as experiments
from bakeoff.experiments.assign import assign
from bakeoff.inference.model import PolicySpec
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.promotion import replicas

GATE = """
name = "toy"
minimum_effective_units = 5
[metrics.right]
kind = "non_inferior"
margin = 0.3
[metrics.known_drink]
kind = "absolute"
minimum = 1.0
"""
SPEC = """
hypothesis = "superiority"
primary = "accepted"
stages = [1000]
dwell_hours = 24.0
last_dwell_hours = 24.0
minimum_units = 20
planned_units = 100
horizon_weeks = 8.0
"""
SHOPPERS = 600
EVERYONE = [f"shopper-{n:05d}" for n in range(SHOPPERS)]
ELSEWHERE = """
import sys
from datetime import datetime
import stages, toy
from bakeoff import bootstrap, plugins
from bakeoff.cli import main
plugins.load_task = lambda _: toy.ToyTask()
bootstrap.utc_now = stages.Clock(datetime.fromisoformat(sys.argv[1]))
main(sys.argv[2:])
"""
"""A command in a process of its own, at the shop's time."""
DIES = """
import os, signal
from bakeoff.promotion import registry
registry.follow = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
"""Before it: the process is killed as soon as the registry would be written."""
SIGNED = ("--by", "Grace", "--reason", "fewer refusals")


@pytest.fixture
def model(deps: Deps, tmp_path: Path) -> str:
    """Both versions have a registered model in MLflow."""
    name = winners.two_models(deps, tmp_path)
    with deps.db.transaction() as conn:
        for number, function in (("1", "stubborn"), ("2", "good")):
            spec = PolicySpec(
                task="toy", engine="python", prompt_version="1", function=f"toy:{function}", function_version="1"
            )
            policies.create_version(
                conn, stages.POLICY, spec, now=stages.START, mlflow_model_name=name, mlflow_model_version=number
            )
    return name


def serve(deps: Deps, clock: stages.Clock, experiment: str, bp: int, day: int) -> None:
    """A day of those whom an experiment takes."""
    inside = frozenset(unit for unit in EVERYONE if assign(experiment, unit, bp))
    stages.live(deps, clock, day=day, shoppers=SHOPPERS, only=inside)


def won(bakeoff: Any, deps: Deps, clock: stages.Clock, folder: Path) -> None:
    """Version 2 is judged, signed, tried, and has won."""
    (folder / "gate.toml").write_text(GATE)
    (folder / "test.toml").write_text(SPEC)
    bakeoff("policy", "adopt", "toy_policy/1", "--by", "Ada", "--reason", "it serves", "--last-resort", "toy_policy/1")
    stages.live(deps, clock, day=1, shoppers=SHOPPERS)
    clock.turn(days=4)
    bakeoff("dataset", "build", "--task", "toy")
    report = bakeoff("gate", "toy_policy/2", "--gate", folder / "gate.toml", "--json").json
    bakeoff("approve", "toy_policy/2", "--report", report["digest"], "--by", "Grace", "--note", "read it")
    start = ("experiment", "start", "toy_policy/2", "--spec", folder / "test.toml", "--name", "spring", "--json")
    test = bakeoff(*start).json["experiment_id"]
    for day in (10, 11, 12):
        serve(deps, clock, test, 1000, day)
        clock.turn(days=4)
        if bakeoff("experiment", "watch", "--task", "toy", "--json").json["status"] == "shipped":
            return
    pytest.fail("the better version did not win")


def states(said: Any, name: str) -> list[str]:
    return [check["state"] for check in said.json["checks"] if check["name"] == name]


@pytest.mark.usefixtures("toy_task")
def test_promote_with_a_holdback_watch_it_repair_an_alias_and_roll_back(
    bakeoff: Any, deps: Deps, clock: stages.Clock, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    won(bakeoff, deps, clock, tmp_path)

    # ---- the plan, and what is refused
    explained = bakeoff("promote", "toy_policy/2", "--explain")
    assert "let 5 % of the units keep toy_policy/1 for 4 weeks, beside 5 % that get toy_policy/2" in explained.out
    assert f"alias production -> {model}/2, tag stage=production" in explained.out
    assert "from 0 (none) to 0.2" in bakeoff("promote", "toy_policy/2", "--holdback", "0.3", code=2).err
    assert "needs a name and a reason" in bakeoff("promote", "toy_policy/2", code=2).err
    assert deps.models.aliases(model) == {}

    # ---- two people at once, each in a process of their own
    words = ["promote", "toy_policy/2", "--holdback", "0.2", "--json", "--reason", "it won", "--by"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    both = [
        subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE, clock.now.isoformat(), *words, who], stdout=subprocess.PIPE, text=True
        )
        for who in ("Ada", "Grace")
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(('"applied": true' in each) for each in said) == [False, True]
    with deps.db.transaction() as conn:
        (recorded,) = conn.execute("select signed_by from promotions").fetchall()
    assert all(f'"by": "{recorded["signed_by"]}"' in each for each in said), "the other is told who did"
    again = bakeoff("promote", "toy_policy/2", *SIGNED, "--json").json
    assert (again["applied"], again["already"], again["registry_moved"]) == (False, True, [])
    assert deps.models.aliases(model) == {"production": "2"}
    assert deps.models.tags(model, "1")["stage"] == "retired"

    # ---- the holdback is watched like a test, and is no test
    assert "but a holdback is" in bakeoff("experiment", "watch", "--task", "toy", code=2).err
    with deps.db.transaction() as conn:
        held = experiments.running_holdback(conn, stages.POLICY)
    assert held is not None
    shown = bakeoff("experiment", "status", "--task", "toy").out
    assert "holdback-2" in shown and "next: bakeoff experiment watch --holdback --task toy" in shown
    standing = bakeoff("status").out
    assert "held  20 % keep what toy_policy/2 replaced, 0 units so far; nobody looked yet" in standing
    serve(deps, clock, held.experiment_id, 2000, 20)
    clock.turn(days=4)
    watched = bakeoff("experiment", "watch", "--holdback", "--task", "toy", "--json").json
    assert (watched["kind"], watched["advice"]["verdict"], watched["status"]) == ("holdback", "hold", "running")
    assert watched["analysis"]["matured"]["control"] > 50
    (accepted,) = [each for each in watched["analysis"]["metrics"] if each["metric"] == "accepted"]
    assert accepted["estimate"] > 0.2, "the new version is still better than the one that few kept"
    assert "serves everyone but 20 % of the units, who keep toy_policy/1" in bakeoff(
        "experiment", "watch", "--holdback", "--task", "toy", "--dry-run"
    ).out  # fmt: skip
    assert "is no rollback" in bakeoff(
        "experiment", "stop", "--holdback", "--rollback", "--task", "toy", "--reason", "x", code=2
    ).err  # fmt: skip

    # ---- what was predicted, and what was measured
    ledger = bakeoff("ledger", "--policy", "toy_policy", "--json").json["policies"][0]
    assert {entry["source"] for entry in ledger["entries"]} == {"gate", "test", "holdback"}
    assert {(each["offline"], each["online"]) for each in ledger["predictors"]} == {("right", "accepted")}
    assert "too few pairs to say anything (1 of at least 5): right" in bakeoff("ledger").out
    assert "no policy 'tea'" in bakeoff("ledger", "--policy", "tea", code=2).err

    # ---- somebody moves the alias by hand
    assert states(bakeoff("doctor", "--json"), "MLflow") == ["fine"]
    deps.models.set_alias(model, "production", "1")
    deps.models.set_tag(model, "1", "stage", "production")
    found = bakeoff("doctor", "--json", code=3)
    assert states(found, "MLflow") == ["wrong", "wrong"]
    assert f"alias production of {model} is 1, our table says 2" in bakeoff("doctor", code=3).out
    assert states(bakeoff("doctor", "--repair", "--json"), "MLflow") == ["note", "note"]
    assert states(bakeoff("doctor", "--json"), "MLflow") == ["fine"]
    assert deps.models.aliases(model) == {"production": "2"}

    # ---- a process that serves, and one that died
    with deps.db.transaction() as conn:
        held_now = [each.policy_version_id for each in policies.versions(conn, stages.POLICY)]
        for pid, ago in ((7, 0), (8, 1)):
            replicas.report(
                conn, name="web-1", pid=pid, started_at=clock.now, loaded=held_now,
                seen_at=clock.now if not ago else stages.START,
            )  # fmt: skip
    assert states(bakeoff("doctor", "--json", code=3), "replicas") == ["fine", "wrong"]
    assert "web-1 (process 8) was not seen since 2025-01-06 08:00:00 UTC" in bakeoff("doctor", code=3).out
    assert states(bakeoff("doctor", "--repair", "--json"), "replicas") == ["fine", "note"]
    assert states(bakeoff("doctor", "--json"), "replicas") == ["fine"]
    with deps.db.transaction() as conn:
        replicas.report(
            conn, name="web-1", pid=7, started_at=clock.now, loaded=held_now[:1], seen_at=clock.now
        )  # fmt: skip
    lacking = bakeoff("doctor", code=3).out
    assert "web-1 (process 7) has not loaded toy_policy/2, which has traffic: the last resort answers there" in lacking
    with deps.db.transaction() as conn:
        replicas.forget(conn, name="web-1", pid=7)

    # ---- killed between the database and the registry; the same command again heals
    back = ["rollback", "toy_policy/1", "--by", "Ada", "--reason", "customers call"]
    killed = subprocess.run([sys.executable, "-c", DIES + ELSEWHERE, clock.now.isoformat(), *back], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert bakeoff("status", "--json").json["policies"][0]["incumbent"] == "toy_policy/1", "people are served"
    assert deps.models.aliases(model) == {"production": "2"}, "and the alias is behind"
    assert bakeoff(*back, "--json").json["already"] is True
    assert deps.models.aliases(model) == {"production": "1"}
    bakeoff("rollback", "toy_policy/2", "--by", "Grace", "--reason", "the tickets were about something else")
    assert deps.models.aliases(model) == {"production": "2"}

    # ---- back, in one command, while MLflow is away
    with monkeypatch.context() as outage:
        outage.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        back = bakeoff("rollback", "toy_policy/1", "--by", "Ada", "--reason", "customers call", "--json").json
        assert (back["applied"], back["registry"]) == (True, "follows later")
        assert "bakeoff doctor --repair lets it follow" in bakeoff("rollback", "toy_policy/1").out
    with deps.db.transaction() as conn:
        assert experiments.running(conn, stages.POLICY) == ()
    assert bakeoff("status", "--json").json["policies"][0]["incumbent"] == "toy_policy/1"
    assert deps.models.aliases(model) == {"production": "2"}
    assert set(states(bakeoff("doctor", "--repair", "--json"), "MLflow")) == {"note"}
    assert deps.models.aliases(model) == {"production": "1"}
    assert "serves everyone already, Ada at" in bakeoff("rollback", "toy_policy/1").out
    refused = bakeoff("promote", "toy_policy/2", *SIGNED, code=3).err
    assert "bakeoff rollback toy_policy/2 --explain is the way back" in refused

    _trace(bakeoff, deps, held.experiment_id, model)


def _trace(bakeoff: Any, deps: Deps, holdback: str, model: str) -> None:
    """Both ways, from whatever a person may have in hand."""
    with deps.db.transaction() as conn:
        rows = {
            name: conn.execute(statement).fetchone()
            for name, statement in {
                "outcome": "select event_id, decision_id from events where role = 'accept' limit 1",
                "replay": "select replay_id, digest from replays where status = 'done' limit 1",
                "report": "select digest from gate_reports",
                "version": "select policy_version_id from policy_versions where version = 2",
                "unit": "select unit_id from exposures x join experiments e using (experiment_id) "
                "where e.kind = 'holdback' and unit_id in (select unit_id from offline_replay_results) limit 1",
            }.items()
        }
    found = {name: row for name, row in rows.items() if row is not None}
    assert set(found) == set(rows)

    def traced(name: object) -> dict[str, Any]:
        body: dict[str, Any] = bakeoff("trace", name, "--json").json
        return body

    decision = traced(found["outcome"]["decision_id"])
    assert traced(found["outcome"]["event_id"])["decision_id"] == decision["decision_id"]
    assert traced(f"models:/{model}/2")["name"] == traced(found["version"]["policy_version_id"])["name"]
    version = traced("toy_policy/2")
    assert [each["status"] for each in version["holdbacks"]] == ["rolled_back"]
    assert traced(holdback)["kind"] == "holdback"
    report = traced(found["report"]["digest"])
    assert (report["policy_version"]["name"], report["approved_by"]) == ("toy_policy/2", "Grace")
    replay = traced(found["replay"]["digest"])
    assert replay == traced(found["replay"]["replay_id"])
    assert replay["gate_reports"][0]["digest"] == found["report"]["digest"]
    dataset = traced(report["dataset"]["dataset"])
    assert traced(dataset["mlflow_run_id"]) == dataset == traced(dataset["digest"])

    unit = traced(found["unit"]["unit_id"])
    assert unit["splits"]["toy"]["split"] == "test"
    assert unit["datasets"] == [
        {"dataset": dataset["dataset"], "digest": dataset["digest"], "uri": dataset["uri"],
         "mlflow_run_id": dataset["mlflow_run_id"], "rows": {"test": 1}}
    ]  # fmt: skip
    assert unit["learnt_by"] == [], "nothing was trained"
    assert {each["version"] for each in unit["replays"]} == {"toy_policy/1", "toy_policy/2"}
    assert [each["digest"] for each in unit["gate_reports"]] == [found["report"]["digest"]]
    assert "holdback" in {each["kind"] for each in unit["exposures"]}
    assert len(unit["decisions"]) >= 2 and unit["decisions"][0]["served_by"] == "toy_policy/1"
    assert "gate reports" in bakeoff("trace", found["unit"]["unit_id"]).out
    unknown = bakeoff("trace", "household-17", code=2).err
    assert "nothing here is called 'household-17'" in unknown and "an MLflow run id" in unknown
    assert "no policy version toy_policy/9" in bakeoff("trace", "toy_policy/9", code=2).err
