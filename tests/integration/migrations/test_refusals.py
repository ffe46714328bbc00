"""What the database refuses, whoever writes: each rule by direct SQL."""

from typing import Any

import psycopg
import pytest

import rows
from bakeoff.adapters.postgres import Connection
from rows import Shop, refused


@pytest.fixture
def conn(scratch: Connection) -> Connection:
    """Nothing is committed here, so all tests share one database."""
    return scratch


@pytest.fixture
def shop(conn: Connection) -> Shop:
    return Shop(conn)


# ---- approvals ----


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_only_a_report_that_says_pass_is_approved(conn: Connection, verdict: str) -> None:
    third = rows.version(conn, 3)
    digest = rows.report(conn, third, 3, verdict=verdict)
    with refused(conn, f"says {verdict}, only PASS can be approved"):
        rows.approval(conn, third, 3, report_digest=digest)


def test_a_report_on_another_version_approves_nothing(conn: Connection, shop: Shop) -> None:
    """Not even where the other one has the same spec: it was compared with another incumbent."""
    twin = rows.version(conn, 1, rows.policy(conn, "q"), fingerprint=rows.fingerprint(2))
    with refused(conn, "judges another policy version"):
        rows.approval(conn, twin, 2, report_digest=shop.report)


@pytest.mark.usefixtures("shop")
def test_a_report_on_another_fingerprint_approves_nothing(conn: Connection) -> None:
    third = rows.version(conn, 3)
    digest = rows.report(conn, third, 99)
    with refused(conn, "judges another policy version"):
        rows.approval(conn, third, 3, report_digest=digest)
    with refused(conn, "the approval covers sha256:.* but policy version p/3 is"):
        rows.approval(conn, third, 99, report_digest=digest)


@pytest.mark.usefixtures("shop")
def test_an_approval_names_a_report_that_exists(conn: Connection) -> None:
    third = rows.version(conn, 3)
    with refused(conn, "violates foreign key", psycopg.errors.ForeignKeyViolation):
        rows.approval(conn, third, 3, report_digest=rows.fingerprint(12))


@pytest.mark.usefixtures("shop")
def test_an_approval_says_who_and_why(conn: Connection) -> None:
    third = rows.version(conn, 3)
    digest = rows.report(conn, third, 3)
    for missing in ({"signed_by": ""}, {"note": ""}):
        with refused(conn, "violates check", psycopg.errors.CheckViolation):
            rows.approval(conn, third, 3, report_digest=digest, **missing)


@pytest.mark.usefixtures("shop")
def test_once_a_policy_serves_another_version_is_judged_and_not_adopted(conn: Connection) -> None:
    third = rows.version(conn, 3)
    with refused(conn, "policy p serves already; only what it started from is adopted"):
        rows.approval(conn, third, 3)


def test_what_a_policy_started_from_may_be_adopted_again(conn: Connection, shop: Shop) -> None:
    conn.execute("update approvals set voided_at = %s, void_reason = 'left' where kind = 'adopted'", (rows.at(1),))
    assert rows.approval(conn, shop.first, 1)


def test_an_approval_is_only_voided_and_once(conn: Connection, shop: Shop) -> None:
    for change in ("signed_by = 'Eve'", "expires_at = null", "report_digest = null, kind = 'adopted'"):
        with refused(conn, "can only be voided"):
            conn.execute(f"update approvals set {change} where approval_id = %s", (shop.approval,))
    void = "update approvals set voided_at = now(), void_reason = 'wrong rows' where approval_id = %s"
    conn.execute(void, (shop.approval,))
    with refused(conn, "can only be voided, once"):
        conn.execute(void, (shop.approval,))
    with refused(conn, "append-only"):
        conn.execute("delete from approvals")


# ---- rejections ----


