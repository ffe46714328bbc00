"""A share of the units keeps the old version: who, for how long, and what ends it. On a real PostgreSQL."""

from collections import Counter

import pytest

import rows
import stages
from bakeoff.adapters.postgres import Connection
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import Experiment
from bakeoff.policies import store as policies
from bakeoff.promotion.apply import promotions
from bakeoff.promotion.plan import make_holdback, plan_promotion, plan_rollback
from bakeoff.serving.assignment import assigned
from winners import POLICY, Won, version

HELD = make_holdback(stages.TEST, 500)


@pytest.fixture
def won(scratch: Connection) -> Won:
    found = Won(scratch)
    experiments.end(scratch, found.test, status="shipped", reason="it won", now=rows.at(5))
    return found


def holdback(conn: Connection) -> Experiment:
    found = experiments.running_holdback(conn, POLICY)
    assert found is not None
    return found


def test_one_unit_in_twenty_keeps_the_old_version_and_as_many_are_compared_with_it(won: Won) -> None:
    won.apply(won.plan(HELD))
    held = holdback(won.conn)
    met: Counter[tuple[str, str]] = Counter()
    for n in range(1500):
        found = assigned(won.conn, POLICY, unit_id=f"u{n}", key=f"k{n}", at=rows.at(7))
        where = "held" if found.experiment_id == held.experiment_id else "default"
        met[where, found.policy_version_id] += 1
        if found.exposure is not None:
            experiments.insert_exposure(won.conn, found.exposure)
    old, new = won.old.policy_version_id, won.new.policy_version_id
    assert met["default", old] == 0
    assert 45 <= met["held", old] <= 110, met  # 75 expected; beyond is less likely than 1 in 1000
    assert 45 <= met["held", new] <= 110, met
    assert met["default", new] == 1500 - met["held", old] - met["held", new]
    assert experiments.count_exposures(won.conn, held.experiment_id) == met["held", old] + met["held", new]
    assert held.spec is not None and held.spec.primary == stages.TEST.primary, "it is watched like the test"


def test_a_unit_that_is_held_back_is_in_no_test_and_returns_when_it_is_over(won: Won) -> None:
    won.apply(won.plan(HELD))
    held = holdback(won.conn)
    unit = next(
        f"u{n}"
        for n in range(500)
        if assigned(won.conn, POLICY, unit_id=f"u{n}", key="k", at=rows.at(7)).experiment_id == held.experiment_id
    )
    for n in range(1, 4):  # some test takes this unit
        ident = experiments.experiment_id(POLICY, "test", f"next-{n}")
        assert ident != held.experiment_id
    experiments.end(won.conn, held.experiment_id, status="kept", reason="four weeks are over", now=rows.at(40))
    after = assigned(won.conn, POLICY, unit_id=unit, key="k", at=rows.at(41))
    default = experiments.default_experiment(won.conn, POLICY)
    assert (after.experiment_id, after.policy_version_id) == (default.experiment_id, won.new.policy_version_id)


def test_a_rollback_ends_the_holdback_and_the_old_version_serves_everyone(won: Won) -> None:
    won.apply(won.plan(HELD))
    held = holdback(won.conn)
    running = experiments.running(won.conn, POLICY)
    won.apply(plan_rollback(won.fresh(won.old), won.fresh(won.new), running=running), day=8)
    ended = experiments.find_experiment(won.conn, held.experiment_id)
    assert (ended.status, ended.ended_at) == ("rolled_back", rows.at(8))
    assert ended.reason == "p/2, what it watches, is rolled back to p/1"
    assert experiments.running(won.conn, POLICY) == ()
    assert {
        assigned(won.conn, POLICY, unit_id=f"u{n}", key="k", at=rows.at(9)).policy_version_id for n in range(300)
    } == {won.old.policy_version_id}


def test_the_next_promotion_ends_this_holdback_and_opens_its_own(won: Won) -> None:
    """While version 2 is watched, version 3 is tried against it and wins."""
    won.apply(won.plan(HELD))
    first, conn = holdback(won.conn), won.conn
    third = version(conn, "equal")
    judged = rows.report(conn, third.policy_version_id, 0, fingerprint=third.fingerprint)
    rows.approval(conn, third.policy_version_id, 0, fingerprint=third.fingerprint, report_digest=judged)
    test = rows.experiment(conn, policy_id=POLICY)
    control = rows.variant(conn, test, "control", won.new.policy_version_id)
    rows.phase(conn, test, control, rows.variant(conn, test, "treated", third.policy_version_id), 10)
    experiments.set_running(conn, test, now=rows.at(10))
    assert {each.kind for each in experiments.running(conn, POLICY)} == {"test", "holdback"}
    ship = rows.snapshot(conn, test, 15, verdict="ship")
    plan = plan_promotion(
        policies.version_by_id(conn, third.policy_version_id), won.fresh(won.new), experiment_id=test,
        snapshot_id=ship, verdict="ship", holdback=HELD, running=experiments.running(conn, POLICY),
    )  # fmt: skip
    won.apply(plan, day=16)
    assert experiments.find_experiment(conn, first.experiment_id).status == "kept"
    assert experiments.find_experiment(conn, test).status == "shipped"
    second = holdback(conn)
    arms = {v.role: v.policy_version_id for v in experiments.variants(conn, second.experiment_id)}
    assert arms == {"treated": third.policy_version_id, "control": won.new.policy_version_id}


