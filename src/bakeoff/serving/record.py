"""An answer -> the decision that the log keeps, and back. No I/O."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bakeoff.errors import Refused, UsageError
from bakeoff.events.model import Context, Decision
from bakeoff.fingerprint import digest
from bakeoff.serving.model import Answered, Asked, Plan
from bakeoff.task import Role, Served, Task


def decision(task: Task, asked: Asked, plan: Plan, answered: Answered) -> Decision:
    """The unit stays in its variant, whoever answered (intention to treat)."""
    drawn = plan.assigned
    return Decision(
        event_id=asked.decision_id,
        context=Context(
            decision_id=asked.decision_id,
            experiment_id=drawn.experiment_id,
            variant_id=drawn.variant_id,
            policy_version_id=drawn.policy_version_id,
        ),
        event_type=next(kind.name for kind in task.event_types if kind.role is Role.DECISION),
        task=task.name,
        unit_id=asked.unit_id,
        need_id=task.need(plan.request),
        request=plan.request,
        request_version=task.request_version,
        served_policy_version_id=answered.by.policy_version_id,
        assignment_probability=drawn.probability,
        action_propensity=answered.result.action_propensity,
        occurred_at=asked.at,
        payload=_payload(answered),
    )


def _payload(answered: Answered) -> dict[str, Any]:
    result = answered.result
    return {
        "answer": result.answer,
        "raw_answer": result.raw,
        "parsed_answer": result.parsed,
        "probabilities": [
            {"key": c.key, "value": c.value, "logprobs": dict(c.logprobs)} for c in result.completion.choices
        ],
        "violations": [asdict(violation) for violation in result.violations],
        "repaired": result.repaired,
        "fallback_reason": answered.fallback.reason if answered.fallback else None,
        "served_by": answered.by.name,
        "spec_fingerprint": answered.by.fingerprint,
        "prompt_tokens": result.completion.prompt_tokens,
        "completion_tokens": result.completion.completion_tokens,
        "model_steps": result.completion.model_steps,
        "latency_s": round(result.completion.latency_s, 6),
        "cost": result.cost,
    }


def served(made: Decision) -> Served:
    return Served(decision_id=made.context.decision_id, answer=made.payload["answer"], context=made.context.as_dict())


def stored(row: Mapping[str, Any] | None, asked: Asked) -> Served:
    """What the log has under the key. Raises UsageError where that answers another request; one that the task had to
    build is known by its unit and need, because its tables have moved on."""
    if row is None:
        raise Refused("the decision was neither written nor found; try again with the same key")
    same = row["unit_id"] == asked.unit_id
    if asked.request is not None:
        same = same and row["request_digest"] == digest(asked.request)
    elif asked.need is not None:
        same = same and row["need_id"] == asked.need.need_id
    if not same:
        raise UsageError(
            f"the idempotency key of decision {row['decision_id']} was used for another request",
            cure="use a new key for each need, and the same one only to retry",
        )
    return Served(
        decision_id=str(row["decision_id"]),
        answer=row["payload"]["answer"],
        context={name: str(row[name]) for name in Context.__slots__},
    )
