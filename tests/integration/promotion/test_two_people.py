"""Two people promote at the same moment, each over a connection of their own: one wins, the other is told who did."""

import threading
from collections.abc import Iterator

import pytest

import rows
from bakeoff.adapters.postgres import Database
from bakeoff.errors import Refused
from bakeoff.experiments import store as experiments
from bakeoff.policies import store as policies
from bakeoff.promotion.apply import apply_database, promotions
from bakeoff.promotion.model import PromotionPlan
from bakeoff.promotion.plan import plan_promotion
from winners import POLICY, Won, version

Said = list[tuple[str, bool | str]]


@pytest.fixture
def people(dsn: str) -> Iterator[dict[str, Database]]:
    found = {name: Database(dsn, "exp") for name in ("Ada", "Grace")}
    yield found
    for db in found.values():
        db.close()


def two_winners(db: Database) -> tuple[PromotionPlan, PromotionPlan]:
    """Versions 2 and 3 both won a test against version 1."""
    with db.transaction() as conn:
        won = Won(conn)
        experiments.end(conn, won.test, status="shipped", reason="it won", now=rows.at(5))
        third = version(conn, "equal")
        judged = rows.report(conn, third.policy_version_id, 0, fingerprint=third.fingerprint)
        rows.approval(conn, third.policy_version_id, 0, fingerprint=third.fingerprint, report_digest=judged)
        test = rows.experiment(conn, policy_id=POLICY)
        control = rows.variant(conn, test, "control", won.old.policy_version_id)
        rows.phase(conn, test, control, rows.variant(conn, test, "treated", third.policy_version_id), 1)
        ship = rows.snapshot(conn, test, 5, verdict="ship")
        other = plan_promotion(
            policies.version_by_id(conn, third.policy_version_id), won.fresh(won.old), experiment_id=test,
            snapshot_id=ship, verdict="ship",
        )  # fmt: skip
        return won.plan(), other


def carry_out(db: Database, plan: PromotionPlan, who: str, said: Said) -> None:
    try:
        with db.transaction() as conn:
            said.append((who, apply_database(conn, plan, signed_by=who, reason="it won", now=rows.at(6))))
    except Refused as error:
        said.append((who, str(error)))


def at_once(people: dict[str, Database], plans: tuple[PromotionPlan, PromotionPlan]) -> Said:
    said: Said = []
    pairs = zip(people.items(), plans, strict=True)
    threads = [threading.Thread(target=carry_out, args=(db, plan, who, said)) for (who, db), plan in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return said


def test_of_two_different_promotions_one_wins_and_the_other_is_told_who_did(people: dict[str, Database]) -> None:
    said = at_once(people, two_winners(people["Ada"]))
    assert len(said) == 2
    (winner,) = [who for who, outcome in said if outcome is True]
    (told,) = [outcome for _, outcome in said if outcome is not True]
    assert "this promotion would replace p/1, but p/" in str(told)
    assert f"serves by now: {winner} moved it at 2025-01-12 08:00 UTC (it won)" in str(told)
    with people["Ada"].transaction() as conn:
        (recorded,) = promotions(conn, POLICY)
        assert recorded["signed_by"] == winner
        assert experiments.incumbent(conn, POLICY) == str(recorded["policy_version_id"])
        statuses = {v.policy_version_id: v.status for v in policies.versions(conn, POLICY)}
    assert sorted(statuses.values()) == ["approved", "production", "retired"]
    assert statuses[str(recorded["policy_version_id"])] == "production"


def test_of_two_equal_promotions_one_is_made_and_the_other_changes_nothing(people: dict[str, Database]) -> None:
    plan, _ = two_winners(people["Ada"])
    said = at_once(people, (plan, plan))
    assert sorted(outcome for _, outcome in said) == [False, True]
    with people["Ada"].transaction() as conn:
        (recorded,) = promotions(conn, POLICY)
        assert (recorded["signed_by"], True) in said


def test_the_second_waits_for_the_first_even_while_that_is_not_committed(people: dict[str, Database]) -> None:
    """The lock is the policy's row, so nobody reads a default that is about to move."""
    first, other = two_winners(people["Ada"])
    said: Said = []
    waiting = threading.Thread(target=carry_out, args=(people["Grace"], other, "Grace", said))
    with people["Ada"].transaction() as conn:
        assert apply_database(conn, first, signed_by="Ada", reason="first", now=rows.at(6))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive(), "it must wait, not decide"
    waiting.join(20)
    ((_, told),) = said
    assert "Ada moved it" in str(told)
