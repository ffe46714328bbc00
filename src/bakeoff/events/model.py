"""Values of the log, and the checks at its door."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

from orjson import OPT_SORT_KEYS, Fragment, dumps
from pydantic import TypeAdapter, ValidationError

from bakeoff.errors import UsageError
from bakeoff.events.canonical import canonical_bytes, loads
from bakeoff.fingerprint import digest_bytes
from bakeoff.task import EventType, Request, Role, Task

NAMESPACE = uuid.UUID("6f8d2f3e-0f43-5c0e-9d6c-2f6b7a1e4b51")
SKEW = timedelta(minutes=10)
"""How far the clocks of two machines may differ before an event is refused."""
Origin = Literal["live", "backfill"]


class Wrong(UsageError):  # noqa: N818 - reads as a sentence: raise Wrong(...)
    """An event that the log does not take. `reason` is short and the same for all of its kind, so that an import
    can count."""

    def __init__(self, reason: str, message: str, *, cure: str | None = None) -> None:
        super().__init__(message, cure=cure)
        self.reason = reason


def decision_id(policy_id: str, key: str) -> str:
    """The id that an idempotency key of one policy always gets (uuid v5)."""
    return str(uuid.uuid5(NAMESPACE, f"decision|{policy_id}|{key}"))


def event_id(policy_id: str, key: str) -> str:
    """The id that an application's own name of an event always gets (uuid v5)."""
    return str(uuid.uuid5(NAMESPACE, f"event|{policy_id}|{key}"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What an application sends back with every outcome, exactly as `decide` gave it."""

    decision_id: str
    experiment_id: str
    variant_id: str
    policy_version_id: str

    @classmethod
    def of(cls, mapping: Mapping[str, str]) -> "Context":
        """Raises UsageError that names each missing field (failure mode: metadata missing in events)."""
        missing = [name for name in cls.__slots__ if not mapping.get(name)]
        if missing:
            raise Wrong(
                "no context",
                f"the event's context lacks {', '.join(missing)}",
                cure="send back the whole `context` that decide returned",
            )
        return cls(**{name: as_uuid(name, mapping[name]) for name in cls.__slots__})

    def as_dict(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in self.__slots__}


_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def kept_text(name: str, value: object) -> bytes:
    """The canonical JSON of `value`, which the log can keep. Raises UsageError for what it cannot keep."""
    try:
        text = canonical_bytes(value)
        if b"\\u0000" in text and _NUL.search(text):
            raise ValueError("a text holds a NUL character, which PostgreSQL cannot store")
    except (TypeError, ValueError, RecursionError) as error:
        raise Wrong(
            "cannot be kept", f"{name} cannot be logged: {error}", cure="send JSON values without NaN and NUL"
        ) from error
    return text


def text(name: str, value: object) -> str:
    """`value`, a text that is not empty and that the log can keep. Raises UsageError."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise Wrong("wrong type", f"{name} is {value!r}, expected a text")
    if not value.isascii():
        kept_text(name, value)
    return value


def plain(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` as the log will give it back. Raises UsageError for what the log cannot keep as it is."""
    kept: dict[str, Any] = loads(kept_text(name, value))
    return kept


_SPELLING = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def as_uuid(name: str, value: str) -> str:
    """The one spelling of an id. Raises UsageError."""
    try:
        return value if _SPELLING.fullmatch(value) else str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError) as error:
        raise Wrong("wrong type", f"{name} is {value!r}, expected a uuid") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One answer of a policy to a request, ready to be logged."""

    event_id: str
    context: Context
    event_type: str
    task: str
    unit_id: str
    need_id: str
    request: Request
    request_version: str
    served_policy_version_id: str
    assignment_probability: float | None
    action_propensity: float | None
    occurred_at: datetime
    payload: Mapping[str, Any]
    origin: Origin = "live"

    def content_digest(self, request_digest: str) -> str:
        """Of everything that the decision says, its request by digest."""
        return content_digest(
            self.context.as_dict(),
            self.event_type,
            self.unit_id,
            self.occurred_at,
            canonical_bytes(self.payload),
            request=request_digest,
            served=self.served_policy_version_id,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What people did with a decision, checked against the task's event types."""

    event_id: str
    context: Context
    event_type: str
    role: Role
    task: str
    unit_id: str
    occurred_at: datetime
    payload: Mapping[str, Any]
    origin: Origin = "live"

    @property
    def content_digest(self) -> str:
        return content_digest(
            self.context.as_dict(), self.event_type, self.unit_id, self.occurred_at, canonical_bytes(self.payload)
        )


def content_digest(
    context: Mapping[str, str], event_type: str, unit_id: str, occurred_at: datetime, payload: bytes, **more: str
) -> str:
    """What makes two events with one id the same event. `payload` is canonical JSON, `occurred_at` UTC."""
    body = {
        "context": context,
        "event_type": event_type,
        "unit_id": unit_id,
        "occurred_at": occurred_at.isoformat(),
        "payload": Fragment(payload),
        **more,
    }
    return digest_bytes(dumps(body, option=OPT_SORT_KEYS))  # texts only, which orjson spells canonically


def check_payload(kind: EventType, payload: Mapping[str, Any]) -> None:
    """Raises UsageError that names each field that is missing or of another type than its event type declares.
    Fields that are not declared pass."""
    try:
        _adapter(kind).validate_python(payload, strict=True)
    except ValidationError as error:
        found = error.errors()
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'payload'}: {e['msg']}" for e in found[:3])
        raise Wrong(
            "missing field" if found[0]["type"] == "missing" else "wrong type",
            f"payload of event {kind.name} is wrong: {wrong}",
            cure=f"{kind.name} needs {', '.join(sorted(kind.required)) or 'nothing'}"
            f"; it may have {', '.join(sorted(kind.fields - kind.required)) or 'nothing else'}",
        ) from error


@cache
def _adapter(kind: EventType) -> TypeAdapter[Any]:
    return TypeAdapter(kind.payload)


def check_future(occurred_at: datetime, *, received_at: datetime) -> None:
    """Raises UsageError for an event that says it happened more than `SKEW` after it was received."""
    if occurred_at - received_at > SKEW:
        raise Wrong(
            "in the future",
            f"the event says it happened at {occurred_at.isoformat()}, but it is {received_at.isoformat()} here",
            cure=f"clocks may differ by {SKEW.seconds // 60} minutes; set the clock of the machine that sent it",
        )


def _moment(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise Wrong("bad time", f"occurred_at {value.isoformat()} has no time zone", cure="send UTC, for instance ...Z")
    return value.astimezone(UTC)


def _kind(types: Sequence[EventType], name: str, *, decision: bool) -> EventType:
    for kind in types:
        if kind.name == name and (kind.role is Role.DECISION) == decision:
            return kind
    known = sorted(kind.name for kind in types if (kind.role is Role.DECISION) == decision)
    what = "decisions" if decision else "outcomes"
    raise Wrong("unknown event type", f"unknown event type {name!r}", cure=f"known {what}: {', '.join(known)}")


def outcome(
    types: Sequence[EventType],
    *,
    task: str,
    event_id: str,
    event_type: str,
    unit_id: str,
    context: Mapping[str, str],
    occurred_at: datetime,
    payload: Mapping[str, Any],
    origin: Origin = "live",
) -> Outcome:
    """Checks one outcome at the door. Raises UsageError for an unknown type, a missing payload field, a time
    without zone, or an incomplete context. Unknown payload fields are kept."""
    kind = _kind(types, event_type, decision=False)
    check_payload(kind, payload)
    return Outcome(
        event_id=as_uuid("event_id", event_id),
        context=Context.of(context),
        event_type=event_type,
        role=kind.role,
        task=task,
        unit_id=text("unit_id", unit_id),
        occurred_at=_moment(occurred_at),
        payload=plain(f"payload of event {event_type}", payload),
        origin=origin,
    )


def decision(
    task: Task,
    *,
    event_id: str,
    event_type: str,
    unit_id: str,
    context: Mapping[str, str],
    occurred_at: datetime,
    payload: Mapping[str, Any],
    request: Request,
    assignment_probability: float | None = None,
    action_propensity: float | None = None,
    origin: Origin = "live",
) -> Decision:
    """Checks a decision that another than `serving.decide` made: by an application itself, or long ago. The version
    that the context names is the one that answered. Raises UsageError as `outcome` does, and for a request that the
    task cannot read."""
    check_payload(_kind(task.event_types, event_type, decision=True), payload)
    checked = Context.of(context)
    return Decision(
        event_id=as_uuid("event_id", event_id),
        context=checked,
        event_type=event_type,
        task=task.name,
        unit_id=text("unit_id", unit_id),
        need_id=need_of(task, request),
        request=plain("request", request),
        request_version=task.request_version,
        served_policy_version_id=checked.policy_version_id,
        assignment_probability=probability("assignment_probability", assignment_probability),
        action_propensity=probability("action_propensity", action_propensity),
        occurred_at=_moment(occurred_at),
        payload=plain(f"payload of event {event_type}", payload),
        origin=origin,
    )


def need_of(task: Task, request: Request) -> str:
    """Which need the request is for, as the task says. Raises UsageError where it cannot read it."""
    try:
        return text("need_id", task.need(request))
    except Exception as error:  # a task's own code on a foreign request: whatever it raises, the request is wrong
        raise Wrong(
            "the task cannot read the request",
            f"task {task.name} cannot say which need the request is for: {type(error).__name__}: {error}",
            cure=f"the request must be one of version {task.request_version} of task {task.name}",
        ) from error


def probability(name: str, value: float | None) -> float | None:
    """Raises UsageError for what is no probability above 0."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise Wrong("wrong type", f"{name} is {value!r}, expected a number above 0 and up to 1")
    return float(value)
