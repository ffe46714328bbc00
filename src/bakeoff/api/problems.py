"""Every refusal is a problem document (RFC 9457): what is, why, and what to do about it.

Problem types are relative references (`/problems/key-reused`), which the server itself explains: it does not know
under which name people reach it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from bakeoff.errors import BakeoffError, Conflict, NotFound, Refused, Unreachable, UsageError

MEDIA_TYPE = "application/problem+json"
CURE_OF_BUGS = (
    "ask again with the same key; if it stays, send whoever runs this server the `instance`: it is in the log"
)
_SHOWN = 10  # validation errors in one document
log = logging.getLogger("bakeoff.api")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemType:
    """One kind of problem."""

    name: str  # the last part of its `type`
    status: int
    title: str
    explanation: str  # for people who open its `type`
    example: str  # a `detail`
    cure: str  # an example of what to do

    @property
    def uri(self) -> str:
        return f"/problems/{self.name}"


def _types(*rows: tuple[str, int, str, str, str, str]) -> dict[str, ProblemType]:
    names = ("name", "status", "title", "explanation", "example", "cure")
    return {row[0]: ProblemType(**dict(zip(names, row, strict=True))) for row in rows}  # type: ignore[arg-type]  # by position


TYPES = _types(
    ("malformed", 400, "The request cannot be read", "The body is not JSON, or not HTTP's.",
     "the body is not JSON: Expecting value at position 0", "send one JSON object"),
    ("unauthorized", 401, "A key is needed", "The request came without a key, or with one that is not in use.",
     "no key came with this request", "send the header: Authorization: Bearer bko_..."),
    ("forbidden", 403, "This key may not do that", "The key is in use, but its role does not have this right.",
     "key 'shop' is of role application, which may not read",
     "use a key that may: bakeoff keys create --role viewer --name NAME"),
    ("not-found", 404, "There is nothing here", "Neither a route nor a policy of this name.",
     "no policy 'planer_policy'; known: planner_policy", "bakeoff policy list shows them"),
    ("method-not-allowed", 405, "This method does not go here", "The header Allow says which methods do.",
     "GET does not go here", "use POST"),
    ("slow-body", 408, "The body did not come in time", "The connection was closed; nothing of it was kept.",
     "the body was not there after 10 s", "ask again with the same key; send smaller batches where the line is slow"),
    ("conflict", 409, "The same key or id, another content",
     "An idempotency key was used for another request before, or an event's id for another event.",
     "the idempotency key of decision 6f8d... was used for another request",
     "use a new key for each need, and the same one only to retry"),
    ("refused", 409, "A rule says no", "The request is right, but as things stand bakeoff must not or cannot do it.",
     "default experiment ... has no phase, so it serves nobody", "bakeoff status says what comes next"),
    ("too-large", 413, "The body is too large", "Nothing of it was kept.",
     "the body has more than 2097152 bytes", "send smaller batches, or raise body_bytes in [serve] of bakeoff.toml"),
    ("unsupported-media-type", 415, "The body must be JSON", "The header Content-Type says something else, or nothing.",
     "content type 'text/plain'", "send the header: Content-Type: application/json"),
    ("invalid", 422, "The request is wrong", "It was read, but it says something that cannot be.",
     "body unit_id: Field required", "compare it with the example in /docs"),
    ("rate-limited", 429, "Too many requests", "This key asks more often than it may.",
     "key 'shop' may ask 100 times in a second", "ask again after the seconds that Retry-After says"),
    ("headers-too-large", 431, "The headers are too large", "All headers of the request together.",
     "the headers have 20000 bytes, 16384 are allowed", "send smaller cookies or fewer headers"),
    ("internal", 500, "A bug of ours", "What happened is in the server's log under the `instance`.",
     "the server failed; nothing that it did not answer for is lost", CURE_OF_BUGS),
    ("unavailable", 503, "Something that this needs does not answer", "Mostly the database. Nothing was kept.",
     "PostgreSQL does not answer: connection refused", "ask again with the same key"),
    ("busy", 503, "Too much at once", "All threads work, and enough requests wait for one.",
     "16 requests are worked on and 128 wait", "ask again with the same key, or start another replica"),
    ("deadline", 504, "No answer in time", "Nobody answered before the deadline.",
     "no answer within 10 s", "ask again with the same key; a last resort should answer in milliseconds"),
)  # fmt: skip


class Problem(Exception):  # noqa: N818 - reads as a sentence: raise Problem(...)
    """A refusal of the HTTP edge itself."""

    def __init__(
        self, name: str, detail: str, *, cure: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.type = TYPES[name]
        self.detail, self.cure = detail, cure
        self.headers = dict(headers or {})


class BodyRefused(HTTPException):
    """Raised while the body is read: FastAPI lets only this kind through."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail, headers={"connection": "close"})  # what was not read is not read