def test_a_rejected_version_gets_neither_a_signature_nor_traffic(conn: Connection, shop: Shop) -> None:
    rows.rejection(conn, shop.second, shop.report)
    assert conn.execute("select void_reason from approvals where kind = 'signed'").fetchone() == {
        "void_reason": "rejected: the plans are dull"
    }
    with refused(conn, "p/2 was rejected; it gets no approval any more"):
        rows.approval(conn, shop.second, 2, report_digest=shop.report)
    with refused(conn, "p/2 has no valid approval"):
        shop.begin(conn)
    with refused(conn, "append-only"):
        conn.execute("delete from rejections")


def test_a_rejection_says_who_and_why_and_names_a_report_on_the_version(conn: Connection, shop: Shop) -> None:
    for missing in ({"rejected_by": ""}, {"reason": ""}):
        with refused(conn, "violates check", psycopg.errors.CheckViolation):
            rows.rejection(conn, shop.second, shop.report, **missing)
    third = rows.version(conn, 3)
    with refused(conn, "judges another policy version"):
        rows.rejection(conn, third, shop.report)
    with refused(conn, "p/3 was rejected by nobody"):
        _status(conn, third, "rejected")


def test_what_serves_or_is_tried_is_not_rejected(conn: Connection, shop: Shop) -> None:
    conn.execute("update policy_versions set status = 'production' where policy_version_id = %s", (shop.first,))
    with refused(conn, "p/1 is production, it cannot be rejected"):
        rows.rejection(conn, shop.first, rows.report(conn, shop.first, 1))
    shop.begin(conn)
    conn.execute("update experiments set status = 'running' where experiment_id = %s", (shop.test,))
    with refused(conn, "p/2 is in a running test; stop it first"):
        rows.rejection(conn, shop.second, shop.report)


# ---- phases ----


def test_no_traffic_without_an_approval(conn: Connection, shop: Shop) -> None:
    third = rows.version(conn, 3)
    treated = rows.variant(conn, shop.test, "treated", third)
    with refused(conn, "policy version p/3 has no valid approval"):
        rows.phase(conn, shop.test, shop.control, treated, 1)


def test_no_traffic_with_an_expired_approval(conn: Connection, shop: Shop) -> None:
    with refused(conn, "policy version p/2 has no valid approval"):
        shop.begin(conn, 30)
    shop.begin(conn, 29.9)


def test_no_traffic_before_the_signature(conn: Connection, shop: Shop) -> None:
    with refused(conn, "has no valid approval"):
        shop.begin(conn, -1)


def test_no_traffic_with_a_voided_approval(conn: Connection, shop: Shop) -> None:
    conn.execute("update approvals set voided_at = %s, void_reason = 'wrong' where kind = 'signed'", (rows.at(0.5),))
    with refused(conn, "p/2 has no valid approval"):
        shop.begin(conn)


def test_no_new_phase_after_the_approval_was_voided(conn: Connection, shop: Shop) -> None:
    shop.begin(conn)
    ready = rows.snapshot(conn, shop.test, 2)
    conn.execute("update approvals set voided_at = %s, void_reason = 'wrong' where kind = 'signed'", (rows.at(2),))
    with refused(conn, "p/2 has no valid approval"):
        shop.begin(conn, 3, number=2, treated_bp=2500, snapshot_id=ready)


def test_the_first_phase_takes_at_most_ten_percent(conn: Connection, shop: Shop) -> None:
    with refused(conn, "at most 1000 basis points"):
        shop.begin(conn, treated_bp=1001)
    shop.begin(conn, treated_bp=1000)


def test_an_arm_never_takes_more_than_half(conn: Connection, shop: Shop) -> None:
    shop.begin(conn)
    all_of_it = rows.snapshot(conn, shop.test, 2, analysis={"advice": {"next_treated_bp": 10_000}})
    with refused(conn, "phases_treated_bp_check", psycopg.errors.CheckViolation):
        shop.begin(conn, 3, number=2, treated_bp=5001, snapshot_id=all_of_it)


