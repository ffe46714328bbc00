"""The life of a test on a real PostgreSQL: created, begun, looked at, ended; also with the statistics gone."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import rows
import toy
from bakeoff.adapters.postgres import Connection, Database
from bakeoff.errors import Refused, UsageError
from bakeoff.experiments import run, store
from bakeoff.experiments.model import Experiment, ExperimentSpec, Forced, Guardrail, Waiver
from bakeoff.serving.assignment import assigned

SPEC = ExperimentSpec(
    hypothesis="superiority",
    primary="accepted",
    guardrails=(Guardrail(metric="intervention", margin=0.05, direction="lower", kind="ramp"),),
    stages=(500, 1000, 5000),
    minimum_units=2,
    horizon_weeks=8,
)
TASK = toy.ToyTask()


@pytest.fixture
def shop(scratch: Connection) -> rows.Shop:
    shop = rows.Shop(scratch)
    store.set_running(scratch, shop.default, now=rows.START)
    return shop


def create(conn: Connection, shop: rows.Shop, name: str = "spring", **how: Any) -> Experiment:
    how = {"spec": SPEC, "now": rows.at(1), "label": "p/2", "version": shop.second} | how
    return run.create_test(conn, rows.POLICY, how.pop("version"), how.pop("spec"), name=name, **how)


def test_a_created_test_has_arms_and_no_traffic(scratch: Connection, shop: rows.Shop) -> None:
    made = create(scratch, shop)
    assert (made.status, made.name, store.phases(scratch, made.experiment_id)) == ("created", "spring", [])
    assert {v.role: v.policy_version_id for v in store.variants(scratch, made.experiment_id)} == {
        "treated": shop.second, "control": shop.first,
    }  # fmt: skip
    assert create(scratch, shop) == made
    assert set(store.in_force(scratch, rows.POLICY, "u")) == {"default"}
    begun = run.begin_test(scratch, made, now=rows.at(2))
    assert (begun.status, begun.started_at) == ("running", rows.at(2))
    assert run.begin_test(scratch, begun, now=rows.at(3)) == begun
    (phase,) = store.phases(scratch, made.experiment_id)
    assert (phase.treated_bp, phase.began_at) == (500, rows.at(2))


def test_a_name_stands_for_one_spec_and_one_version(scratch: Connection, shop: rows.Shop) -> None:
    create(scratch, shop)
    with pytest.raises(UsageError, match="exists with another spec"):
        create(scratch, shop, spec=replace(SPEC, alpha=0.01))
    third = rows.version(scratch, 3)
    with pytest.raises(UsageError, match="'spring' of p tries another version than p/3"):
        create(scratch, shop, version=third, label="p/3")
    with pytest.raises(Refused, match="p/1 serves everyone already"):
        create(scratch, shop, "autumn", version=shop.first, label="p/1")


def test_a_test_does_not_begin_beside_another_or_with_a_control_that_was_replaced(
    scratch: Connection, shop: rows.Shop
) -> None:
    one, two = create(scratch, shop), create(scratch, shop, "summer")
    run.begin_test(scratch, one, now=rows.at(2))
    with pytest.raises(Refused, match="test spring of p is running"):
        run.begin_test(scratch, two, now=rows.at(2))
    store.end(scratch, one.experiment_id, status="stopped", reason="enough", now=rows.at(3))
    stray = rows.version(scratch, 4)
    other = create(scratch, shop, "autumn")
    scratch.execute("alter table variants disable trigger user")
    scratch.execute(
        "update variants set policy_version_id = %s, config = jsonb_build_object('policy_version_id', %s::text) "
        "where experiment_id = %s and role = 'control'", (stray, stray, other.experiment_id),
    )  # fmt: skip
    scratch.execute("alter table variants enable trigger user")
    with pytest.raises(Refused, match="autumn was created with a control that no longer serves everyone"):
        run.begin_test(scratch, other, now=rows.at(4))


def begun(scratch: Connection, shop: rows.Shop, name: str, day: float, **how: Any) -> Experiment:
    return run.begin_test(scratch, create(scratch, shop, name, **how), now=rows.at(day))


def test_the_weeks_before_are_not_used_after_a_rollback_or_a_first_try_of_the_same_version(
    scratch: Connection, shop: rows.Shop
) -> None:
    first = begun(scratch, shop, "first", 2)
    assert run.unadjusted_because(scratch, first) == ""
    store.end(scratch, first.experiment_id, status="stopped", reason="r", now=rows.at(3))
    second = begun(scratch, shop, "second", 4)
    assert run.unadjusted_because(scratch, second) == "test first tried the same version in the weeks before"
    store.end(scratch, second.experiment_id, status="rolled_back", reason="r", now=rows.at(5))
    third = rows.version(scratch, 3)
    rows.approval(scratch, third, 3, report_digest=rows.report(scratch, third, 3))
    other = begun(scratch, shop, "other", 6, version=third, label="p/3")
    assert run.unadjusted_because(scratch, other) == "test second was rolled back in the weeks before"
    store.end(scratch, other.experiment_id, status="kept", reason="r", now=rows.at(7))
    later = replace(other, started_at=rows.at(5 + 4 * 7))
    assert run.unadjusted_because(scratch, later) == "", "four weeks after the rollback"
    off = replace(other, spec=replace(SPEC, cuped_weeks=0.0))
    assert run.unadjusted_because(scratch, off) == "turned off in the spec (cuped_weeks)"


def test_a_test_unit_is_served_its_arm_and_marked(scratch: Connection, shop: rows.Shop) -> None:
    test = begun(scratch, shop, "spring", 2)
    roles = {variant.role: variant for variant in store.variants(scratch, test.experiment_id)}
    for unit, role in (("ada", "treated"), ("bot", "control")):
        forced = store.insert_forced(scratch, roles[role], unit, forced_by="Ada", now=rows.at(2))
        assert forced == Forced(unit_id=unit, variant_id=roles[role].variant_id, forced_by="Ada", forced_at=rows.at(2))
        found = assigned(scratch, rows.POLICY, unit_id=unit, key="k", at=rows.at(3))
        assert (found.variant_id, found.probability) == (roles[role].variant_id, 1.0)
        assert found.exposure is not None and found.exposure.forced
        store.insert_exposure(scratch, found.exposure)
        met = store.exposure(scratch, test.experiment_id, unit)
        assert met == found.exposure
    again = assigned(scratch, rows.POLICY, unit_id="ada", key="k2", at=rows.at(4))
    assert (again.variant_id, again.exposure) == (roles["treated"].variant_id, None)
    _, analysis, _ = run.look(scratch, TASK, test, rows.at(5))
    assert (analysis.forced, analysis.exposed) == (2, {"treated": 0, "control": 0})


def test_waivers_are_kept_with_who_and_why(scratch: Connection, shop: rows.Shop) -> None:
    test = begun(scratch, shop, "spring", 2)
    given = Waiver(
        experiment_id=test.experiment_id, phase_number=1, rule="dwell", signed_by="Ada", reason="sale",
        given_at=rows.at(3),
    )  # fmt: skip
    store.insert_waiver(scratch, given)
    store.insert_waiver(scratch, replace(given, signed_by="Eve"))
    assert store.waivers(scratch, test.experiment_id) == [given]


def test_a_spec_that_cannot_be_read_does_not_keep_a_test_from_being_stopped(
    scratch: Connection, shop: rows.Shop
) -> None:
    shop.begin(scratch)  # its spec is {}
    store.set_running(scratch, shop.test, now=rows.at(1))
    test = store.running_test(scratch, rows.POLICY)
    assert test is not None and test.spec is None
    with pytest.raises(UsageError, match=r"cannot be read(.|\n)*experiment stop"):
        run.look(scratch, TASK, test, rows.at(2))
    store.end(scratch, shop.test, status="stopped", reason="r", now=rows.at(2))
    assert store.running_test(scratch, rows.POLICY) is None


# ---- the way back -----------------------------------------------------------------------------------------------


@pytest.fixture
def db(dsn: str) -> Iterator[Database]:
    database = Database(dsn, "exp")
    yield database
    database.close()


def test_a_rollback_needs_nothing_of_the_statistics(db: Database) -> None:
    """The tables that looks are made from are gone, and a look is under way in another connection."""
    with db.transaction() as conn:
        shop = rows.Shop(conn)
        store.set_running(conn, shop.default, now=rows.START)
        test = begun(conn, shop, "spring", 2)
        roles = {variant.role: variant for variant in store.variants(conn, test.experiment_id)}
        store.insert_forced(conn, roles["treated"], "ada", forced_by="Ada", now=rows.at(2))
    other = Database(db.dsn, "exp")
    with other.transaction() as looking:
        run.look(looking, TASK, test, rows.at(3))  # holds its locks until the end of the block
        with db.transaction() as conn:
            conn.execute("set local statement_timeout = '5s'")
            store.end(conn, test.experiment_id, status="rolled_back", reason="tickets", now=rows.at(3))
    other.close()
    with db.transaction() as conn:
        conn.execute("drop view decisions_before_exposure; drop table need_outcomes, unit_baselines, outcome_folds")
    with db.transaction() as conn:
        assert assigned(conn, rows.POLICY, unit_id="ada", key="k", at=rows.at(3)).experiment_id == shop.default
        store.end(conn, test.experiment_id, status="rolled_back", reason="again", now=rows.at(4))
        assert store.find_experiment(conn, test.experiment_id).reason == "tickets", "a second time changes nothing"
        with pytest.raises(Exception, match="cannot become running"):
            conn.execute("update experiments set status = 'running' where experiment_id = %s", (test.experiment_id,))