def test_an_old_version_whose_signature_has_expired_may_go_on_for_the_few(won: Won) -> None:
    """What served everyone until now goes on for some: no traffic begins."""
    won.conn.execute("alter table approvals disable trigger approval_frozen")
    won.conn.execute(
        "update approvals set expires_at = %s where policy_version_id = %s", (rows.at(2), won.old.policy_version_id)
    )
    won.apply(won.plan(HELD))
    assert holdback(won.conn).status == "running"


def test_a_crash_between_any_two_stages_leaves_nothing(won: Won, monkeypatch: pytest.MonkeyPatch) -> None:
    """All stages are one transaction: whichever write is the last, none stays."""
    plan, conn = won.plan(HELD), won.conn
    tables = ("promotions", "experiments", "variants", "phases")

    def state() -> list[object]:
        counts = [conn.execute(f"select count(*) as n from {name}").fetchone() for name in tables]
        return [*counts, won.fresh(won.old).status, won.fresh(won.new).status, won.serving()]

    before = state()
    for name in ("insert_experiment", "insert_variant", "insert_phase", "set_running"):
        with monkeypatch.context() as broken:

            def die(*args: object, **kwargs: object) -> None:
                raise KeyboardInterrupt

            broken.setattr(experiments, name, die)
            with pytest.raises(KeyboardInterrupt), conn.transaction():
                won.apply(plan)
        assert state() == before, name
    won.apply(plan)
    assert won.serving() == won.new.policy_version_id


# ---- what the database refuses, whoever writes ----


def test_evidence_against_what_serves_no_longer_promotes_nothing(won: Won) -> None:
    """Version 2 won against version 1; by hand, it is recorded over a third that has taken the place since."""
    won.apply(won.plan())
    won.apply(plan_rollback(won.fresh(won.old), won.fresh(won.new)))
    won.apply(plan_rollback(won.fresh(won.new), won.fresh(won.old)))
    with rows.refused(won.conn, "compared this version with one that serves everyone no longer"):
        rows.promotion(
            won.conn, won.new.policy_version_id, 4, experiment_id=won.test, snapshot_id=won.ship, policy_id=POLICY
        )


def hold(won: Won, *, treated: str, control: str, **other: object) -> None:
    ident = rows.experiment(won.conn, "holdback", POLICY)
    arms = [rows.variant(won.conn, ident, role, of) for role, of in (("control", control), ("treated", treated))]
    rows.phase(won.conn, ident, arms[0], arms[1], 7, **{"treated_bp": 500, **other})


def test_a_holdback_compares_the_last_promotion_with_what_it_replaced_and_nothing_else(won: Won) -> None:
    old, new = won.old.policy_version_id, won.new.policy_version_id
    with rows.refused(won.conn, "compares what the last promotion moved"):
        hold(won, treated=new, control=old)
    won.apply(won.plan())
    with rows.refused(won.conn, "compares what the last promotion moved"):
        hold(won, treated=old, control=new)
    hold(won, treated=new, control=old)
    won.apply(plan_rollback(won.fresh(won.old), won.fresh(won.new)))
    with rows.refused(won.conn, "compares what the last promotion moved"):
        hold(won, treated=new, control=old)


def test_a_holdback_is_small_has_one_phase_and_is_alone(won: Won) -> None:
    won.apply(won.plan())
    old, new = won.old.policy_version_id, won.new.policy_version_id
    with rows.refused(won.conn, r"at most 2000 basis points \(20 %\), not 2001"):
        hold(won, treated=new, control=old, treated_bp=2001)
    hold(won, treated=new, control=old, treated_bp=2000)
    (first,) = experiments.holdbacks(won.conn, POLICY)
    experiments.set_running(won.conn, first.experiment_id, now=rows.at(7))
    arms = {v.role: v.variant_id for v in experiments.variants(won.conn, first.experiment_id)}
    with rows.refused(won.conn, "has one phase"):
        rows.phase(won.conn, first.experiment_id, arms["control"], arms["treated"], 8, number=2)
    hold(won, treated=new, control=old)
    second = experiments.holdbacks(won.conn, POLICY)[-1]
    with rows.refused(won.conn, "one_running_holdback"):
        won.conn.execute("update experiments set status = 'running' where kind = 'holdback' and status = 'created'")
    assert second.kind == "holdback"
    assert len(promotions(won.conn, POLICY)) == 1
