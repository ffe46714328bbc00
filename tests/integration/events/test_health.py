"""What doctor is told about a log: rows written by hand, past every check of ours."""

from datetime import timedelta
from typing import Any

import pytest

import rows
import toy
from bakeoff.adapters.postgres import Connection
from bakeoff.events import health
from rows import Shop

TASK = toy.ToyTask()


@pytest.fixture
def conn(scratch: Connection) -> Connection:
    return scratch


@pytest.fixture
def shop(conn: Connection) -> Shop:
    return Shop(conn)


def found(conn: Connection, days: float = 20) -> dict[str, health.Finding]:
    """Findings that are not empty, by the beginning of their name."""
    return {
        finding.name.split(" (")[0]: finding
        for finding in health.examine(conn, TASK, rows.at(days))
        if finding.count and "digest" not in finding.name
    }


def decision(conn: Connection, shop: Shop, **other: Any) -> str:
    return rows.event(conn, **{**shop.context(), "role": "decision", **other})


def outcome(conn: Connection, shop: Shop, of: str, **other: Any) -> str:
    row = {"decision_id": of, "event_type": "accepted", "occurred_at": rows.at(1.01), "received_at": rows.at(1.01)}
    return rows.event(conn, **{**shop.context(), **row, **other})


def test_a_sound_log_has_no_findings(conn: Connection, shop: Shop) -> None:
    made = decision(conn, shop, payload={"answer": {}, "latency_s": 0.1})
    outcome(conn, shop, made, payload={"accepted_by": "user", "drink": "tea"})
    assert found(conn) == {}
    assert all(finding.what_to_do for finding in health.examine(conn, TASK, rows.at(2)))


def test_an_outcome_with_another_context_than_its_decision(conn: Connection, shop: Shop) -> None:
    made = decision(conn, shop)
    bad = outcome(conn, shop, made, unit_id="somebody else")
    worse = outcome(conn, shop, made, experiment_id=shop.test, variant_id=shop.control, occurred_at=rows.at(1.02))
    finding = found(conn)["outcomes whose context is not their decision's"]
    assert (finding.count, finding.examples, finding.is_wrong) == (2, (bad, worse), True)


def test_an_outcome_may_wait_a_week_for_its_decision(conn: Connection, shop: Shop) -> None:
    lonely = outcome(conn, shop, rows.new_id())
    assert found(conn, days=8) == {}
    assert found(conn, days=8.1)["outcomes without a decision after 7 days"].examples == (lonely,)


def test_types_that_the_task_does_not_declare_or_in_another_role(conn: Connection, shop: Shop) -> None:
    made = decision(conn, shop)
    for kind, role in (("seen", "kept"), ("seen", "kept"), ("accepted", "reject")):
        outcome(conn, shop, made, event_type=kind, role=role)
    finding = found(conn)["events of types that the task does not declare"]
    assert (finding.count, finding.examples) == (3, ("accepted (reject): 1", "seen (kept): 2"))


def test_undeclared_fields_by_type(conn: Connection, shop: Shop) -> None:
    made = decision(conn, shop, payload={"answer": {}, "weather": "rain"})
    for _ in range(2):
        outcome(conn, shop, made, payload={"accepted_by": "user", "drink": "tea", "mood": 1})
    finding = found(conn)["payload fields that no event type declares"]
    assert (finding.examples, finding.is_wrong) == (("accepted.mood: 2", "offered.weather: 1"), False)


def test_clocks_that_differ_are_counted(conn: Connection, shop: Shop) -> None:
    early = rows.at(1) - timedelta(minutes=5)
    made = decision(conn, shop, occurred_at=rows.at(1), received_at=early)
    before = outcome(conn, shop, made, occurred_at=early, received_at=rows.at(1))
    assert found(conn)["events from the future"].examples == (made,)
    assert found(conn)["outcomes before their decision"].examples == (before,)


def test_a_decision_of_a_test_whose_unit_never_met_it(conn: Connection, shop: Shop) -> None:
    shop.begin(conn)
    test = {"experiment_id": shop.test, "variant_id": shop.control, "policy_version_id": shop.first}
    lost = decision(conn, shop, **test)
    decision(conn, shop, **test, unit_id="imported", origin="backfill")
    decision(conn, shop, **test, unit_id="met")
    rows.insert(
        conn, "exposures", experiment_id=shop.test, unit_id="met", variant_id=shop.control,
        policy_version_id=shop.first, phase=1, bucket=1, assignment_probability=0.1, hash_version="hv1",
        occurred_at=rows.at(1),
    )  # fmt: skip
    assert found(conn)["decisions of a test without an exposure"].examples == (lost,)


def test_a_request_that_is_not_what_its_digest_says(conn: Connection, shop: Shop) -> None:
    """``rows.event`` writes a request with a digest out of the air."""
    decision(conn, shop)
    (finding,) = [f for f in health.examine(conn, TASK, rows.at(2)) if "digest" in f.name]
    assert (finding.count, finding.examples) == (1, ("sha256:r",))


def test_our_own_table_cannot_hold_an_event_without_metadata(conn: Connection, shop: Shop) -> None:
    """The guide's failure mode: missing metadata in events."""
    for name in shop.context():
        with rows.refused(conn, f'null value in column "{name}"'):
            decision(conn, shop, **{name: None})


@pytest.mark.parametrize("nullable", [True, False])
def test_a_foreign_log_without_metadata_is_found(conn: Connection, shop: Shop, nullable: bool) -> None:
    """A view named events over somebody else's table, which has the columns or has them not."""
    decision(conn, shop)
    columns = "null::uuid as experiment_id, variant_id, policy_version_id," if nullable else "variant_id,"
    conn.execute("alter table events rename to events_of_ours")
    conn.execute(
        "create view events as select event_id, event_type, role, task, unit_id, decision_id, occurred_at, received_at,"
        f" {columns} payload, origin from events_of_ours".encode()
    )
    first = health.examine(conn, TASK, rows.at(2))[0]
    assert first.name == health.METADATA
    assert first.count == (1 if nullable else 2)
    assert ("has no experiment_id, policy_version_id" in first.what_to_do) is not nullable


def test_other_tasks_are_not_looked_at(conn: Connection, shop: Shop) -> None:
    outcome(conn, shop, rows.new_id(), task="else", event_type="strange", payload={"x": 1})
    assert found(conn) == {}
