"""The life of a test as a person types it, on a real PostgreSQL, with the toy task."""

from pathlib import Path
from typing import Any

import pytest

import stages
from bakeoff.cli import experimenting
from bakeoff.experiments import store as experiments
from bakeoff.experiments.assign import assign
from bakeoff.lifecycle import Deps

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
stages = [1000, 2500, 5000]
dwell_hours = 72.0
minimum_units = 20
planned_units = 100
horizon_weeks = 8.0
[[guardrails]]
metric = "intervention"
margin = 0.02
direction = "lower"
kind = "ramp"
"""
SHOPPERS = 400
EVERYONE = [f"shopper-{n:05d}" for n in range(SHOPPERS)]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "gate.toml").write_text(GATE)
    path = tmp_path / "test.toml"
    path.write_text(SPEC)
    return path


def approved(bakeoff: Any, deps: Deps, clock: stages.Clock, folder: Path) -> None:
    """A shop with an incumbent, a day of log, and a version 2 that may meet people."""
    for function in ("toy:stubborn", "toy:good"):
        bakeoff("policy", "create", "--task", "toy", "--python", function)
    bakeoff("policy", "adopt", "toy_policy/1", "--by", "Ada", "--reason", "it serves", "--last-resort", "toy_policy/1")
    stages.live(deps, clock, day=1, shoppers=SHOPPERS)
    clock.turn(days=4)
    bakeoff("dataset", "build", "--task", "toy")
    report = bakeoff("gate", "toy_policy/2", "--gate", folder / "gate.toml", "--json").json
    bakeoff("approve", "toy_policy/2", "--report", report["digest"], "--by", "Grace", "--note", "read it")


def serve(deps: Deps, clock: stages.Clock, test: str, day: int) -> None:
    """A day of those whom the test can ever take."""
    inside = frozenset(unit for unit in EVERYONE if assign(test, unit, 2500))
    stages.live(deps, clock, day=day, shoppers=SHOPPERS, only=inside)


@pytest.mark.usefixtures("toy_task")
def test_a_test_is_planned_created_started_widened_by_hand_and_rolled_back(
    bakeoff: Any, deps: Deps, clock: stages.Clock, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(bakeoff, deps, clock, spec.parent)

    planned = bakeoff("experiment", "plan", "toy_policy/2", "--spec", spec, "--weeks", 4, "--json").json
    assert (planned["testable"], planned["start_bp"], planned["history"]["units"]) == (True, 500, SHOPPERS)
    assert [each["metric"] for each in planned["metrics"]] == ["accepted", "intervention"]
    said = bakeoff("experiment", "plan", "toy_policy/2", "--spec", spec, "--weeks", 4).out
    assert "start at 5 %" in said and "burn-in" not in said
    spec.write_text(SPEC.replace("minimum_units = 20", "minimum_units = 60"))
    assert "not testable: 10 % of 400 units give 40 per arm" in bakeoff(
        "experiment", "plan", "toy_policy/2", "--spec", spec
    ).out  # fmt: skip

    spec.write_text(SPEC.replace("intervention", "interventions"))
    wrong = bakeoff("experiment", "create", "toy_policy/2", "--spec", spec, code=2).err
    assert "guardrails.0.metric = 'interventions' is not measured, did you mean 'intervention'?" in wrong
    spec.write_text(SPEC)
    made = bakeoff("experiment", "create", "toy_policy/2", "--spec", spec, "--name", "spring", "--json").json
    assert (made["status"], made["phases"], made["units"]) == ("created", [], 0)
    again = bakeoff("experiment", "create", "toy_policy/2", "--spec", spec, "--name", "spring", "--json").json
    assert again == made
    assert "was created and has no traffic yet" not in bakeoff("status").out
    assert "next: bakeoff experiment start toy_policy/2 --name spring" in bakeoff(
        "experiment", "status", "--task", "toy"
    ).out  # fmt: skip
    spec.write_text(SPEC.replace("minimum_units = 20", "minimum_units = 21"))
    frozen = bakeoff("experiment", "start", "toy_policy/2", "--spec", spec, "--name", "spring", code=2).err
    assert "exists with another spec" in frozen
    assert "no test 'summer'" in bakeoff("experiment", "start", "toy_policy/2", "--name", "summer", code=2).err
    assert bakeoff("promote", "toy_policy/2", "--explain", code=3).err.startswith("error: toy_policy/2 was never tried")

    forced = bakeoff(
        "experiment", "force", "ada", "--task", "toy", "--variant", "treated", "--by", "Ada", "--json"
    ).json
    assert forced["unit_id"] == "ada"
    assert "stays there" in bakeoff(
        "experiment", "force", "ada", "--task", "toy", "--variant", "control", "--by", "Eve", code=2
    ).err  # fmt: skip
    started = bakeoff("experiment", "start", "toy_policy/2", "--name", "spring", "--json").json
    assert (started["treated_share"], started["experiment_id"]) == (0.1, made["experiment_id"])
    test = started["experiment_id"]

    serve(deps, clock, test, 10)
    clock.turn(hours=1)
    # Acceptance is known after three days only, so a hold may be set aside, by name and with a reason.
    held = bakeoff("experiment", "ramp", "--task", "toy", code=3).err
    assert "the evidence says hold: accepted: nothing has matured yet" in held
    clock.turn(seconds=1)
    waive = ("experiment", "ramp", "--task", "toy", "--waive", "dwell", "--waive", "minimum_units")
    assert "needs a name and a reason" in bakeoff(*waive, code=2).err
    assert "'harm' is not one of 'dwell', 'minimum_units'" in bakeoff(
        "experiment", "ramp", "--task", "toy", "--waive", "harm", code=2
    ).err  # fmt: skip
    signed = ("--by", "Grace", "--reason", "the sale ends on Friday")
    widened = bakeoff(*waive, *signed, "--json").json
    assert (widened["phase"], widened["treated_share"]) == (2, 0.25)
    assert widened["advice"]["waived"] == ["dwell", "minimum_units"]
    assert [(w["rule"], w["by"], w["phase"]) for w in widened["waivers"]] == [
        ("dwell", "Grace", 1), ("minimum_units", "Grace", 1),
    ]  # fmt: skip
    assert "the sale ends on Friday" in bakeoff("experiment", "status", "--task", "toy").out

    serve(deps, clock, test, 11)
    clock.turn(hours=1)
    assert "the evidence says hold" in bakeoff("experiment", "ramp", "--task", "toy", code=3).err, (
        "one phase, one waiver"
    )

    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.turn(seconds=seconds)

    monkeypatch.setattr(experimenting.time, "sleep", sleep)
    assert "add --every" in bakeoff("experiment", "watch", "--task", "toy", "--times", 2, code=2).err
    assert "no duration" in bakeoff("experiment", "watch", "--task", "toy", "--every", "soon", code=2).err
    watched = bakeoff("experiment", "watch", "--task", "toy", "--every", "12h", "--times", 3, "--json")
    assert slept == [43200.0] * 2
    assert [look["verdict"] for look in watched.json["looks"]] == ["hold"] * 3
    assert "look 1 of 3: hold" in watched.err and "Ctrl-C ends the watch" in watched.err
    assert watched.json["analysis"]["forced"] == 0, "the colleague has not come by yet"
    once = bakeoff("experiment", "watch", "--task", "toy", "--dry-run", "--json").json
    afresh = bakeoff("experiment", "watch", "--task", "toy", "--dry-run", "--afresh", "--json").json
    assert once == afresh

    stopped = bakeoff(
        "experiment", "stop", "--task", "toy", "--rollback", "--reason", "support tickets doubled", "--json"
    ).json
    assert (stopped["status"], stopped["reason"]) == ("rolled_back", "support tickets doubled")
    refused = bakeoff("experiment", "start", "toy_policy/2", "--name", "spring", code=3).err
    assert "it was rolled_back" in refused and "deals the units anew" in refused
    spec.write_text(SPEC)
    again = bakeoff("experiment", "start", "toy_policy/2", "--spec", spec, "--name", "summer", "--json").json
    assert again["experiment_id"] != test
    serve(deps, clock, again["experiment_id"], 12)
    clock.turn(days=4)
    seen = bakeoff("experiment", "watch", "--task", "toy", "--dry-run", "--json").json
    assert seen["analysis"]["adjustment"] == "test spring was rolled back in the weeks before"


@pytest.mark.usefixtures("toy_task")
def test_a_spec_may_ask_for_a_person_at_every_stage_and_a_watch_ends_with_the_test(
    bakeoff: Any, deps: Deps, clock: stages.Clock, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(bakeoff, deps, clock, spec.parent)
    careful = SPEC.replace("stages = [1000, 2500, 5000]", 'stages = [1000, 2500]\nwidened_by = "person"')
    spec.write_text(careful.replace("dwell_hours = 72.0", "dwell_hours = 72.0\nlast_dwell_hours = 24.0"))
    test = bakeoff("experiment", "start", "toy_policy/2", "--spec", spec, "--json").json["experiment_id"]
    serve(deps, clock, test, 10)
    clock.turn(days=4)
    seen = bakeoff("experiment", "watch", "--task", "toy")
    assert "advice: advance" in seen.out and "next: bakeoff experiment ramp --task toy" in seen.out
    assert "meets 10% of the units (phase 1)" in seen.out
    clock.turn(minutes=1)
    assert bakeoff("experiment", "ramp", "--task", "toy", "--json").json["treated_share"] == 0.25

    clock.turn(minutes=1)

    def sleep(seconds: float) -> None:
        serve(deps, clock, test, 11)
        clock.turn(days=4)

    monkeypatch.setattr(experimenting.time, "sleep", sleep)
    watched = bakeoff("experiment", "watch", "--task", "toy", "--every", "1d", "--json").json
    assert [look["verdict"] for look in watched["looks"]] == ["hold", "ship"]
    assert watched["status"] == "shipped"
    with deps.db.transaction() as conn:
        assert len(experiments.snapshots(conn, test)) == 4, "every look that was no dry run is on record"