def of_error(error: BakeoffError | TimeoutError) -> Problem:
    """What our own errors are in HTTP."""
    detail = str(error.args[0]) if error.args else type(error).__name__
    cure = error.cure if isinstance(error, BakeoffError) else None
    match error:
        case NotFound():
            name = "not-found"
        case Conflict():
            name = "conflict"
        case UsageError():
            name = "invalid"
        case Refused():
            name = "refused"
        case Unreachable():
            return Problem("unavailable", detail, cure=cure, headers={"retry-after": "1"})
        case TimeoutError():
            return Problem("deadline", detail, cure=cure, headers={"retry-after": "1"})
        case _:
            name = "internal"
    return Problem(name, detail, cure=cure)


def body_of(problem: Problem, instance: str, errors: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    """The document itself."""
    said: dict[str, Any] = {
        "type": problem.type.uri,
        "title": problem.type.title,
        "status": problem.type.status,
        "detail": problem.detail,
        "instance": instance,
        "cure": problem.cure or problem.type.cure,
    }
    return said | ({"errors": list(errors)} if errors else {})


def instance_of(scope: Scope) -> str:
    """`urn:uuid:...` of this one request: the log and the header X-Request-Id know it too."""
    return f"urn:uuid:{scope['bakeoff.request_id']}"


def respond(scope: Scope, problem: Problem, errors: Sequence[Mapping[str, str]] = ()) -> Response:
    scope["bakeoff.problem"] = problem.type.name
    content = orjson.dumps(body_of(problem, instance_of(scope), errors))
    return Response(content, status_code=problem.type.status, media_type=MEDIA_TYPE, headers=problem.headers)


def handle_all(app: FastAPI) -> None:
    """Makes every error that `app` meets a problem document."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (BakeoffError, TimeoutError):
        app.add_exception_handler(kind, _ours)
    app.add_exception_handler(Exception, _unknown)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return respond(request.scope, error)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, BakeoffError | TimeoutError)
    problem = of_error(error)
    if problem.type.name == "internal":
        return await _unknown(request, error)
    return respond(request.scope, problem)


async def _unknown(request: Request, error: Exception) -> Response:
    """Says nothing of what happened: that is in the log, under the same id."""
    log.error("%s %s %s failed", instance_of(request.scope), request.method, request.url.path, exc_info=error)
    return respond(request.scope, Problem("internal", "the server failed"))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if found and found[0]["type"] == "json_invalid":
        why = found[0].get("ctx", {}).get("error", "")
        return respond(request.scope, Problem("malformed", f"the body is not JSON: {why} at {found[0]['loc'][-1]}"))
    errors = [{"where": _where(each["loc"]), "detail": str(each["msg"])} for each in found[:_SHOWN]]
    detail = "; ".join(f"{each['where']}: {each['detail']}" for each in errors[:3])
    return respond(request.scope, Problem("invalid", detail), errors)


def _where(loc: Sequence[Any]) -> str:
    """('body', 'context', 'variant_id') -> 'body context.variant_id'."""
    place, *parts = loc
    return f"{place} {'.'.join(map(str, parts))}".strip()


_BY_STATUS = {
    400: "malformed",
    404: "not-found",
    405: "method-not-allowed",
    408: "slow-body",
    413: "too-large",
    415: "unsupported-media-type",
}


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    name = _BY_STATUS.get(error.status_code)
    if name is None:
        return await _unknown(request, error)
    detail, cure = str(error.detail), None
    if error.status_code == 404:
        detail, cure = f"no route {request.url.path}", "GET /docs shows what there is"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail, cure = f"{request.method} does not go here", f"use {allowed}" if allowed else None
    return respond(request.scope, Problem(name, detail, cure=cure, headers=error.headers))
