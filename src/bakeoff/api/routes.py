"""The endpoints: a request as text -> values -> `Service` in a thread -> text."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Header, Path, Security
from fastapi.security import HTTPBearer
from starlette.responses import PlainTextResponse, Response

from bakeoff.api import models
from bakeoff.api.guard import Guard
from bakeoff.api.metrics import CONTENT_TYPE, Metrics
from bakeoff.api.pool import WorkPool
from bakeoff.api.problems import TYPES, Problem, ProblemType
from bakeoff.api.spec import PROBES, refusals
from bakeoff.lifecycle.standing import policy_lines, policy_standing
from bakeoff.serving.model import Receipt, Transactions
from bakeoff.serving.service import Service
from bakeoff.task import RequestKey, Served

BEARER = [Security(HTTPBearer(auto_error=False, description="A key of `bakeoff keys create`.", bearerFormat="bko_..."))]
Policy = Annotated[models.PolicyName, Path(description="The policy, for instance planner_policy.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What endpoints are made of."""

    service: Service
    db: Transactions
    guard: Guard
    pool: WorkPool
    metrics: Metrics
    clock: Callable[[], datetime]
    deadline_s: float
    batch_events: int


def application_routes(parts: Parts) -> APIRouter:
    """What an application calls."""
    router = APIRouter(route_class=parts.guard.route("decide"), dependencies=BEARER, tags=["application"])

    @router.post(
        "/v1/policies/{policy}/decide",
        response_model=models.Decided,
        responses=refusals("decide"),
        summary="Ask for an answer",
    )
    async def decide(
        policy: Policy, key: Annotated[models.Key, Header(alias="Idempotency-Key")], body: models.DecideBody
    ) -> Response:
        """Assigns the unit, runs the policy, writes decision and exposure, then answers. When no version has an answer
        in time, the policy's last resort does. The same Idempotency-Key gets the stored answer."""
        served = await parts.pool.run(_decide, parts, policy, key, body)
        return _json(200, _served(served))

    @router.post(
        "/v1/events",
        response_model=models.ReceiptsBody,
        responses=refusals("events"),
        summary="Say what people did",
    )
    async def events(body: Annotated[models.OneEventBody | models.BatchBody, Body()]) -> Response:
        """One event, or many of one task. An event that was sent before is known, and is one event. A refused event of
        a batch does not hold up the others; a single one that is refused is a problem document."""
        rows = body.events if isinstance(body, models.BatchBody) else [body]
        if len(rows) > parts.batch_events:
            raise Problem("too-large", f"{len(rows)} events, {parts.batch_events} are allowed in one batch")
        receipts = await parts.pool.run(parts.service.log, body.task, [_row(event) for event in rows])
        if isinstance(body, models.OneEventBody) and receipts[0].status == "refused":
            raise _refusal(receipts[0])
        return _json(200, _receipts(receipts))

    return router


def viewer_routes(parts: Parts) -> APIRouter:
    """What people and their tools look at."""
    router = APIRouter(route_class=parts.guard.route("read"), dependencies=BEARER, tags=["viewer"])

    @router.get("/v1/policies", response_model=models.PoliciesBody, responses=refusals("read"), summary="List policies")
    async def policies() -> models.PoliciesBody:
        lines = await parts.pool.run(policy_lines, parts.db)
        return models.PoliciesBody(policies=[models.PolicyLineBody.model_validate(line) for line in lines])

    @router.get(
        "/v1/policies/{policy}/status",
        response_model=models.StandingBody,
        responses=refusals("read one"),
        summary="Where a policy stands",
    )
    async def status(policy: Policy) -> models.StandingBody:
        return models.StandingBody.model_validate(await parts.pool.run(policy_standing, parts.db, policy))

    @router.get(
        "/metrics", response_class=PlainTextResponse, responses=refusals("read"), summary="Numbers for Prometheus"
    )
    async def metrics() -> Response:
        return Response(parts.metrics.text(), headers={"content-type": CONTENT_TYPE})

    return router


def open_routes(parts: Parts) -> APIRouter:
    """What needs no key."""
    router = APIRouter(tags=["probes"])

    @router.get("/healthz", response_model=models.HealthBody, responses=refusals("open"), summary="Is it alive?")
    async def healthz() -> models.HealthBody:
        return models.HealthBody()

    @router.get("/readyz", response_model=models.ReadyBody, responses=PROBES, summary="Is it ready?")
    async def readyz() -> Response:
        """503 where this process should get no requests now."""
        found = parts.service.readiness()  # asks nobody, so it waits for nobody
        body = models.ReadyBody(
            ready=found.ready, database=found.database, last_poll_at=found.last_poll_at, missing=list(found.missing)
        )
        return Response(body.model_dump_json(), 200 if found.ready else 503, media_type="application/json")

    @router.get("/problems/{name}", include_in_schema=False)
    async def problem(name: str) -> Response:
        if name not in TYPES:
            raise Problem("not-found", f"no problem {name!r}; known: {', '.join(TYPES)}")
        return PlainTextResponse(_explained(TYPES[name]))

    return router


def _decide(parts: Parts, policy: str, key: str, body: models.DecideBody) -> Served:
    need = None
    if body.need is not None:
        as_of = body.need.as_of or parts.clock()
        need = RequestKey(unit_id=body.unit_id, need_id=body.need.need_id, as_of=as_of)
    deadline_s = min(body.deadline_s or parts.deadline_s, parts.deadline_s)
    return parts.service.decide(
        policy, key=key, unit_id=body.unit_id, request=body.request, need=need, deadline_s=deadline_s
    )


def _served(served: Served) -> dict[str, Any]:
    return {"decision_id": served.decision_id, "answer": served.answer, "context": dict(served.context)}


def _row(event: models.EventBody) -> dict[str, Any]:
    """As `events.incoming` reads it."""
    context = event.context.model_dump()
    return {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "unit_id": event.unit_id,
        "decision_id": context.pop("decision_id"),
        "context": context,
        "occurred_at": event.occurred_at.isoformat(),
        "payload": event.payload,
    }


def _receipts(receipts: list[Receipt]) -> dict[str, Any]:
    counts = Counter(receipt.status for receipt in receipts)
    return {
        "stored": counts["stored"],
        "known": counts["known"],
        "refused": counts["refused"],
        "receipts": [asdict(receipt) for receipt in receipts],
    }


def _refusal(receipt: Receipt) -> Problem:
    reason = receipt.reason or "the log does not take it"
    return Problem("conflict" if "other content" in reason else "invalid", reason, cure=receipt.cure)


def _explained(kind: ProblemType) -> str:
    return (
        f"{kind.title} ({kind.status})\n\n{kind.explanation}\n\nFor instance: {kind.example}\nWhat to do: {kind.cure}\n"
    )


def _json(status: int, body: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")
