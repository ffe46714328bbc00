"""One row of a file or of a query -> an event that the log takes, or the reason why not. No I/O.

A row is a mapping::

    {"event_type", "unit_id", "decision_id", "occurred_at", "payload",        always
     "event_id", "need_id", "action_propensity",                              where they are known
     "request"  or  "request_key": {"unit_id", "need_id", "as_of"},           decisions
     "context": {"experiment_id", "variant_id", "policy_version_id"}}         unless the import names a policy version
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from bakeoff.events import model
from bakeoff.events.model import Wrong
from bakeoff.fingerprint import digest_bytes
from bakeoff.task import EventType, RequestKey, Role, Task

NEEDED = ("event_type", "unit_id", "decision_id", "occurred_at", "payload")
OPTIONAL = ("event_id", "need_id", "request", "request_key", "context", "action_propensity")
_FIELDS = frozenset(NEEDED + OPTIONAL)
_CONTEXT = frozenset(("experiment_id", "variant_id", "policy_version_id"))
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Served:
    """A variant that rows may name, and when it had traffic."""

    policy_id: str
    version: str  # as people type it: 'planner_policy/1'
    experiment_id: str
    variant_id: str
    policy_version_id: str
    stretches: tuple[tuple[datetime, datetime | None], ...]  # [from, until); until None: it still has

    def at(self, moment: datetime) -> bool:
        return any(begin <= moment and (end is None or moment < end) for begin, end in self.stretches)

    @cached_property
    def context(self) -> Mapping[str, str]:
        return {name: getattr(self, name) for name in _CONTEXT}

    @cached_property
    def columns(self) -> str:
        return f"{self.experiment_id}\t{self.variant_id}\t{self.policy_version_id}"

    @cached_property
    def began(self) -> datetime | None:
        return min((begin for begin, _ in self.stretches), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An event that was checked. Its columns are spelt for COPY at once, so that nothing of a big row is kept."""

    event_id: str
    event_type: str
    unit_id: str
    decision_id: str
    context: Mapping[str, str]  # experiment_id, variant_id, policy_version_id
    undeclared: tuple[str, ...]  # payload fields that the event type does not declare: kept, and counted
    columns: bytes  # of `COLUMNS`, in COPY's text format
    request_digest: str | None = None  # decisions only
    request: bytes | None = None  # canonical JSON, in COPY's text format

    @property
    def is_decision(self) -> bool:
        return self.request is not None


COLUMNS = (
    "event_id", "content_digest", "event_type", "role", "unit_id", "decision_id", "occurred_at", "experiment_id",
    "variant_id", "policy_version_id", "served_policy_version_id", "request_digest", "need_id",
    "assignment_probability", "action_propensity", "payload",
)  # fmt: skip
_NULL = "\\N"


def _spelt_text(text: str) -> str:
    """A text in COPY's text format (PostgreSQL, "COPY", File Formats)."""
    if text.isalnum():
        return text
    text = text.replace("\\", "\\\\").replace("\t", "\\t")
    return text.replace("\n", "\\n").replace("\r", "\\r")


def _spelt_json(text: bytes) -> bytes:
    """Canonical JSON in COPY's text format: it has backslashes, and control characters only behind them."""
    return text.replace(b"\\", b"\\\\") if b"\\" in text else text


