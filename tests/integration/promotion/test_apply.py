"""Act second: what --explain printed is what is done, once, even after a crash."""

from dataclasses import replace

import pytest

import rows
from bakeoff import lifecycle
from bakeoff.adapters.postgres import Connection
from bakeoff.errors import Refused
from bakeoff.experiments import store as experiments
from bakeoff.policies import store as policies
from bakeoff.policies.approve import adopt
from bakeoff.promotion.apply import promotions, registered
from bakeoff.promotion.plan import plan_rollback
from winners import POLICY, Won, version


@pytest.fixture
def won(scratch: Connection) -> Won:
    return Won(scratch)


def test_each_stage_that_explain_prints_is_what_happens(won: Won) -> None:
    plan = won.plan()
    won.apply(plan)
    (recorded,) = promotions(won.conn, POLICY)
    said = [stage.text for stage in plan.stages]
    assert said[0] == f"record the {recorded['kind']} of {won.new.name}, which replaces {won.old.name}"
    assert (str(recorded["policy_version_id"]), str(recorded["replaces"])) == (
        won.new.policy_version_id, won.old.policy_version_id,
    )  # fmt: skip
    assert (recorded["signed_by"], recorded["reason"], str(recorded["snapshot_id"])) == ("Grace", "it won", won.ship)
    assert said[1] == f"serve {won.new.name} to everyone in the default experiment"
    assert won.serving() == won.new.policy_version_id
    assert said[2:4] == [f"{won.old.name} becomes {won.fresh(won.old).status}",
                         f"{won.new.name} becomes {won.fresh(won.new).status}"]  # fmt: skip
    assert said[4:] == ["alias production -> toy_model/7, tag stage=production", "tag toy_model/6 stage=retired"]
    known = {each.version.mlflow_model_version: (each.serves, each.version.status) for each in registered(won.conn)}
    assert known == {"6": (False, "retired"), "7": (True, "production")}


def test_a_plan_that_was_carried_out_is_nothing_the_second_time(won: Won) -> None:
    plan = won.plan()
    won.apply(plan)
    won.apply(plan, day=7)
    assert len(promotions(won.conn, POLICY)) == 1
    assert won.conn.execute("select count(*) as n from phases join experiments using (experiment_id) "
                            "where kind = 'default'").fetchone() == {"n": 2}  # fmt: skip


def test_a_plan_made_for_another_incumbent_is_refused(won: Won) -> None:
    """Two people plan at once; the slower one must look again."""
    stale = replace(won.plan(), replaces=version(won.conn, "equal").policy_version_id)
    with pytest.raises(Refused, match="would replace p/3, but p/1 serves by now"):
        won.apply(stale)
    assert promotions(won.conn, POLICY) == []


def test_there_and_back_and_there_again_at_one_moment(won: Won) -> None:
    won.apply(won.plan())
    won.apply(plan_rollback(won.fresh(won.old), won.fresh(won.new)))
    assert won.serving() == won.old.policy_version_id
    assert won.fresh(won.new).status == "retired"
    won.apply(plan_rollback(won.fresh(won.new), won.fresh(won.old)))
    assert won.serving() == won.new.policy_version_id
    assert [(row["number"], row["kind"]) for row in promotions(won.conn, POLICY)] == [
        (1, "promotion"), (2, "rollback"), (3, "rollback"),
    ]  # fmt: skip


def test_the_way_back_is_open_after_the_signature_has_expired(won: Won) -> None:
    won.apply(won.plan())
    won.apply(plan_rollback(won.fresh(won.old), won.fresh(won.new)), day=20)
    won.apply(plan_rollback(won.fresh(won.new), won.fresh(won.old)), day=100)
    assert won.serving() == won.new.policy_version_id


def test_a_promotion_is_not_made_on_an_expired_signature(won: Won) -> None:
    with pytest.raises(Exception, match="p/2 has no valid approval"), won.conn.transaction():
        won.apply(won.plan(), day=31)
    assert won.serving() == won.old.policy_version_id


def test_the_explorer_goes_on_beside_the_new_incumbent(scratch: Connection) -> None:
    won = Won(scratch)
    default = experiments.default_experiment(scratch, POLICY).experiment_id
    drawing = version(scratch, "equal")
    scratch.execute("alter table approvals disable trigger approval_guard")  # as if it had been there from the start
    policies.insert_approval(scratch, adopt(drawing, signed_by="Ada", reason="explorer", now=rows.START))
    explorer = rows.variant(scratch, default, "explorer", drawing.policy_version_id)
    (first,) = (v.variant_id for v in experiments.variants(scratch, default) if v.role == "incumbent")
    rows.phase(scratch, default, first, explorer, 2, number=2, treated_bp=700)
    won.apply(won.plan())
    phase = experiments.phases(scratch, default)[-1]
    assert (phase.treated_variant_id, phase.treated_bp) == (explorer, 700)


def test_approving_twice_is_approving_once(deps: lifecycle.Deps) -> None:
    with deps.db.transaction() as conn:
        old, new = version(conn, "stubborn"), version(conn, "good")
    lifecycle.adopt(deps, old, signed_by="Ada", reason="it serves")
    assert lifecycle.adopt(deps, old, signed_by="Eve", reason="again").status == "running"
    with deps.db.transaction() as conn:
        approval = policies.live_approval(conn, old.policy_version_id)
        assert approval is not None
        assert approval.signed_by == "Ada"
    with pytest.raises(Refused, match="the database refuses: policy p serves already"):
        lifecycle.adopt(deps, new, signed_by="Eve", reason="a way around the gate")
