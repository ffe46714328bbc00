"""What to send, what an answer means, and whether to try again: shared by both clients, no I/O."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from bakeoff.client.model import ApiError, RateLimited, Receipt, Rejected, Unavailable
from bakeoff.task import Served

_KEY = re.compile(r"[!-~]([ -~]{0,198}[!-~])?")
_AGAIN = (408, 429, 502, 503, 504)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """Exponential backoff with full jitter (M. Brooker, AWS Architecture Blog, 2015)."""

    tries: int = 4  # in all
    first_s: float = 0.1  # the longest first pause; each later one may be twice as long
    longest_s: float = 5.0  # also of what a server's Retry-After may ask for
    patience_s: float = 20.0  # of one call: no try begins later than this

    def pause(self, tried: int, draw: float, *, spent_s: float = 0.0, retry_after: float | None = None) -> float | None:
        """Seconds to wait after `tried` tries that failed and took `spent_s`; None: give up. `draw` in [0, 1)."""
        jitter = draw * min(self.longest_s, self.first_s * 2.0 ** min(tried - 1, 60))
        wait = jitter if retry_after is None else min(self.longest_s, retry_after) + jitter
        return wait if tried < self.tries and spent_s + wait <= self.patience_s else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request, the same in each try."""

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]


def decide_call(
    policy: str,
    *,
    unit_id: str,
    request: Mapping[str, Any] | None,
    key: str | None,
    need_id: str | None,
    as_of: datetime | None,
    deadline_s: float | None,
) -> Call:
    """Raises ValueError where it cannot be sent."""
    if (request is None) == (need_id is None):
        raise ValueError("give either request, or need_id of what the task builds the request of")
    key = str(uuid.uuid4()) if key is None else key
    if not _KEY.fullmatch(key):
        raise ValueError(f"idempotency key {key!r}; expected up to 200 printable ASCII characters")
    body: dict[str, Any] = {"unit_id": unit_id}
    if need_id is not None:
        body["need"] = {"need_id": need_id} | ({} if as_of is None else {"as_of": spelt(as_of)})
    else:
        body["request"] = request
    if deadline_s is not None:
        body["deadline_s"] = deadline_s
    return Call(path=f"/v1/policies/{quote(policy, safe='')}/decide", body=body, headers={"idempotency-key": key})


def event(
    event_type: str,
    *,
    unit_id: str,
    context: Mapping[str, str],
    payload: Mapping[str, Any],
    occurred_at: datetime | None,
    event_id: str | None,
) -> dict[str, Any]:
    """One event as it is sent. Without an id it gets one here, so that each try sends the same."""
    return {
        "event_id": event_id or str(uuid.uuid4()),
        "event_type": event_type,
        "unit_id": unit_id,
        "context": dict(context),
        "occurred_at": spelt(occurred_at or datetime.now(UTC)),
        "payload": dict(payload),
    }


def batch(task: str, events: Sequence[Mapping[str, Any]]) -> Call:
    """Many events; each as `event` takes it: event_type, unit_id, context, payload, and what is known of the rest."""
    named = ("event_type", "unit_id", "context", "payload", "occurred_at", "event_id")
    for each in events:
        unknown = sorted(each.keys() - set(named))
        if unknown:
            raise ValueError(f"an event has {', '.join(unknown)}; known: {', '.join(named)}")
    filled = [event(**{"payload": {}, "occurred_at": None, "event_id": None, **each}) for each in events]
    return Call(path="/v1/events", body={"task": task, "events": filled}, headers={})


def single(task: str, sent: Mapping[str, Any]) -> Call:
    return Call(path="/v1/events", body={"task": task, **sent}, headers={})


def spelt(moment: datetime) -> str:
    """Raises ValueError where there is no time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; for instance datetime.now(UTC)")
    return moment.isoformat()


def served(body: Mapping[str, Any]) -> Served:
    return Served(decision_id=body["decision_id"], answer=body["answer"], context=body["context"])


def receipts(body: Mapping[str, Any]) -> list[Receipt]:
    return [Receipt(**each) for each in body["receipts"]]


def may_try_again(status: int) -> bool:
    """Whether the same request may get another answer."""
    return status in _AGAIN


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, where the server says them."""
    said = headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() else None


def error(status: int, body: Any) -> ApiError:
    """What an answer that is not 200 says. `body`: the problem document, or whatever a proxy in between sent."""
    said = body if isinstance(body, Mapping) else {}
    kind = RateLimited if status == 429 else Unavailable if status >= 500 or status == 408 else Rejected
    return kind(
        str(said.get("detail", "an answer that is no problem document; is this the address of bakeoff serve?")),
        status=status,
        type=str(said.get("type", "")).rpartition("/")[2],
        title=str(said.get("title", "")),
        instance=said.get("instance"),
        cure=said.get("cure"),
        errors=tuple(said.get("errors") or ()),
    )


def nobody(url: str, why: Exception, tries: int) -> Unavailable:
    return Unavailable(
        f"{url} did not answer in {tries} tries: {type(why).__name__}: {why}",
        cure="is bakeoff serve running there? The same key again is safe",
    )