@pytest.mark.parametrize(
    "stale",
    [
        {"none": True},
        {"day": 0.5},  # taken before the previous phase began
        {"day": 1.0},  # at the moment it began
        {"day": 9.0},  # taken after the new phase begins
        {"phase_number": 2},
        {"verdict": "hold"},
        {"verdict": "ship"},
        {"analysis": {"advice": {"next_treated_bp": 2499}}},  # evidence for less
        {"analysis": {}},
    ],
    ids=str,
)
def test_a_later_phase_needs_fresh_evidence(conn: Connection, shop: Shop, stale: dict[str, Any]) -> None:
    shop.begin(conn)
    ident = None
    if "none" not in stale:
        ident = rows.snapshot(conn, shop.test, stale.pop("day", 2.0), **stale)
    with refused(conn, "phase 2 at 2500 basis points needs a monitor snapshot 'advance'"):
        shop.begin(conn, 3, number=2, treated_bp=2500, snapshot_id=ident)


def test_evidence_of_another_experiment_does_not_count(conn: Connection, shop: Shop) -> None:
    shop.begin(conn)
    other = rows.snapshot(conn, rows.experiment(conn), 2)
    with refused(conn, "needs a monitor snapshot"):
        shop.begin(conn, 3, number=2, treated_bp=2500, snapshot_id=other)


def test_evidence_is_spent_by_the_phase_that_it_opened(conn: Connection, shop: Shop) -> None:
    shop.begin(conn)
    ready = rows.snapshot(conn, shop.test, 2)
    shop.begin(conn, 3, number=2, treated_bp=2500, snapshot_id=ready)
    with refused(conn, "needs a monitor snapshot"):
        shop.begin(conn, 4, number=3, treated_bp=2500, snapshot_id=ready)


def test_phases_follow_one_another_in_number_and_time(conn: Connection, shop: Shop) -> None:
    with refused(conn, "phase 2 does not follow phase 0"):
        shop.begin(conn, number=2)
    shop.begin(conn, 2)
    ready = rows.snapshot(conn, shop.test, 3)
    with refused(conn, "does not follow"):
        shop.begin(conn, 1, number=2, treated_bp=2500, snapshot_id=ready)


def test_an_ended_test_gets_no_further_phase(conn: Connection, shop: Shop) -> None:
    shop.begin(conn)
    ready = rows.snapshot(conn, shop.test, 2)
    conn.execute("update experiments set status = 'running' where experiment_id = %s", (shop.test,))
    conn.execute("update experiments set status = 'rolled_back' where experiment_id = %s", (shop.test,))
    with refused(conn, "the experiment is rolled_back, so it gets no further phase"):
        shop.begin(conn, 3, number=2, treated_bp=2500, snapshot_id=ready)


def test_a_phase_serves_its_own_variants_in_their_roles(conn: Connection, shop: Shop) -> None:
    elsewhere = rows.variant(conn, rows.experiment(conn), "treated", shop.second)
    for control, treated in ((shop.control, elsewhere), (shop.treated, shop.control), (shop.control, shop.control)):
        with refused(conn, "variants of its own experiment, in their roles"):
            rows.phase(conn, shop.test, control, treated, 1)


def test_an_experiment_serves_versions_of_its_own_policy(conn: Connection, shop: Shop) -> None:
    foreign = rows.version(conn, 1, rows.policy(conn, "q"))
    rows.approval(conn, foreign, 1)
    treated = rows.variant(conn, shop.test, "treated", foreign)
    with refused(conn, "versions of its own policy"):
        rows.phase(conn, shop.test, shop.control, treated, 1)


def test_the_default_serves_only_what_was_adopted_or_promoted(conn: Connection, shop: Shop) -> None:
    incumbent = rows.variant(conn, shop.default, "incumbent", shop.second)
    with refused(conn, "p/2 was neither adopted nor promoted"):
        rows.phase(conn, shop.default, incumbent, None, 1, number=2)


def test_the_explorer_is_no_back_door_to_half_of_the_traffic(conn: Connection, shop: Shop) -> None:
    explorer = rows.variant(conn, shop.default, "explorer", shop.second)
    with refused(conn, "p/2 was neither adopted nor promoted"):
        rows.phase(conn, shop.default, shop.incumbent, explorer, 1, number=2, treated_bp=5000)


