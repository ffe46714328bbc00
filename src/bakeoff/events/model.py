"""Values of the log."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from bakeoff.errors import UsageError
from bakeoff.fingerprint import as_stored, digest
from bakeoff.task import EventType, Request, Role

NAMESPACE = uuid.UUID("6f8d2f3e-0f43-5c0e-9d6c-2f6b7a1e4b51")


def decision_id(policy_id: str, key: str) -> str:
    """The id that an idempotency key of one policy always gets (uuid v5)."""
    return str(uuid.uuid5(NAMESPACE, f"decision|{policy_id}|{key}"))


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
            raise UsageError(
                f"the event's context lacks {', '.join(missing)}",
                cure="send back the whole `context` that decide returned",
            )
        return cls(**{name: _uuid(name, mapping[name]) for name in cls.__slots__})

    def as_dict(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in self.__slots__}


def plain(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` as the log will give it back. Raises UsageError for what the log cannot keep as it is."""
    try:
        kept: dict[str, Any] = as_stored(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} cannot be logged: {error}", cure="send JSON values without NaN and NUL") from error
    return kept


def _uuid(name: str, value: str) -> str:
    """The one spelling of an id."""
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"{name} is {value!r}, expected a uuid") from error


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
    assignment_probability: float
    action_propensity: float | None
    occurred_at: datetime
    payload: Mapping[str, Any]
    origin: Literal["live", "backfill"] = "live"


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
    origin: Literal["live", "backfill"] = "live"

    @property
    def content_digest(self) -> str:
        return digest(
            {
                "context": self.context.as_dict(),
                "event_type": self.event_type,
                "unit_id": self.unit_id,
                "occurred_at": self.occurred_at,
                "payload": self.payload,
            }
        )


def check_payload(kind: EventType, payload: Mapping[str, Any]) -> None:
    """Raises UsageError that names each field that is missing or of another type than its event type declares.
    Fields that are not declared pass."""
    try:
        _adapter(kind).validate_python(payload, strict=True)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'payload'}: {e['msg']}" for e in error.errors()[:3])
        raise UsageError(
            f"payload of event {kind.name} is wrong: {wrong}",
            cure=f"{kind.name} needs {', '.join(sorted(kind.required)) or 'nothing'}"
            f"; it may have {', '.join(sorted(kind.fields - kind.required)) or 'nothing else'}",
        ) from error


@cache
def _adapter(kind: EventType) -> TypeAdapter[Any]:
    return TypeAdapter(kind.payload)


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
) -> Outcome:
    """Checks one outcome at the door. Raises UsageError for an unknown type, a missing payload field, a time
    without zone, or an incomplete context. Unknown payload fields are kept."""
    known = {kind.name: kind for kind in types if kind.role is not Role.DECISION}
    kind = known.get(event_type)
    if kind is None:
        raise UsageError(f"unknown event type {event_type!r}", cure=f"known outcomes: {', '.join(sorted(known))}")
    check_payload(kind, payload)
    if occurred_at.tzinfo is None:
        raise UsageError(f"occurred_at {occurred_at.isoformat()} has no time zone", cure="send UTC, for instance ...Z")
    return Outcome(
        event_id=_uuid("event_id", event_id),
        context=Context.of(context),
        event_type=event_type,
        role=kind.role,
        task=task,
        unit_id=unit_id,
        occurred_at=occurred_at.astimezone(UTC),
        payload=plain(f"payload of event {event_type}", payload),
    )
