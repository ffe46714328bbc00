"""What the database refuses of waivers, test units and evidence, whoever writes: each rule by direct SQL."""

from typing import Any

import psycopg
import pytest

import rows
from bakeoff.adapters.postgres import Connection
from rows import Shop, refused

SPEC = {"primary": "accepted", "guardrails": [{"metric": "edits"}]}


@pytest.fixture
def conn(scratch: Connection) -> Connection:
    return scratch


@pytest.fixture
def shop(conn: Connection) -> Shop:
    """A test that runs, in its first phase."""
    shop = Shop(conn)
    test = rows.experiment(conn, spec=SPEC)
    for role, version in (("control", shop.first), ("treated", shop.second)):
        setattr(shop, role, rows.variant(conn, test, role, version))
    shop.test = test
    shop.begin(conn)
    conn.execute("update experiments set status = 'running', started_at = %s where experiment_id = %s",
                 (rows.at(1), test))  # fmt: skip
    return shop


def waiver(conn: Connection, shop: Shop, **other: Any) -> None:
    row = {
        "experiment_id": shop.test, "phase_number": 1, "rule": "dwell", "signed_by": "Ada", "reason": "sale",
        "given_at": rows.at(2),
    } | other  # fmt: skip
    rows.insert(conn, "waivers", waiver_id=rows.new_id(), **row)


def looked(conn: Connection, shop: Shop, verdict: str = "advance", *, waived: tuple[str, ...] = (), **seen: Any) -> str:
    advice = {"next_treated_bp": 2500, "waived": list(waived)}
    return rows.snapshot(conn, shop.test, 3, verdict=verdict, analysis={"analysis": seen, "advice": advice})


@pytest.mark.parametrize("rule", ["harm", "srm", "first_phase", "ship", "missing"])
def test_only_time_and_size_can_be_waived(conn: Connection, shop: Shop, rule: str) -> None:
    with refused(conn, "waivers_rule_check", psycopg.errors.CheckViolation):
        waiver(conn, shop, rule=rule)


def test_a_waiver_says_who_and_why_and_is_for_the_phase_that_is_on(conn: Connection, shop: Shop) -> None:
    for missing in ({"signed_by": ""}, {"reason": ""}):
        with refused(conn, "violates check", psycopg.errors.CheckViolation):
            waiver(conn, shop, **missing)
    for number in (2, 7):
        with refused(conn, "a waiver is for the phase that a running test is in"):
            waiver(conn, shop, phase_number=number)
    waiver(conn, shop)
    with refused(conn, "waivers_experiment_id_phase_number_rule", psycopg.errors.UniqueViolation):
        waiver(conn, shop)
    for statement in ("update waivers set rule = 'minimum_units'", "delete from waivers", "truncate waivers"):
        with refused(conn, "append-only"):
            conn.execute(statement)
    conn.execute("update experiments set status = 'stopped' where experiment_id = %s", (shop.test,))
    with refused(conn, "a waiver is for the phase that a running test is in"):
        waiver(conn, shop, rule="minimum_units")


def test_evidence_that_waives_a_rule_needs_a_signature_for_this_phase(conn: Connection, shop: Shop) -> None:
    with refused(conn, "nobody signed a waiver of dwell for phase 1"):
        looked(conn, shop, waived=("dwell",))
    waiver(conn, shop)
    with refused(conn, "nobody signed a waiver of minimum_units for phase 1"):
        looked(conn, shop, waived=("dwell", "minimum_units"))
    snapshot = looked(conn, shop, waived=("dwell",))
    shop.begin(conn, 4, number=2, treated_bp=2500, snapshot_id=snapshot)
    with refused(conn, "nobody signed a waiver of dwell for phase 2"):
        rows.snapshot(
            conn, shop.test, 5, phase_number=2, analysis={"advice": {"next_treated_bp": 5000, "waived": ["dwell"]}}
        )


def test_a_signature_that_came_after_the_look_waives_nothing(conn: Connection, shop: Shop) -> None:
    waiver(conn, shop, given_at=rows.at(3.5))
    with refused(conn, "nobody signed a waiver of dwell"):
        looked(conn, shop, waived=("dwell",))


def test_shipping_waives_nothing(conn: Connection, shop: Shop) -> None:
    waiver(conn, shop)
    with refused(conn, "shipping needs every rule"):
        looked(conn, shop, "ship", waived=("dwell",))


@pytest.mark.parametrize("verdict", ["advance", "ship"])
def test_an_uneven_split_or_harm_never_goes_forward(conn: Connection, shop: Shop, verdict: str) -> None:
    with refused(conn, f"units arrive unevenly in the two arms, so this look cannot say {verdict}"):
        looked(conn, shop, verdict, srm_alarm=True)
    for name in ("accepted", "edits"):
        with refused(conn, f"{name} is harmed, so this look cannot say {verdict}"):
            looked(conn, shop, verdict, metrics=[{"metric": name, "harm_below": -0.1}])
    harmless = [
        {"metric": "accepted", "harm_below": 0.1},
        {"metric": "edits", "harm_below": None},
        {"metric": "only shown", "harm_below": -1.0},
    ]
    assert looked(conn, shop, verdict, srm_alarm=False, metrics=harmless)
    assert looked(conn, shop, "rollback", srm_alarm=True, metrics=[{"metric": "accepted", "harm_below": -0.1}])


def force(conn: Connection, shop: Shop, **other: Any) -> None:
    row = {
        "experiment_id": shop.test, "unit_id": "ada", "variant_id": shop.treated, "policy_version_id": shop.second,
        "forced_by": "Ada", "forced_at": rows.at(2),
    } | other  # fmt: skip
    rows.insert(conn, "forced_variants", **row)


def test_a_unit_that_has_met_the_test_is_not_forced(conn: Connection, shop: Shop) -> None:
    rows.insert(
        conn, "exposures", experiment_id=shop.test, unit_id="ada", variant_id=shop.control,
        policy_version_id=shop.first, phase=1, bucket=3, assignment_probability=0.1, hash_version="hv1",
        occurred_at=rows.at(1),
    )  # fmt: skip
    with refused(conn, "unit ada has met the test already, so it stays in its arm"):
        force(conn, shop)
    force(conn, shop, unit_id="eve")
    with refused(conn, "append-only"):
        conn.execute("update forced_variants set forced_by = 'x'")
    with refused(conn, "forced_variants_variant_id", psycopg.errors.ForeignKeyViolation):
        force(conn, shop, unit_id="bob", variant_id=shop.incumbent)
    with refused(conn, "violates check", psycopg.errors.CheckViolation):
        force(conn, shop, unit_id="bob", forced_by="")