def test_an_expired_incumbent_is_still_the_control_of_a_test(conn: Connection) -> None:
    """What serves everyone anyway must not stop the next test; only a voided approval does."""
    shop = Shop(conn)
    third = rows.version(conn, 3)
    _promote(conn, shop)
    rows.approval(conn, third, 3, report_digest=rows.report(conn, third, 3), signed_at=rows.at(60), expires_at=None)
    test = rows.experiment(conn)
    control = rows.variant(conn, test, "control", shop.second)
    treated = rows.variant(conn, test, "treated", third)
    with refused(conn, "has no valid approval"), conn.transaction():
        conn.execute("update approvals set voided_at = %s, void_reason = 'x' where kind = 'signed'", (rows.at(1),))
        rows.phase(conn, test, control, treated, 61)
    rows.phase(conn, test, control, treated, 61)


def _promote(conn: Connection, shop: Shop) -> None:
    """The test begins, says ship, and version 2 serves everyone from day 9."""
    shop.begin(conn)
    ship = rows.snapshot(conn, shop.test, 8, verdict="ship")
    rows.promotion(conn, shop.second, experiment_id=shop.test, snapshot_id=ship)
    incumbent = rows.variant(conn, shop.default, "incumbent", shop.second)
    rows.phase(conn, shop.default, incumbent, None, 9, number=2)


def test_a_rollback_works_although_the_approval_has_expired(conn: Connection) -> None:
    policy = rows.policy(conn)
    old, new = rows.version(conn, 1), rows.version(conn, 2)
    for ident, number in ((old, 1), (new, 2)):
        rows.approval(conn, ident, number, expires_at=rows.at(5))
        for status in ("approved", "production"):
            conn.execute("update policy_versions set status = %s where policy_version_id = %s", (status, ident))
    default = rows.experiment(conn, "default", policy)
    was, now = (rows.variant(conn, default, "incumbent", ident) for ident in (old, new))
    rows.phase(conn, default, was, None, 0)
    rows.phase(conn, default, now, None, 1, number=2)
    with refused(conn, "p/1 has no valid approval"):
        rows.phase(conn, default, was, None, 6, number=3)
    rows.promotion(conn, old, kind="rollback")
    rows.phase(conn, default, was, None, 6, number=3)


def test_going_back_without_a_rollback_row_is_refused(conn: Connection, shop: Shop) -> None:
    _promote(conn, shop)
    with refused(conn, "p/1 was neither adopted nor promoted"):
        rows.phase(conn, shop.default, shop.incumbent, None, 10, number=3)


# ---- experiments and promotions ----


def _run(conn: Connection, ident: str) -> None:
    conn.execute("update experiments set status = 'running' where experiment_id = %s", (ident,))


def test_one_test_of_a_policy_runs_at_a_time(conn: Connection, shop: Shop) -> None:
    _run(conn, shop.test)
    with refused(conn, "policy p has a running test already"):
        _run(conn, rows.experiment(conn))
    with refused(conn, "one_running_experiment", psycopg.errors.UniqueViolation):
        rows.experiment(conn, status="running")


@pytest.mark.usefixtures("shop")
def test_a_policy_has_one_default_experiment(conn: Connection) -> None:
    with refused(conn, "one_default_experiment", psycopg.errors.UniqueViolation):
        rows.experiment(conn, "default")


@pytest.mark.parametrize("ended", ["shipped", "rolled_back", "kept", "stopped"])
def test_nothing_un_rolls_itself(conn: Connection, shop: Shop, ended: str) -> None:
    _run(conn, shop.test)
    conn.execute("update experiments set status = %s where experiment_id = %s", (ended, shop.test))
    for status in ("running", "created", "shipped" if ended != "shipped" else "kept"):
        with refused(conn, f"the experiment is {ended}, it cannot become {status}"):
            conn.execute("update experiments set status = %s where experiment_id = %s", (status, shop.test))


