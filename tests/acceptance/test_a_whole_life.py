"""A whole life of a policy on the toy task, where decisions cost nothing: ship, keep and rollback are each forced
by making the candidate truly better, equal and worse."""

from dataclasses import replace
from datetime import timedelta

import pytest

import stages
import toy
from bakeoff import lifecycle
from bakeoff.errors import Refused
from bakeoff.experiments import store as experiments
from bakeoff.experiments.assign import assign
from bakeoff.experiments.model import Experiment, ExperimentSpec
from bakeoff.gates.model import Gate, Outcome
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion

TASK = toy.ToyTask()


def judged(deps: Deps, clock: stages.Clock, candidate: str, gate: Gate) -> tuple[PolicyVersion, str]:
    """Two days of log, a dataset, replays of both, a gate report that passes, a signature."""
    incumbent = stages.open_shop(deps)
    since = clock.now
    for day in range(2):
        stages.live(deps, clock, day=day, shoppers=400)
        clock.turn(days=1)
    dataset = lifecycle.build_dataset(deps, TASK, since=since, until=clock.now)
    version = stages.python_version(deps, candidate)
    ours, theirs = (lifecycle.replay(deps, TASK, v, dataset) for v in (version, incumbent))
    report = lifecycle.gate(deps, TASK, ours, theirs, dataset, gate)
    assert report.verdict is Outcome.PASS, report.missing_evidence()
    lifecycle.approve(deps, version.name, report_digest=report.digest, signed_by="Grace", note="read the table")
    return version, report.digest


def tried(
    deps: Deps, clock: stages.Clock, version: PolicyVersion, days: int, spec: ExperimentSpec = stages.TEST
) -> Experiment:
    """Runs the test until it ends or `days` are over."""
    experiment = lifecycle.start_experiment(deps, version, spec, name=f"try-{version.version}")
    # Shoppers whom the test can never take add no evidence; sparing them spares time.
    widest = spec.stages[-1]
    shoppers = [f"shopper-{n:05d}" for n in range(1400)]
    inside = frozenset(s for s in shoppers if assign(experiment.experiment_id, s, widest))
    for day in range(10, 10 + days):
        stages.live(deps, clock, day=day, shoppers=1400, only=inside)
        clock.turn(days=4)
        snapshot = lifecycle.monitor(deps, TASK, experiment, now=clock.now)
        experiment = lifecycle.act_on(deps, experiment, snapshot, now=clock.now)
        if experiment.status != "running":
            return experiment
    return experiment


def test_a_better_policy_ships_and_can_be_rolled_back(deps: Deps, clock: stages.Clock) -> None:
    version, digest = judged(deps, clock, "good", stages.GATE)
    with deps.db.transaction() as conn:
        approval = policies.live_approval(conn, version.policy_version_id)
        assert approval is not None
        assert approval.report_digest == digest
        old = policies.version_by_id(conn, experiments.incumbent(conn, stages.POLICY))
    experiment = tried(deps, clock, version, days=4)
    assert experiment.status == "shipped", experiment.reason
    plan = lifecycle.plan(deps, experiment)
    for _ in range(2):  # a second run, as after a crash, changes nothing
        lifecycle.promote(deps, plan, signed_by="Grace", reason="it won")
    with deps.db.transaction() as conn:
        assert experiments.incumbent(conn, stages.POLICY) == version.policy_version_id
        assert [v.status for v in policies.versions(conn, stages.POLICY)] == ["retired", "production"]
        assert conn.execute(
            "select max(treated_bp) as bp, min(treated_bp) as first from phases join experiments "
            "using (experiment_id) where kind = 'test'"
        ).fetchone() == {"bp": 2500, "first": 1000}
    served = lifecycle.decide(
        deps, TASK, stages.POLICY, key="later", unit_id="somebody", request={"likes": "coffee", "day": 99},
        at=clock.now,
    )  # fmt: skip
    assert served.answer == {"drink": "coffee"}
    back = lifecycle.plan_back(deps, old.name)
    lifecycle.promote(deps, back, signed_by="Ada", reason="customers call")
    with deps.db.transaction() as conn:
        assert experiments.incumbent(conn, stages.POLICY) == old.policy_version_id


def test_a_policy_that_is_no_better_does_not_ship(deps: Deps, clock: stages.Clock) -> None:
    version, _ = judged(deps, clock, "equal", stages.lenient())
    experiment = tried(deps, clock, version, days=4, spec=replace(stages.TEST, stages=(1000,), horizon_weeks=2))
    assert experiment.status == "kept"
    assert "without a proven win" in str(experiment.reason)
    with pytest.raises(Refused, match="needs 'ship'"):
        lifecycle.plan(deps, experiment)


def test_a_worse_policy_is_rolled_back_and_its_units_go_back_at_once(deps: Deps, clock: stages.Clock) -> None:
    version, _ = judged(deps, clock, "contrary", stages.lenient())
    experiment = tried(deps, clock, version, days=6)
    assert experiment.status == "rolled_back"
    assert "accepted is harmed" in str(experiment.reason)
    with deps.db.transaction() as conn:
        treated = [
            e.unit_id for e in experiments.exposures(conn, experiment.experiment_id)
            if e.policy_version_id == version.policy_version_id
        ]  # fmt: skip
    request = {"likes": "coffee", "day": 500}
    served = lifecycle.decide(deps, TASK, stages.POLICY, key="after", unit_id=treated[0], request=request, at=clock.now)
    assert served.context["policy_version_id"] != version.policy_version_id


def test_every_event_names_its_experiment_variant_and_version_and_traffic_followed_approval(
    deps: Deps, clock: stages.Clock
) -> None:
    version, _ = judged(deps, clock, "good", stages.GATE)
    tried(deps, clock, version, days=1)
    with deps.db.transaction() as conn:
        nameless = conn.execute(
            "select count(*) as n from events where experiment_id is null or variant_id is null "
            "or policy_version_id is null"
        ).fetchone()
        early = conn.execute(
            "select count(*) as n from events e left join approvals a on a.policy_version_id = e.policy_version_id "
            "and a.signed_at <= e.occurred_at where a.approval_id is null"
        ).fetchone()
        total = conn.execute("select count(*) as n from events").fetchone()
    assert total is not None
    assert total["n"] > 1000
    assert nameless == early == {"n": 0}
    assert clock.now - stages.START > timedelta(days=4)
