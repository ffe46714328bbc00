"""What serving speaks of."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from bakeoff.errors import Unreachable
from bakeoff.events import store as events
from bakeoff.experiments.model import Exposure
from bakeoff.inference.model import PolicyAnswer
from bakeoff.policies.model import PolicyVersion
from bakeoff.task import Answer, Request, RequestKey

Own = Callable[[Request], Answer]
"""How an application answers by itself."""
Count = Callable[[str, Mapping[str, str]], None]
"""Told that something happened once more: a name and labels, see `Service`."""


class Transactions(Protocol):
    """Where connections come from; the block is one transaction."""

    def transaction(self) -> AbstractContextManager[events.Conn]: ...


class Connections(Transactions, Protocol):
    """Where several threads get connections."""

    def statements(self) -> AbstractContextManager[events.Conn]:
        """Each statement of the block is a transaction of its own, without further round trips."""
        ...


class Stopping(Unreachable):
    """This process takes no more requests; another replica does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What an application asks for, checked."""

    policy_id: str
    decision_id: str
    key: str  # the caller's idempotency key
    unit_id: str
    request: Request | None  # None: the task builds it of `need`
    need: RequestKey | None
    at: datetime  # UTC: the moment of the decision


@dataclass(frozen=True, kw_only=True, slots=True)
class Assigned:
    """An experiment, a variant and with which probability."""

    experiment_id: str
    variant_id: str
    policy_version_id: str
    probability: float
    exposure: Exposure | None  # to be written with the decision, where a unit first meets a test's variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Who is to answer what."""

    assigned: Assigned
    version: PolicyVersion
    last_resort: PolicyVersion | None
    request: Request


Kind = Literal["unrepaired", "error", "timeout", "late", "busy", "loading", "cost"]
"""Why the assigned version did not answer: its answer could not be mended; it raised; it saw the deadline pass; it did
not, and was left behind; its places were taken; it was not in memory in time; it could only have cost too much."""


class NoAnswer(Exception):  # noqa: N818 - reads as a sentence: raise NoAnswer(...)
    """A version did not come to answer, for a reason that is not its own error."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Fallback:
    """Why another than the assigned version answered."""

    kind: Kind
    reason: str  # for the log


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """An answer and who gave it."""

    by: PolicyVersion
    result: PolicyAnswer
    fallback: Fallback | None  # None where the assigned version answered


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What became of one event."""

    event_id: str  # as the log knows it; of a refused row as it was sent, '' where it has none
    status: Literal["stored", "known", "refused"]  # known: the same event is in the log already
    reason: str | None = None  # of a refusal
    cure: str | None = None  # what to change


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionReadiness:
    """A version that answers now, or may after the next phase."""

    name: str  # 'planner_policy/3'
    roles: tuple[str, ...]  # incumbent, explorer, control, treated; 'last resort'; 'next': of a test that has not begun
    loaded: bool
    problem: str | None  # why it is not loaded

    @property
    def serves(self) -> bool:
        """Whether requests are assigned to it now."""
        return any(role not in ("next", "last resort") for role in self.roles)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyReadiness:
    policy_id: str
    versions: tuple[VersionReadiness, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    """Whether this process can answer, as of its last look at the database."""

    ready: bool  # whether to send it requests
    database: bool  # whether PostgreSQL answered at the last look, and that was not long ago
    last_poll_at: datetime | None  # the last look that succeeded; None: none did yet
    policies: tuple[PolicyReadiness, ...]
    missing: tuple[str, ...]  # what stands in the way, in sentences; may be said of a ready process too
    running: int  # requests in progress
    late: int  # answers that were left behind and have not ended