def test_an_experiment_is_frozen_when_it_is_created(conn: Connection, shop: Shop) -> None:
    for change in ("spec = '{\"alpha\": 0.5}'", "policy_id = 'q'", "kind = 'default'", "spec_digest = 'x'"):
        with refused(conn, "frozen when it is created"):
            conn.execute(f"update experiments set {change} where experiment_id = %s", (shop.test,))


def test_a_promotion_needs_evidence_that_says_ship(conn: Connection, shop: Shop) -> None:
    shop.begin(conn)
    hold = rows.snapshot(conn, shop.test, 2, verdict="hold")
    ship = rows.snapshot(conn, shop.test, 3, verdict="ship")
    for evidence in ({}, {"experiment_id": shop.test, "snapshot_id": hold}, {"snapshot_id": ship}):
        with refused(conn, "needs a monitor snapshot that says ship"):
            rows.promotion(conn, shop.second, **evidence)
    with refused(conn, "needs a monitor snapshot that says ship"):  # of the control
        rows.promotion(conn, shop.first, experiment_id=shop.test, snapshot_id=ship)
    with refused(conn, "a promotion names a version of its own policy"):
        rows.promotion(conn, shop.second, policy_id=rows.policy(conn, "q"), experiment_id=shop.test, snapshot_id=ship)
    rows.promotion(conn, shop.second, experiment_id=shop.test, snapshot_id=ship)


def test_harm_seen_later_outdates_the_evidence_to_ship(conn: Connection, shop: Shop) -> None:
    shop.begin(conn)
    ship = rows.snapshot(conn, shop.test, 3, verdict="ship")
    rows.snapshot(conn, shop.test, 4, verdict="rollback")
    with refused(conn, "needs a monitor snapshot that says ship"):
        rows.promotion(conn, shop.second, experiment_id=shop.test, snapshot_id=ship)


def test_promotions_are_numbered_one_after_the_other(conn: Connection, shop: Shop) -> None:
    with refused(conn, "promotion 2 of p does not follow 0"):
        rows.promotion(conn, shop.first, 2, kind="rollback")


def test_a_rollback_goes_back_to_what_was_in_production(conn: Connection, shop: Shop) -> None:
    with refused(conn, "goes back to a version that was in production"):
        rows.promotion(conn, shop.second, kind="rollback")


# ---- policy versions ----


def _status(conn: Connection, ident: str, status: str) -> None:
    conn.execute("update policy_versions set status = %s where policy_version_id = %s", (status, ident))


def test_a_policy_version_is_immutable(conn: Connection, shop: Shop) -> None:
    for change in (
        "spec = '{\"seed\": 7}'", "version = 9", "fingerprint = 'sha256:0'", "dataset_digest = 'x'",
        "mlflow_model_name = 'm', mlflow_model_version = '1'", "config_defaults = '{\"a\": 1}'",
    ):  # fmt: skip
        with refused(conn, "policy version p/2 is immutable"):
            conn.execute(f"update policy_versions set {change} where policy_version_id = %s", (shop.second,))
    third = rows.version(conn, 3)
    with refused(conn, "append-only"):
        conn.execute("delete from policy_versions where policy_version_id = %s", (third,))


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("status", ["production", "retired"])
def test_a_version_does_not_jump(conn: Connection, status: str) -> None:
    third = rows.version(conn, 3)
    with refused(conn, f"p/3 cannot go from registered to {status}"):
        _status(conn, third, status)


@pytest.mark.usefixtures("shop")
def test_a_rejected_version_stays_rejected(conn: Connection) -> None:
    third = rows.version(conn, 3)
    rows.rejection(conn, third, rows.report(conn, third, 3))
    for status in ("registered", "candidate", "approved", "production"):
        with refused(conn, f"cannot go from rejected to {status}"):
            _status(conn, third, status)


