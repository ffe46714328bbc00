"""The view `offline_online_ledger` on a real PostgreSQL: which report and which look stand for a version."""

from typing import Any

import rows
from bakeoff.adapters.postgres import Connection
from bakeoff.ledger import store
from bakeoff.ledger.compare import ledger
from bakeoff.ledger.model import Entry


def verdict(metric: str, advantage: float, kind: str = "non_inferior") -> dict[str, Any]:
    return {
        "metric": metric, "kind": kind, "rows": "all", "estimate": advantage, "lower": advantage - 0.1,
        "upper": advantage + 0.1, "units": 40,
    }  # fmt: skip


def seen(metric: str, advantage: float | None) -> dict[str, Any]:
    arm = {"value": 0.5, "se": 0.1, "units": 50, "needs": 90}
    return {
        "metric": metric, "estimate": advantage, "lower": -0.2, "upper": 0.4, "treated": arm,
        "control": None if advantage is None else arm,
    }  # fmt: skip


def look(conn: Connection, test: str, day: float, says: str, *metrics: dict[str, Any]) -> None:
    rows.snapshot(
        conn,
        test,
        day,
        verdict=says,
        analysis={"advice": {"next_treated_bp": 0}, "analysis": {"metrics": list(metrics)}},
    )


def report(conn: Connection, shop: rows.Shop, day: float, *verdicts: dict[str, Any]) -> None:
    rows.report(
        conn, shop.second, 2, incumbent_version_id=shop.first, report={"verdicts": list(verdicts)},
        created_at=rows.at(day),
    )  # fmt: skip


def lines(found: list[Entry]) -> list[tuple[str, str, float | None]]:
    return sorted((entry.source, entry.metric, entry.advantage) for entry in found)


def test_a_version_that_was_judged_only_has_the_offline_side(scratch: Connection) -> None:
    shop = rows.Shop(scratch)
    report(scratch, shop, 1, verdict("score", 0.2), verdict("known", 1.0, "absolute"), verdict("cost", -0.1, "shown"))
    found = store.entries(scratch, rows.POLICY)
    assert lines(found) == [("gate", "cost", -0.1), ("gate", "score", 0.2)], "a promise of one side is no advantage"
    (score,) = [entry for entry in found if entry.metric == "score"]
    assert (score.version, score.against, score.rows, score.units, score.says) == (2, 1, "all", 40, "PASS")
    assert (score.lower, score.upper) == (0.1, 0.30000000000000004)


def test_the_report_before_traffic_and_the_last_look_count(scratch: Connection) -> None:
    """What came later was not the prediction, and an earlier look was not the end."""
    shop = rows.Shop(scratch)
    report(scratch, shop, 0.5, verdict("score", 0.1))
    report(scratch, shop, 0.9, verdict("score", 0.2))
    shop.begin(scratch, day=1)
    scratch.execute(
        "update experiments set status = 'running', started_at = %s where experiment_id = %s", (rows.at(1), shop.test)
    )
    report(scratch, shop, 3, verdict("score", 0.9))
    look(scratch, shop.test, 2, "hold", seen("accepted", 0.01))
    look(scratch, shop.test, 4, "hold", seen("accepted", 0.05), seen("late", None))
    found = store.entries(scratch, rows.POLICY)
    assert lines(found) == [("gate", "score", 0.2), ("test", "accepted", 0.05), ("test", "late", None)]
    (accepted,) = [entry for entry in found if entry.metric == "accepted"]
    assert (accepted.version, accepted.against, accepted.units, accepted.says) == (2, 1, 100, "hold")
    assert (accepted.source_id, accepted.at) == (shop.test, rows.at(4))


def test_the_primary_metric_is_the_specs(scratch: Connection) -> None:
    shop = rows.Shop(scratch)
    test = rows.experiment(
        scratch, spec={"primary": "accepted"}, status="running", started_at=rows.at(1)
    )  # fmt: skip
    for role, version in (("control", shop.first), ("treated", shop.second)):
        rows.variant(scratch, test, role, version)
    report(scratch, shop, 0.5, verdict("score", 0.1))
    look(scratch, test, 2, "ship", seen("accepted", 0.05), seen("intervention", 0.0))
    entries = store.entries(scratch, rows.POLICY)
    assert {entry.metric for entry in entries if entry.is_primary} == {"accepted"}
    (found,) = ledger(rows.POLICY, entries).predictors
    assert (found.offline, found.online, found.verdict) == ("score", "accepted", "too few")


def test_another_policys_versions_are_not_in_it(scratch: Connection) -> None:
    shop = rows.Shop(scratch)
    report(scratch, shop, 0.5, verdict("score", 0.1))
    assert store.entries(scratch, "another") == []
