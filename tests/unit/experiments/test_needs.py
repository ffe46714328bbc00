"""What a need came to: judged by its first decision, each metric by what happened within its own window."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import rows
import toy
from bakeoff.experiments.needs import DECISION_METRICS, decision_values, is_live, measure, metrics, shape
from bakeoff.task import Episode, LoggedEvent, Metric, Role

TASK = toy.ToyTask()
NAMES = [metric.name for metric in metrics(TASK)]


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


def values(*events: LoggedEvent) -> dict[str, float | None]:
    return dict(zip(NAMES, measure(TASK)(episode(*events)).measured, strict=True))


def accepted(day: float, ident: str = "d1") -> LoggedEvent:
    return event(day, Role.ACCEPT, ident, accepted_by="user", drink="tea")


def test_a_need_has_the_tasks_metrics_and_those_of_every_decision() -> None:
    assert values(decision(), accepted(1.5)) == {
        "accepted": 1.0, "intervention": 0.0, "fallback": 0.0, "latency_s": 0.2, "cost": 0.01,
    }  # fmt: skip
    assert {metric.direction for metric in DECISION_METRICS} == {"lower"}
    assert {metric.matures_hours for metric in DECISION_METRICS} == {0.0}, "known at once"


def test_a_need_is_judged_by_its_first_decision() -> None:
    """What a regeneration mends does not count for the policy that had to be asked twice."""
    violated = decision(1, "d1", violations=[{"rule": "r"}], latency_s=3.0, served="p-resort")
    again = decision(1.1, "d2")
    one = measure(TASK)(episode(violated, again, accepted(1.2, "d2")))
    assert (one.unit_id, one.need_id, one.variant_id, one.began_at) == ("u", "n", "v-treated", rows.at(1))
    assert one.measured == (0.0, 1.0, 1.0, 3.0, 0.01)
    assert one.in_two_arms is False
    strange = replace(again, variant_id="v-control")
    assert measure(TASK)(episode(violated, strange)).in_two_arms is True


class Patient(toy.ToyTask):
    """Counts outcomes, by two windows."""

    outcome_metrics = tuple(
        Metric(name=name, unit="events", direction="higher", low=0.0, high=None, meaning="", matures_hours=hours)
        for name, hours in (("soon", 24.0), ("late", 240.0))
    )
    asked = 0

    def outcome(self, episode: Episode) -> dict[str, float | None]:
        self.asked += 1
        return {"soon": float(len(episode.outcomes)), "late": float(len(episode.outcomes))}


def test_what_happens_after_a_metrics_window_does_not_change_it() -> None:
    told = [accepted(day) for day in (1.5, 2.0, 2.01, 11.0, 11.01)]
    assert measure(Patient())(episode(decision(), *told)).measured[:2] == (2.0, 4.0)


def test_a_need_that_was_over_soon_is_measured_once() -> None:
    task = Patient()
    assert measure(task)(episode(decision(), accepted(1.5))).measured[:2] == (1.0, 1.0)
    assert task.asked == 1


def test_windows_belong_to_the_shape_of_outcomes() -> None:
    class Hasty(toy.ToyTask):
        outcome_metrics = (replace(toy.ToyTask.outcome_metrics[0], matures_hours=24.0),)

    assert shape(TASK) != shape(Hasty())
    assert shape(TASK) == shape(toy.ToyTask())
    assert timedelta(hours=TASK.outcome_metrics[0].matures_hours) == timedelta(hours=72)


def test_an_answer_that_was_mended_is_an_intervention_but_no_fallback() -> None:
    found = decision_values(episode(decision(violations=[{"rule": "r"}, {"rule": "s"}])))
    assert (found["intervention"], found["fallback"]) == (1.0, 0.0)


def test_what_nobody_wrote_down_is_missing_and_not_zero() -> None:
    """An application that logged its own decisions before bakeoff came."""
    found = decision_values(episode(event(1, Role.DECISION, served="p-treated", answer={})))
    assert found == {"intervention": None, "fallback": 0.0, "latency_s": None, "cost": None}


def test_imported_history_is_left_out_of_a_test() -> None:
    """An episode goes by its first decision: a live need stays, whatever was imported of it afterwards."""
    past = replace(decision(1), origin="backfill")
    later = replace(decision(2, "d2"), origin="backfill")
    assert not is_live(episode(past))
    assert not is_live(episode(past, decision(2, "d2")))
    assert is_live(episode(decision(1), later))


def test_a_number_that_is_none_is_an_error_that_names_the_need() -> None:
    with pytest.raises(ValueError, match=r"unit u, need n: latency_s is nan; expected a finite number or None"):
        measure(TASK)(episode(decision(latency_s=float("nan"))))
