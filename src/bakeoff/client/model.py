"""What a server answers, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What became of one event."""

    event_id: str  # as the log knows it
    status: Literal["stored", "known", "refused"]  # known: the same event was there already
    reason: str | None = None  # of a refusal
    cure: str | None = None  # what to change


class ApiError(Exception):
    """What a server refused, in the words of its problem document; or that none answered."""

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        type: str = "",
        title: str = "",
        instance: str | None = None,
        cure: str | None = None,
        errors: tuple[Mapping[str, Any], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = detail  # what is wrong this time
        self.status = status  # of HTTP; None where no server answered
        self.type = type  # which kind, for instance 'rate-limited'; '' where no server answered
        self.title = title
        self.instance = instance  # the server's log knows it
        self.cure = cure  # what to do about it
        self.errors = errors  # each wrong field: 'where' and 'detail'

    def __str__(self) -> str:
        said = self.detail if self.status is None else f"{self.status} {self.title}: {self.detail}"
        return f"{said}\n  {self.cure}" if self.cure else said


class Rejected(ApiError):  # noqa: N818 - as errors.Refused
    """The request is wrong, or a rule says no: the same again will be refused again."""


class Unavailable(ApiError):  # noqa: N818 - as errors.Unreachable
    """No answer came, after all tries. What became of the request is not known: the same key again is safe."""


class RateLimited(Unavailable):
    """The key asks more often than it may, after all tries."""