def _spelt_number(value: float | None) -> str:
    return _NULL if value is None else repr(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decided:
    """What only a decision has."""

    request: bytes  # canonical JSON
    request_digest: str
    columns: tuple[str, ...]  # from served_policy_version_id to action_propensity


_NO_DECISION = (_NULL,) * 5


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Turns rows into events."""

    task: Task
    variants: Mapping[str, Served]  # every variant of the task's policies, by id
    default: Served | None  # whose rows those without a context are; None: each row has to bring its own
    now: datetime

    @cached_property
    def kinds(self) -> Mapping[str, EventType]:
        return {kind.name: kind for kind in self.task.event_types}

    @cached_property
    def _declared(self) -> Mapping[str, frozenset[str]]:
        return {name: kind.fields for name, kind in self.kinds.items()}

    def request_key(self, row: Row) -> RequestKey | None:
        """Which request the task has to build for this row; None where it brings its own or needs none."""
        wanted = row.get("request_key")
        if wanted is None or row.get("request") is not None or self._kind(row).role is not Role.DECISION:
            return None
        if not isinstance(wanted, Mapping) or set(wanted) != {"unit_id", "need_id", "as_of"}:
            raise Wrong("wrong type", f"request_key is {wanted!r}, expected unit_id, need_id and as_of")
        unit_id, need_id = (_text(wanted, name) for name in ("unit_id", "need_id"))
        if unit_id != row.get("unit_id"):
            raise Wrong("no request", f"request_key names unit {unit_id}, the row is about {row.get('unit_id')!r}")
        return RequestKey(unit_id=unit_id, need_id=need_id, as_of=_moment("request_key.as_of", wanted["as_of"]))

    def entry(self, row: Row, request: Any = None) -> Entry:
        """The event that `row` says. `request`: what the task built for its `request_key`. Raises Wrong."""
        _check_fields(row)
        kind = self._kind(row)
        occurred_at = _moment("occurred_at", row["occurred_at"])
        model.check_future(occurred_at, received_at=self.now)
        is_decision = kind.role is Role.DECISION
        served = self._served(row, occurred_at, is_decision)
        payload, unit_id = _mapping(row, "payload"), _text(row, "unit_id")
        model.check_payload(kind, payload)
        text = model.kept_text(f"payload of event {kind.name}", payload)
        decision_id = _ident(row, "decision_id", model.decision_id, served.policy_id)
        decided = self._decided(row, request, served) if is_decision else None
        _check_belongs(row, is_decision)
        context = {"decision_id": decision_id, **served.context}
        more = {"request": decided.request_digest, "served": served.policy_version_id} if decided else {}
        content = model.content_digest(context, kind.name, unit_id, occurred_at, text, **more)
        if row.get("event_id") is not None:
            event_id = _ident(row, "event_id", model.event_id, served.policy_id)
        else:  # so that a second import finds its own rows
            event_id = decision_id if is_decision else model.event_id(served.policy_id, content)
        columns = (
            event_id, content, kind.name, kind.role.value, _spelt_text(unit_id), decision_id, occurred_at.isoformat(),
            served.columns, *(decided.columns if decided else _NO_DECISION),
        )  # fmt: skip
        return Entry(
            event_id=event_id,
            event_type=kind.name,
            unit_id=unit_id,
            decision_id=decision_id,
            context=served.context,
            undeclared=tuple(payload.keys() - self._declared[kind.name]),
            columns="\t".join(columns).encode() + b"\t" + _spelt_json(text),
            request_digest=decided.request_digest if decided else None,
            request=_spelt_json(decided.request) if decided else None,
        )

    def _decided(self, row: Row, built: Any, served: Served) -> _Decided:
        """What only a decision has."""
        request = row.get("request") if built is None else built
        if request is None:
            raise Wrong("no request", "a decision needs the request that it was made on: request, or request_key")
        if not isinstance(request, Mapping):
            raise Wrong("wrong type", f"request is {type(request).__name__}, expected an object")
        need_id = model.need_of(self.task, request)
        if row.get("need_id") not in (None, need_id):
            raise Wrong("wrong need", f"need_id is {row['need_id']!r}, but the task says {need_id!r} of the request")
        text = model.kept_text("request", request)
        digest = digest_bytes(text)
        probability = 1.0 if served is self.default else None
        propensity = model.probability("action_propensity", row.get("action_propensity"))
        return _Decided(
            request=text,
            request_digest=digest,
            columns=(
                served.policy_version_id, digest, _spelt_text(need_id), _spelt_number(probability),
                _spelt_number(propensity),
            ),
        )  # fmt: skip

    def _kind(self, row: Row) -> EventType:
        kind = self.kinds.get(_text(row, "event_type"))
        if kind is None:
            raise Wrong(
                "unknown event type",
                f"unknown event type {row['event_type']!r}",
                cure=f"known: {', '.join(sorted(self.kinds))}",
            )
        return kind

    def _served(self, row: Row, occurred_at: datetime, is_decision: bool) -> Served:
        """Whose row it is. Never filled in from today's assignment: what served then counts."""
        found = self._named(row) if row.get("context") is not None else self.default
        if found is None:
            raise Wrong(
                "no context",
                "the row has no context, and the import names no policy version",
                cure="add --policy planner_policy/1 (bakeoff policy adopt --external makes such a version)",
            )
        began = found.began
        if (is_decision and not found.at(occurred_at)) or began is None or occurred_at < began - model.SKEW:
            raise Wrong(
                "it did not serve then",
                f"the row says {occurred_at.isoformat()}, but variant {found.variant_id} ({found.version}) "
                f"served {_spelt(found.stretches)}",
                cure="bakeoff policy adopt --external --since D says from when on the application answered",
            )
        return found

    def _named(self, row: Row) -> Served:
        context = dict(_mapping(row, "context"))
        decided = context.pop("decision_id", None)
        if decided is not None and decided != row["decision_id"]:
            raise Wrong("wrong type", f"context names decision {decided}, the row {row['decision_id']!r}")
        missing = sorted(_CONTEXT - context.keys())
        if missing or context.keys() - _CONTEXT:
            extra = sorted(context.keys() - _CONTEXT)
            raise Wrong("no context", f"the context lacks {missing} and has {extra}; it is {sorted(_CONTEXT)}")
        given = {name: model.as_uuid(name, context[name]) for name in _CONTEXT}
        found = self.variants.get(given["variant_id"])
        if found is None or found.context != given:
            raise Wrong(
                "unknown variant",
                f"no variant {given['variant_id']} of experiment {given['experiment_id']} with policy version "
                f"{given['policy_version_id']} among those of task {self.task.name}",
                cure="send the context that decide returned",
            )
        return found


def _check_fields(row: Row) -> None:
    if not row.keys() <= _FIELDS:
        unknown = ", ".join(sorted(map(str, row.keys() - _FIELDS)))
        raise Wrong("unknown field", f"unknown {unknown}", cure=f"known: {', '.join(NEEDED + OPTIONAL)}")
    for name in NEEDED:
        if row.get(name) is None:
            missing = [each for each in NEEDED if row.get(each) is None]
            raise Wrong("missing field", f"the row lacks {', '.join(missing)}")


def _check_belongs(row: Row, is_decision: bool) -> None:
    for name in ("request", "request_key", "action_propensity"):
        if not is_decision and row.get(name) is not None:
            raise Wrong("unknown field", f"{name} belongs to decisions; {row['event_type']} is an outcome")


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None:
        raise Wrong("missing field", f"the row lacks {name}")
    return model.text(name, value)


def _mapping(row: Row, name: str) -> Mapping[str, Any]:
    value = row[name]
    if not isinstance(value, Mapping):
        raise Wrong("wrong type", f"{name} is {type(value).__name__}, expected an object")
    return value


def _moment(name: str, value: object) -> datetime:
    """ISO 8601 with a time zone, or a moment of a column that has one."""
    found = value
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError as error:
            raise Wrong("bad time", f"{name} is {value!r}, expected for instance 2025-01-03T08:00:00Z") from error
    if not isinstance(found, datetime):
        raise Wrong("bad time", f"{name} is {value!r}, expected for instance 2025-01-03T08:00:00Z")
    if found.tzinfo is None:
        raise Wrong("bad time", f"{name} {found.isoformat()} has no time zone", cure="send UTC, for instance ...Z")
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise Wrong("bad time", f"{name} is {value!r}, beyond what a calendar holds") from error


def _ident(row: Row, name: str, made: Callable[[str, str], str], policy_id: str) -> str:
    """A uuid as it is; any other text becomes one that it always gets."""
    text = _text(row, name)
    try:
        return model.as_uuid(name, text)
    except Wrong:
        return made(policy_id, text)


def _spelt(stretches: Sequence[tuple[datetime, datetime | None]]) -> str:
    parts = [f"from {begin.isoformat()}" + (f" until {end.isoformat()}" if end else "") for begin, end in stretches]
    return " and ".join(parts) or "nobody yet"
