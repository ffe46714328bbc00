"""The way from a unit to everything that saw it is by index, however long the log is."""

import pytest

import rows
from bakeoff.adapters.postgres import Connection
from bakeoff.events import store as events
from bakeoff.experiments import store as experiments
from bakeoff.replay import store as replays

ASKED = {
    "events": events.queries.decisions_of_unit.sql,
    "exposures": experiments.queries.exposures_of_unit.sql,
    "offline_replay_results": replays.queries.replays_of_unit.sql,
}


@pytest.mark.parametrize("table", sorted(ASKED))
def test_nothing_is_read_from_one_end_to_the_other(scratch: Connection, table: str) -> None:
    """With few rows a scan is right, so the planner is told that it costs much: only an index lets it be avoided."""
    scratch.execute("set local enable_seqscan = off")
    plan = scratch.execute("explain " + ASKED[table], {"unit_id": "u"}).fetchall()
    told = "\n".join(str(row["QUERY PLAN"]) for row in plan)
    assert f"Seq Scan on {table}" not in told
    assert "unit_id = 'u'" in told, "and by the unit, not by something else"


def test_decisions_of_a_unit_come_with_their_outcomes_oldest_first(scratch: Connection) -> None:
    shop = rows.Shop(scratch)
    for day, unit in ((3, "u"), (1, "u"), (2, "v")):
        rows.event(scratch, role="decision", unit_id=unit, occurred_at=rows.at(day), **shop.context())
    found = events.decisions_of_unit(scratch, "u")
    assert [row["occurred_at"] for row in found] == [rows.at(1), rows.at(3)]
    first = str(found[0]["decision_id"])
    outcome = rows.event(scratch, unit_id="u", decision_id=first, **shop.context())
    assert [row["outcomes"] for row in events.decisions_of_unit(scratch, "u")] == [1, 0]
    assert events.decision_of_event(scratch, outcome) == first
    assert events.decision_of_event(scratch, rows.new_id()) is None