@pytest.mark.usefixtures("shop")
def test_a_version_begins_as_registered(conn: Connection) -> None:
    with refused(conn, "begins as registered, not as production"):
        rows.version(conn, 3, status="production")


def test_each_status_needs_its_evidence(conn: Connection, shop: Shop) -> None:
    third = rows.version(conn, 3)
    rows.report(conn, third, 3, verdict="FAIL")
    with refused(conn, "p/3 has no gate report that says PASS"):
        _status(conn, third, "candidate")
    with refused(conn, "p/3 is not approved by anybody"):
        _status(conn, third, "approved")
    _status(conn, shop.second, "candidate")
    _status(conn, shop.second, "approved")
    with refused(conn, "p/2 was neither adopted nor promoted last"):
        _status(conn, shop.second, "production")
    _promote(conn, shop)
    _status(conn, shop.second, "production")


def test_a_retired_version_comes_back_only_by_a_rollback(conn: Connection, shop: Shop) -> None:
    for status in ("approved", "production", "retired"):
        _status(conn, shop.first, status)
    _promote(conn, shop)
    with refused(conn, "p/1 was neither adopted nor promoted last"):
        _status(conn, shop.first, "production")
    rows.promotion(conn, shop.first, 2, kind="rollback")
    _status(conn, shop.first, "production")


@pytest.mark.usefixtures("shop")
def test_one_spec_is_one_version_and_one_number(conn: Connection) -> None:
    with refused(conn, "policy_id_fingerprint", psycopg.errors.UniqueViolation):
        rows.version(conn, 3, fingerprint=rows.fingerprint(2))
    with refused(conn, "policy_id_version", psycopg.errors.UniqueViolation):
        rows.version(conn, 2, fingerprint=rows.fingerprint(3))


# ---- events ----


@pytest.mark.parametrize("missing", ["experiment_id", "variant_id", "policy_version_id", "unit_id", "decision_id"])
def test_every_event_names_where_it_belongs(conn: Connection, shop: Shop, missing: str) -> None:
    with refused(conn, missing, psycopg.errors.NotNullViolation):
        rows.event(conn, **{**shop.context(), missing: None})


@pytest.mark.parametrize("wrong", ["experiment_id", "variant_id", "policy_version_id"])
def test_a_variant_belongs_to_its_experiment_and_version(conn: Connection, shop: Shop, wrong: str) -> None:
    other = {"experiment_id": shop.test, "variant_id": shop.control, "policy_version_id": shop.second}
    with refused(conn, "events_variant_id", psycopg.errors.ForeignKeyViolation):
        rows.event(conn, **{**shop.context(), wrong: other[wrong]})


def test_a_decision_is_logged_once(conn: Connection, shop: Shop) -> None:
    decision = rows.new_id()
    rows.event(conn, role="decision", decision_id=decision, **shop.context())
    with refused(conn, "one_decision", psycopg.errors.UniqueViolation):
        rows.event(conn, role="decision", decision_id=decision, **shop.context())


@pytest.mark.parametrize("missing", ["request_digest", "need_id", "served_policy_version_id"])
def test_a_decision_says_what_it_answered_and_who_served(conn: Connection, shop: Shop, missing: str) -> None:
    with refused(conn, "events_check", psycopg.errors.CheckViolation):
        rows.event(conn, role="decision", **shop.context(), **{missing: None})


def test_an_exposure_names_a_variant_of_its_experiment(conn: Connection, shop: Shop) -> None:
    values = {
        "unit_id": "u", "variant_id": shop.treated, "policy_version_id": shop.second, "phase": 1, "bucket": 3,
        "assignment_probability": 0.1, "hash_version": "hv1", "occurred_at": rows.at(1),
    }  # fmt: skip
    with refused(conn, "exposures_variant_id", psycopg.errors.ForeignKeyViolation):
        rows.insert(conn, "exposures", experiment_id=shop.default, **values)
    rows.insert(conn, "exposures", experiment_id=shop.test, **values)
    with refused(conn, "append-only"):
        conn.execute("update exposures set bucket = 4")


