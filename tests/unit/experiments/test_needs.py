"""Episodes of a test become one row per need, judged by the first decision."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import rows
import toy
from bakeoff.experiments.model import Exposure, Variant
from bakeoff.experiments.needs import (
    DECISION_METRICS,
    MATURES_AFTER,
    arms,
    decision_values,
    exposed,
    live,
    metrics,
    outcomes,
)
from bakeoff.task import Episode, LoggedEvent, Role

TASK = toy.ToyTask()
VARIANTS = [
    Variant(variant_id=f"v-{role}", experiment_id="x", name=role, role=role, policy_version_id=f"p-{role}")  # type: ignore[arg-type]
    for role in ("treated", "control")
]


def exposure(unit: str, role: str) -> Exposure:
    return Exposure(
        experiment_id="x", phase=1, unit_id=unit, variant_id=f"v-{role}", policy_version_id=f"p-{role}", bucket=1,
        assignment_probability=0.1, hash_version="hv1", occurred_at=rows.at(0.5),
    )  # fmt: skip


def event(day: float, role: Role, ident: str = "d1", **payload: Any) -> LoggedEvent:
    served = payload.pop("served", "p-treated") if role is Role.DECISION else None
    return LoggedEvent(
        event_id=f"{ident}{day}", event_type=role.value, role=role, unit_id="u", decision_id=ident,
        occurred_at=rows.at(day), experiment_id="x", variant_id="v-treated", policy_version_id="p-treated",
        served_policy_version_id=served, payload=payload,
    )  # fmt: skip


def decision(day: float = 1, ident: str = "d1", **payload: Any) -> LoggedEvent:
    return event(day, Role.DECISION, ident, **{"violations": [], "latency_s": 0.2, "cost": 0.01, **payload})


def episode(*events: LoggedEvent, unit: str = "u") -> Episode:
    return Episode(
        need_id="n", unit_id=unit, request={}, request_digest="sha256:r",
        decisions=tuple(e for e in events if e.role is Role.DECISION),
        outcomes=tuple(e for e in events if e.role is not Role.DECISION),
    )  # fmt: skip


PLACED = arms([exposure("u", "treated"), exposure("c", "control")], VARIANTS)


def test_a_unit_belongs_to_the_arm_it_first_met() -> None:
    assert exposed(PLACED) == {"treated": {"u"}, "control": {"c"}}
    assert (PLACED["u"].variant_id, PLACED["u"].exposed_at) == ("v-treated", rows.at(0.5))


def test_a_need_has_the_tasks_metrics_and_those_of_every_decision() -> None:
    accepted = event(1.5, Role.ACCEPT, accepted_by="user", drink="tea")
    (row,) = outcomes(TASK, [episode(decision(), accepted)], arms=PLACED, now=rows.at(9))
    assert row.values == {"accepted": 1.0, "intervention": 0.0, "fallback": 0.0, "latency_s": 0.2, "cost": 0.01}
    assert {metric.name for metric in metrics(TASK)} == set(row.values)
    assert {metric.direction for metric in DECISION_METRICS} == {"lower"}
    assert (row.unit_id, row.arm, row.exposed_at) == ("u", "treated", rows.at(0.5))


def test_units_that_the_test_never_met_are_left_out() -> None:
    assert outcomes(TASK, [episode(decision(), unit="stranger")], arms=PLACED, now=rows.at(9)) == []


def test_a_need_is_judged_by_its_first_decision() -> None:
    """What a regeneration mends does not count for the policy that had to be asked twice."""
    violated = decision(1, "d1", violations=[{"rule": "r"}], latency_s=3.0, served="p-resort")
    again = decision(1.1, "d2")
    accepted = event(1.2, Role.ACCEPT, "d2", accepted_by="user", drink="tea")
    (row,) = outcomes(TASK, [episode(violated, again, accepted)], arms=PLACED, now=rows.at(9))
    assert row.values == {"accepted": 0.0, "intervention": 1.0, "fallback": 1.0, "latency_s": 3.0, "cost": 0.01}


def test_a_need_matures_72_hours_after_its_first_decision() -> None:
    assert timedelta(hours=72) == MATURES_AFTER
    for hours, matured in ((71.99, False), (72, True)):
        now = rows.at(1) + timedelta(hours=hours)
        (row,) = outcomes(TASK, [episode(decision(1), decision(1.5, "d2"))], arms=PLACED, now=now)
        assert row.matured is matured


def test_an_answer_that_was_mended_is_an_intervention_but_no_fallback() -> None:
    values = decision_values(episode(decision(violations=[{"rule": "r"}, {"rule": "s"}])))
    assert (values["intervention"], values["fallback"]) == (1.0, 0.0)


def test_imported_history_is_left_out_of_a_test() -> None:
    """An episode goes by its first decision: a live need stays, whatever was imported of it afterwards."""
    past = replace(decision(1), origin="backfill")
    later = replace(decision(2, "d2"), origin="backfill")
    assert list(live([episode(past), episode(past, decision(2, "d2"))])) == []
    kept = episode(decision(1), later)
    assert list(live([kept])) == [kept]
