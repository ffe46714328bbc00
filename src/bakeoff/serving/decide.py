"""One decision: read and assign in a short transaction, run the policy in none, write decision and exposure in one.

A failing, slow or broken policy never breaks the product: the policy's last resort answers, the event says who
really served, and the unit stays in its variant (design rule 11). Answers are given only once they are durable."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from bakeoff.errors import Conflict, Refused, UsageError
from bakeoff.events import store as events
from bakeoff.events.model import Context, Decision, decision_id, plain
from bakeoff.experiments import store as experiments
from bakeoff.fingerprint import as_stored, digest
from bakeoff.inference.model import Engines, PolicyAnswer, Recorded
from bakeoff.inference.run_policy import run_policy
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.serving.assignment import Assigned, assigned
from bakeoff.task import Answer, Request, Role, Served, Task

Own = Callable[[Request], Answer]
"""How an application answers by itself."""


class Transactions(Protocol):
    """Where connections come from; the block is one transaction."""

    def transaction(self) -> AbstractContextManager[events.Conn]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """An answer and who gave it."""

    by: PolicyVersion
    result: PolicyAnswer
    fallback_reason: str | None  # None where the assigned version answered


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    assigned: Assigned
    version: PolicyVersion
    last_resort: PolicyVersion | None


def decide(
    db: Transactions,
    engines: Engines,
    task: Task,
    policy_id: str,
    *,
    key: str,
    unit_id: str,
    request: Request,
    at: datetime,
    deadline_s: float | None = None,
    own: Own | None = None,
) -> Served:
    """Answers `request` of `unit_id`. `key` is the caller's idempotency key: the same again gets the stored answer.

    `at` is the moment of the decision (UTC), `deadline_s` wall-clock seconds for the model. `own` is what the
    application does without bakeoff: it is called where the unit's assigned version is the application itself
    (`bakeoff policy adopt --external`), for instance as the control of a test, and its answer is logged as it is.
    Raises UsageError for a key that was used for another request; Refused where neither the policy nor its last
    resort has an answer, and where the application has to answer but `own` is not given."""
    kept = _checked(key, unit_id, request, at)
    ident = decision_id(policy_id, key)
    with db.transaction() as conn:
        stored = events.find_decision(conn, ident)
        if stored is not None:
            return _stored(stored, unit_id, kept)
        plan = _plan(conn, policy_id, unit_id, key, at)
    # The policy gets a copy: what is stored is the request as it came, whatever the policy does to its own.
    answered = _answer(engines, task, plan, as_stored(kept), deadline_s, own)
    decision = _decision(task, plan.assigned, answered, ident=ident, unit_id=unit_id, request=kept, at=at)
    with db.transaction() as conn:
        if not events.append_decision(conn, decision, received_at=at):
            return _stored(_found(events.find_decision(conn, ident)), unit_id, kept)
        if plan.assigned.exposure is not None:
            experiments.insert_exposure(conn, plan.assigned.exposure)
    return Served(decision_id=ident, answer=decision.payload["answer"], context=decision.context.as_dict())


def _checked(key: str, unit_id: str, request: Request, at: datetime) -> Request:
    if not key or not unit_id:
        raise UsageError("a decision needs an idempotency key and a unit id")
    if at.tzinfo is None:
        raise UsageError(f"the moment {at.isoformat()} of a decision has no time zone", cure="send UTC")
    plain("idempotency key and unit id", {key: unit_id})
    return plain("request", request)


def _plan(conn: events.Conn, policy_id: str, unit_id: str, key: str, at: datetime) -> _Plan:
    drawn = assigned(conn, policy_id, unit_id=unit_id, key=key, at=at)
    version, last_resort = policies.serving_versions(conn, policy_id, drawn.policy_version_id)
    return _Plan(assigned=drawn, version=version, last_resort=last_resort)


def _answer(
    engines: Engines, task: Task, plan: _Plan, request: Request, deadline_s: float | None, own: Own | None
) -> Answered:
    _check_answerable(plan.version, own)
    reason = "the answer could not be repaired"
    broken: PolicyAnswer | None = None
    try:
        broken = _run(engines, task, plan.version, request, deadline_s, own)
        if broken.answer is not None:
            return Answered(by=plan.version, result=broken, fallback_reason=None)
    except Exception as error:  # whatever the policy does, the product gets an answer and the log gets the reason
        reason = f"{type(error).__name__}: {error}".replace("\0", "\N{REPLACEMENT CHARACTER}")
    if plan.last_resort is None:
        raise Refused(
            f"{plan.version.name} has no answer ({reason}) and its policy names no last resort",
            cure="bakeoff policy last-resort POLICY/VERSION names a python version",
        )
    result = _run(engines, task, plan.last_resort, request, None, None)
    if result.answer is None:
        raise Refused(
            f"neither {plan.version.name} ({reason}) nor its last resort {plan.last_resort.name} has an answer"
        )
    return Answered(by=plan.last_resort, result=_keep_raw(broken, result), fallback_reason=reason)


def _check_answerable(version: PolicyVersion, own: Own | None) -> None:
    """bakeoff never answers in the name of the application: not by its last resort either."""
    if version.is_external and own is None:
        raise Refused(
            f"{version.name} is {version.what}: your application answers here, bakeoff cannot",
            cure="give decide your own function, which is called and logged here: own=lambda request: ...; outside of "
            "tests you can also answer as you always did and log that with bakeoff.events.append. To let bakeoff "
            "answer, a version of its own goes the long way (bakeoff status says which step is next)",
        )


def _run(
    engines: Engines,
    task: Task,
    version: PolicyVersion,
    request: Request,
    deadline_s: float | None,
    own: Own | None,
) -> PolicyAnswer:
    engine = engines.open(version.spec) if version.spec.needs_engine else None
    recorded = None
    if version.is_external and own is not None:
        started = time.perf_counter()
        answer = own(request)
        recorded = Recorded(answer=answer, latency_s=time.perf_counter() - started)
    return run_policy(task, version.spec, request, engine=engine, deadline_s=deadline_s, recorded=recorded)


def _keep_raw(broken: PolicyAnswer | None, served: PolicyAnswer) -> PolicyAnswer:
    """What the assigned policy said stays in the log; what was served comes from the last resort."""
    if broken is None:
        return served
    return PolicyAnswer(
        raw=broken.raw,
        parsed=broken.parsed,
        violations=broken.violations,
        answer=served.answer,
        completion=broken.completion,
        cost=broken.cost,
        action_propensity=None,
    )


def _decision(
    task: Task, drawn: Assigned, answered: Answered, *, ident: str, unit_id: str, request: Request, at: datetime
) -> Decision:
    return Decision(
        event_id=ident,
        context=Context(
            decision_id=ident,
            experiment_id=drawn.experiment_id,
            variant_id=drawn.variant_id,
            policy_version_id=drawn.policy_version_id,
        ),
        event_type=next(kind.name for kind in task.event_types if kind.role is Role.DECISION),
        task=task.name,
        unit_id=unit_id,
        need_id=task.need(request),
        request=request,
        request_version=task.request_version,
        served_policy_version_id=answered.by.policy_version_id,
        assignment_probability=drawn.probability,
        action_propensity=answered.result.action_propensity,
        occurred_at=at,
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
        "fallback_reason": answered.fallback_reason,
        "served_by": answered.by.name,
        "spec_fingerprint": answered.by.fingerprint,
        "prompt_tokens": result.completion.prompt_tokens,
        "completion_tokens": result.completion.completion_tokens,
        "model_steps": result.completion.model_steps,
        "latency_s": round(result.completion.latency_s, 6),
        "cost": result.cost,
    }


def _found(row: dict[str, Any] | None) -> dict[str, Any]:
    if row is None:
        raise Refused("the decision was neither written nor found; try again with the same key")
    return row


def _stored(row: Mapping[str, Any], unit_id: str, request: Request) -> Served:
    if row["unit_id"] != unit_id or row["request_digest"] != digest(request):
        raise Conflict(
            f"the idempotency key of decision {row['decision_id']} was used for another request",
            cure="use a new key for each need, and the same one only to retry",
        )
    return Served(
        decision_id=str(row["decision_id"]),
        answer=row["payload"]["answer"],
        context={name: str(row[name]) for name in Context.__slots__},
    )
