"""Lives some weeks of the planner's town with any policy, in memory; for tests."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

from bakeoff.task import Episode, LoggedEvent, PythonAnswer, Request, Role, Served
from planner.plans import choose, plan
from planner.task import PlannerTask
from planner.town.world import Town

ENDS_ON = date(2025, 1, 12)
ROLES = {kind.name: kind.role for kind in PlannerTask.event_types}

Policy = Callable[[Town, str, int, Request], PythonAnswer]
"""(town, unit, week, request): a test may look behind the curtain."""


def live(units: int, weeks: int, policy: Policy, *, seed: int = 1, only: frozenset[str] | None = None) -> list[Episode]:
    """The town's log, one episode per household and week, in the order of life."""
    town = Town(seed=seed, units=units, weeks=weeks, ends_on=ENDS_ON)
    return [episode for week in range(weeks) for episode in _week(town, week, policy, only)]


def oracle(town: Town, unit_id: str, week: int, request: Request) -> PythonAnswer:
    """Knows the hidden tastes, but not this week's mood. Only tests may."""
    hidden = town.occasion(unit_id, week).lasting
    ids = [option["id"] for option in request["options"]]
    return PythonAnswer(answer=plan(request, choose(request, sorted(range(len(ids)), key=lambda i: -hidden[ids[i]]))))


def _week(town: Town, week: int, policy: Policy, only: frozenset[str] | None) -> Iterator[Episode]:
    log: dict[str, tuple[LoggedEvent, Request, list[LoggedEvent]]] = {}

    def decide(*, key: str, unit_id: str, request: Request, at: datetime) -> Served:
        decision_id = str(uuid.uuid5(uuid.NAMESPACE_URL, key))
        answer = policy(town, unit_id, week, request).answer
        event = logged("plan_generated", decision_id, decision_id, unit_id, at, {"answer": answer})
        log[decision_id] = (event, request, [])
        return Served(decision_id=decision_id, answer=answer, context={"decision_id": decision_id})

    def emit(
        *, event_id: str, event_type: str, context: Mapping[str, str], at: datetime, payload: Mapping[str, Any]
    ) -> None:
        decision, _, outcomes = log[context["decision_id"]]
        outcomes.append(logged(event_type, event_id, context["decision_id"], decision.unit_id, at, payload))

    town.step(week, decide, emit, only=only)
    for decision, request, outcomes in log.values():
        yield Episode(
            need_id=request["week_start"], unit_id=decision.unit_id, request=request, request_digest="",
            decisions=(decision,), outcomes=tuple(outcomes),
        )  # fmt: skip


def logged(
    event_type: str, event_id: str, decision_id: str, unit_id: str, at: datetime, payload: Mapping[str, Any]
) -> LoggedEvent:
    role: Role = ROLES[event_type]
    return LoggedEvent(
        event_id=event_id, event_type=event_type, role=role, unit_id=unit_id, decision_id=decision_id,
        occurred_at=at, experiment_id="e", variant_id="v", policy_version_id="p", served_policy_version_id="p",
        payload=payload,
    )  # fmt: skip
