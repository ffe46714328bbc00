"""One decision: read and assign in a short transaction, run the policy in none, write decision and exposure in one.

A failing, slow or broken policy never breaks the product: the policy's last resort answers, the event says who
really served, and the unit stays in its variant (design rule 11). Answers are given only once they are durable.
`decide` is for commands, simulations and tests: it runs the policy where it is called. `Service` is for servers."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg

from bakeoff.errors import Refused, UsageError
from bakeoff.events import store as events
from bakeoff.events.model import Decision, decision_id, plain
from bakeoff.experiments import store as experiments
from bakeoff.fingerprint import as_stored
from bakeoff.inference.model import Engines, PolicyAnswer, Recorded
from bakeoff.inference.run_policy import run_policy
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.serving import fallback
from bakeoff.serving.assignment import assigned
from bakeoff.serving.model import Asked, Own, Plan, Transactions
from bakeoff.serving.record import decision, served, stored
from bakeoff.task import Request, RequestKey, Served, Task


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
    asked = check(policy_id, key=key, unit_id=unit_id, request=request, at=at)
    with db.transaction() as conn:
        plan = begin(conn, asked, lambda _: task)
    if isinstance(plan, Served):
        return plan
    check_answerable(plan.version, own)

    def run(version: PolicyVersion) -> PolicyAnswer:
        # The policy gets a copy: what is stored is the request as it came, whatever the policy does to its own.
        return _run(engines, task, version, as_stored(plan.request), deadline_s, own)

    answered = fallback.answer(plan, run, run)
    made = decision(task, asked, plan, answered)
    with db.transaction() as conn:
        return finish(conn, asked, plan, made, received_at=at)


def check(
    policy_id: str,
    *,
    key: str,
    unit_id: str,
    request: Request | None,
    at: datetime,
    need: RequestKey | None = None,
) -> Asked:
    """What an application asks, as the log will keep it. Raises UsageError."""
    if not key or not unit_id:
        raise UsageError("a decision needs an idempotency key and a unit id")
    if at.tzinfo is None:
        raise UsageError(f"the moment {at.isoformat()} of a decision has no time zone", cure="send UTC")
    if (request is None) == (need is None):
        raise UsageError(
            "a decision came without a request, and without keys to build it from"
            if request is None
            else "a decision came with a request and with keys to build another one from",
            cure="send request, or need: {unit_id, need_id, as_of}",
        )
    if need is not None and need.unit_id != unit_id:
        raise UsageError(f"the request of unit {need.unit_id!r} is asked for in the name of unit {unit_id!r}")
    plain("idempotency key and unit id", {key: unit_id})
    return Asked(
        policy_id=policy_id,
        decision_id=decision_id(policy_id, key),
        key=key,
        unit_id=unit_id,
        request=None if request is None else plain("request", request),
        need=need,
        at=at.astimezone(UTC),
    )


VersionsOf = Callable[[events.Conn, str, str], tuple[PolicyVersion, PolicyVersion | None]]
"""Policy id and policy version id -> that version, and the policy's last resort."""


def begin(
    conn: events.Conn,
    asked: Asked,
    task_of: Callable[[PolicyVersion], Task],
    versions_of: VersionsOf = policies.serving_versions,
) -> Plan | Served:
    """The stored answer where the key was used before, else who is to answer. Nothing is written: the variant is drawn
    from what is in force in the database at this moment, never from memory. What is in force is read by one statement,
    and versions do not change, so a connection that commits each statement will do."""
    row = events.find_decision(conn, asked.decision_id)
    if row is not None:
        return stored(row, asked)
    drawn = assigned(conn, asked.policy_id, unit_id=asked.unit_id, key=asked.key, at=asked.at)
    version, last_resort = versions_of(conn, asked.policy_id, drawn.policy_version_id)
    request = asked.request if asked.need is None else _built(conn, task_of(version), asked.need)
    assert request is not None  # `check` saw to it
    return Plan(assigned=drawn, version=version, last_resort=last_resort, request=request)


def _built(conn: events.Conn, task: Task, need: RequestKey) -> Request:
    what = f"request of unit {need.unit_id}, need {need.need_id}, as of {need.as_of.isoformat()}"
    try:
        with conn.transaction():
            built = next(iter(task.requests(conn, [need])), None)
    except psycopg.OperationalError:
        raise
    except Exception as error:  # a task's own code, on a stranger's keys
        raise Refused(f"task {task.name} failed to build the {what}: {type(error).__name__}: {error}") from error
    if built is None:
        raise UsageError(
            f"task {task.name} cannot build the {what}",
            cure="check the keys, or send the whole request; a task builds requests by its method `requests`",
        )
    return plain(what, built)


def finish(conn: events.Conn, asked: Asked, plan: Plan, made: Decision, *, received_at: datetime) -> Served:
    """Decision and exposure together; where another process answered the same key first, its answer."""
    if not events.append_decision(conn, made, received_at=received_at):
        return stored(events.find_decision(conn, asked.decision_id), asked)
    if plan.assigned.exposure is not None:
        experiments.insert_exposure(conn, plan.assigned.exposure)
    return served(made)


def check_answerable(version: PolicyVersion, own: Own | None) -> None:
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