# ---- what stays ----

FROZEN = {
    "events": "payload = '{}'",
    "requests": "body = '{}'",
    "phases": "treated_bp = 5000",
    "variants": "name = 'x'",
    "monitor_snapshots": "verdict = 'ship'",
    "promotions": "reason = 'x'",
    "gate_reports": "verdict = 'PASS'",
}


@pytest.fixture
def full(conn: Connection, shop: Shop) -> Shop:
    """At least one row in every table that is append-only."""
    rows.event(conn, role="decision", **shop.context())
    _promote(conn, shop)
    return shop


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("table", FROZEN)
def test_evidence_is_append_only(conn: Connection, table: str) -> None:
    assert conn.execute(f"select count(*) as n from {table}").fetchone() != {"n": 0}
    for statement in (f"update {table} set {FROZEN[table]}", f"delete from {table}", f"truncate {table} cascade"):
        with refused(conn, "is append-only: .* is refused"):
            conn.execute(statement)


@pytest.mark.usefixtures("full")
def test_erasing_a_unit_is_the_one_way_to_change_the_log(conn: Connection) -> None:
    with conn.transaction():
        conn.execute("set local bakeoff.erasure = 'on'")
        changed = conn.execute("update events set payload = '{}', unit_id = 'tombstone' where unit_id = 'u'")
        assert changed.rowcount == 1
        assert conn.execute("update requests set body = '{}'").rowcount == 1
        conn.execute("set local bakeoff.erasure = 'off'")  # as the end of the transaction does
    with refused(conn, "append-only"):
        conn.execute("update events set unit_id = 'u'")


@pytest.mark.parametrize("path", ["public", "public, exp"])
def test_the_guards_hold_whatever_the_writers_search_path_is(conn: Connection, shop: Shop, path: str) -> None:
    """Tables of the same name elsewhere must not be taken for ours."""
    conn.execute("create table public.approvals (like exp.approvals); insert into public.approvals "
                 "select * from exp.approvals")  # fmt: skip
    third = rows.version(conn, 3)
    treated = rows.variant(conn, shop.test, "treated", third)
    conn.execute("insert into public.approvals select gen_random_uuid(), %s, 'adopted', null, %s, 'Eve', 'x', %s",
                 (third, rows.fingerprint(3), rows.START))  # fmt: skip
    conn.execute(f"set local search_path to {path}")
    with refused(conn, "p/3 has no valid approval"):
        conn.execute(
            "insert into exp.phases values (gen_random_uuid(), %s, 1, %s, %s, 100, null, %s)",
            (shop.test, treated, shop.control, rows.at(1)),
        )


def test_a_temporary_table_does_not_stand_for_ours(conn: Connection, shop: Shop) -> None:
    """PostgreSQL looks there first, unless it is told otherwise."""
    third = rows.version(conn, 3)
    treated = rows.variant(conn, shop.test, "treated", third)
    conn.execute("create temporary table approvals (like exp.approvals); insert into pg_temp.approvals "
                 "select * from exp.approvals")  # fmt: skip
    conn.execute("insert into pg_temp.approvals select gen_random_uuid(), %s, 'adopted', null, %s, 'Eve', 'x', %s",
                 (third, rows.fingerprint(3), rows.START))  # fmt: skip
    with refused(conn, "p/3 has no valid approval"):
        rows.phase(conn, shop.test, shop.control, treated, 1)


def test_every_function_of_ours_looks_into_temporary_tables_last(conn: Connection) -> None:
    found = conn.execute(
        "select p.proname as name, coalesce(array_to_string(p.proconfig, ','), '') as config from pg_proc p "
        "where p.pronamespace = 'exp'::regnamespace "
        "and replace(p.prosrc, 'distinct from', '') ~ '\\mfrom\\M|\\mupdate\\M'"
    ).fetchall()
    assert len(found) > 10
    assert [row["name"] for row in found if row["config"] != "search_path=exp, pg_temp"] == []
