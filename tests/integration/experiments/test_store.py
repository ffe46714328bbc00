"""Experiments, variants, phases and evidence in a real PostgreSQL: made once, read back as they were."""

from dataclasses import replace

import pytest

import rows
from bakeoff.adapters.postgres import Connection
from bakeoff.errors import UsageError
from bakeoff.experiments import store
from bakeoff.experiments.analyze import analyze
from bakeoff.experiments.model import Advice, Analysis, Budget, ExperimentSpec, Exposure, Guardrail
from bakeoff.task import Metric
from cohorts import cohort

SPEC = ExperimentSpec(
    hypothesis="superiority", primary="accepted", minimum_effect=0.02, stages=(500, 1000, 2500),
    guardrails=(Guardrail(metric="edits", margin=0.1, direction="lower"),),
    budgets=(Budget(metric="latency_s", maximum=1.0),), horizon_weeks=4,
)  # fmt: skip
ADVICE = Advice(verdict="hold", reason="too early", next_treated_bp=500, missing_units=80)


def analysis() -> Analysis:
    metrics = [
        Metric(name=name, unit="share", direction=direction, low=0.0, high=1.0, meaning="m")  # type: ignore[arg-type]
        for name, direction in (("accepted", "higher"), ("edits", "lower"), ("latency_s", "lower"))
    ]
    return analyze(SPEC, metrics, cohort([]), looked_at=rows.at(2))


def make(conn: Connection, name: str = "one", spec: ExperimentSpec | None = SPEC) -> store.Experiment:
    return store.insert_experiment(conn, policy_id=rows.POLICY, kind="test", name=name, spec=spec, now=rows.START)


@pytest.fixture
def conn(scratch: Connection) -> Connection:
    rows.policy(scratch)
    return scratch


def test_an_experiment_is_made_once_by_its_name(conn: Connection) -> None:
    made = make(conn)
    assert make(conn) == made
    assert (made.status, made.spec, made.spec_digest) == ("created", SPEC, SPEC.digest)
    assert make(conn, "two").experiment_id != made.experiment_id
    assert [e.experiment_id for e in store.tests(conn, rows.POLICY)] == sorted(
        (made.experiment_id, make(conn, "two").experiment_id)
    )


def test_a_name_is_not_used_for_another_spec(conn: Connection) -> None:
    make(conn)
    with pytest.raises(UsageError, match=r"'one' of p exists with another spec(.|\n)*--name"):
        make(conn, spec=replace(SPEC, alpha=0.1))


def test_unknown_experiments_are_answered_with_a_command(conn: Connection) -> None:
    with pytest.raises(UsageError, match=r"no experiment .*(.|\n)*bakeoff status"):
        store.find_experiment(conn, rows.new_id())
    with pytest.raises(UsageError, match=r"no default experiment(.|\n)*bakeoff policy adopt p/1"):
        store.default_experiment(conn, rows.POLICY)


def test_a_test_runs_and_ends_with_its_reason(conn: Connection) -> None:
    made = make(conn)
    assert store.running_test(conn, rows.POLICY) is None
    store.set_running(conn, made.experiment_id, now=rows.at(1))
    running = store.running_test(conn, rows.POLICY)
    assert running is not None
    assert (running.experiment_id, running.started_at) == (made.experiment_id, rows.at(1))
    store.end(conn, made.experiment_id, status="kept", reason="no win", now=rows.at(9))
    ended = store.find_experiment(conn, made.experiment_id)
    assert (ended.status, ended.reason, ended.ended_at) == ("kept", "no win", rows.at(9))
    store.end(conn, made.experiment_id, status="shipped", reason="changed my mind", now=rows.at(10))
    assert store.find_experiment(conn, made.experiment_id) == ended, "an end is an end"


def test_a_default_experiment_is_opened_once(conn: Connection) -> None:
    incumbent, explorer = rows.version(conn, 1), rows.version(conn, 2)
    for ident, number in ((incumbent, 1), (explorer, 2)):
        rows.approval(conn, ident, number)

    def opened(bp: int) -> store.Experiment:
        return store.open_default(
            conn, policy_id=rows.POLICY, incumbent=incumbent, explorer=explorer, explorer_bp=bp, now=rows.START
        )

    first = opened(500)
    assert opened(900) == first
    (phase,) = store.phases(conn, first.experiment_id)
    assert (phase.number, phase.treated_bp) == (1, 500)
    assert {v.role: v.policy_version_id for v in store.variants(conn, first.experiment_id)} == {
        "incumbent": incumbent, "explorer": explorer,
    }  # fmt: skip
    assert store.incumbent(conn, rows.POLICY) == incumbent


def test_evidence_comes_back_as_it_was_and_one_moment_is_one_snapshot(conn: Connection) -> None:
    made = make(conn)
    taken = store.insert_snapshot(conn, made.experiment_id, 1, analysis(), ADVICE, now=rows.at(2))
    assert (taken.analysis, taken.advice, taken.phase_number) == (analysis(), ADVICE, 1)
    later = replace(ADVICE, verdict="rollback", reason="harm")
    assert store.insert_snapshot(conn, made.experiment_id, 1, analysis(), later, now=rows.at(2)) == taken
    next_ = store.insert_snapshot(conn, made.experiment_id, 1, analysis(), later, now=rows.at(3))
    assert store.snapshots(conn, made.experiment_id) == [taken, next_]
    assert store.snapshot_at(conn, made.experiment_id, rows.at(3)) == next_
    assert store.snapshot_at(conn, made.experiment_id, rows.at(4)) is None


def test_what_is_in_force_is_the_latest_phase_and_where_the_unit_was_met(scratch: Connection) -> None:
    conn, shop = scratch, rows.Shop(scratch)
    store.set_running(conn, shop.default, now=rows.START)
    shop.begin(conn)
    assert set(store.in_force(conn, rows.POLICY, "u")) == {"default"}, "a test that was not started serves nobody"
    store.set_running(conn, shop.test, now=rows.at(1))
    met = Exposure(
        experiment_id=shop.test, phase=1, unit_id="u", variant_id=shop.treated, policy_version_id=shop.second,
        bucket=3, assignment_probability=0.1, hash_version="hv1", occurred_at=rows.at(1),
    )  # fmt: skip
    store.insert_exposure(conn, met)
    store.insert_exposure(conn, replace(met, bucket=4))
    assert store.count_exposures(conn, shop.test) == 1
    assert store.exposure(conn, shop.test, "u") == met
    shop.begin(conn, 3, number=2, treated_bp=2500, snapshot_id=rows.snapshot(conn, shop.test, 2))
    found = store.in_force(conn, rows.POLICY, "u")["test"]
    assert (found.phase, set(found.variants)) == (
        store.phases(conn, shop.test)[-1], {shop.treated, shop.control},
    )  # fmt: skip
    assert (found.met_variant_id, found.met_probability) == (shop.treated, 0.1)
    stranger = store.in_force(conn, rows.POLICY, "v")
    assert stranger["test"].met_variant_id is stranger["default"].met_variant_id is None
    store.end(conn, shop.test, status="stopped", reason="enough", now=rows.at(4))
    assert set(store.in_force(conn, rows.POLICY, "u")) == {"default"}
