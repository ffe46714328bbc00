"""The clients: one that waits, one to await. Both send through `httpx2`, the maintained successor of httpx."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx2

from bakeoff.client import protocol
from bakeoff.client.model import Receipt
from bakeoff.client.protocol import Call, Retry
from bakeoff.task import Served

TIMEOUT = httpx2.Timeout(15.0, connect=3.0)
"""Longer than the server's own deadline: it answers before we give up."""


class _Calls:
    """What both clients say."""

    def __init__(self, base_url: str, key: str, retry: Retry | None) -> None:
        self._url = base_url.rstrip("/")
        self._retry = retry or Retry()
        self._headers = {"authorization": f"Bearer {key}", "user-agent": "bakeoff-client"}

    def _sent(self, call: Call) -> dict[str, Any]:
        return {"url": self._url + call.path, "json": call.body, "headers": call.headers}

    def _outcome(self, response: httpx2.Response, tried: int, spent_s: float) -> float | None:
        """Seconds to wait before the next try; None where `response` is the answer. Raises ApiError."""
        if response.status_code == 200:
            return None
        if protocol.may_try_again(response.status_code):
            wanted = protocol.retry_after(response.headers)
            pause = self._retry.pause(tried, random.random(), spent_s=spent_s, retry_after=wanted)
            if pause is not None:
                return pause
        raise protocol.error(response.status_code, _json(response))

    def _failed(self, error: httpx2.TransportError, tried: int, spent_s: float) -> float:
        """Seconds to wait after a try without an answer. Raises Unavailable."""
        pause = self._retry.pause(tried, random.random(), spent_s=spent_s)
        if pause is None:
            raise protocol.nobody(self._url, error, tried) from error
        return pause


def _json(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


class Client(_Calls):
    """Asks `bakeoff serve` for answers and sends events. Thread-safe; make one and keep it.

    ::

        from bakeoff.client import Client

        bakeoff = Client("http://127.0.0.1:8080", os.environ["BAKEOFF_KEY"])
        served = bakeoff.decide("planner_policy", unit_id="household-7", request=request, key="household-7/2025-W02")
        show(served.answer)
        bakeoff.log("planner", "plan_accepted", unit_id="household-7", context=served.context, payload=...)

    A try that finds no server, or one that is busy, stops or limits the key's rate, is repeated with the same key after
    a random pause; `retry` says how often. timeout: seconds, or an `httpx2.Timeout`; of one try."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout: float | httpx2.Timeout = TIMEOUT,
        retry: Retry | None = None,
    ) -> None:
        super().__init__(base_url, key, retry)
        self._http = httpx2.Client(headers=self._headers, timeout=timeout, follow_redirects=False)

    def decide(
        self,
        policy: str,
        *,
        unit_id: str,
        request: Mapping[str, Any] | None = None,
        key: str | None = None,
        need_id: str | None = None,
        as_of: datetime | None = None,
        deadline_s: float | None = None,
    ) -> Served:
        """The answer of `policy`, durable once you have it.

        request: everything that the policy decides on. Or `need_id` (and `as_of`), where the task builds the request
        from the application's own tables. key: your own name of this decision; the same again, in this process or any
        other, gets the stored answer. None makes one up: then only the tries of this call are one decision.
        deadline_s: seconds on the server, never more than it allows.

        Raises Rejected (`.type`, `.detail`, `.cure`) for what will be refused again, Unavailable where no answer came,
        ValueError for what cannot be sent."""
        return protocol.served(
            self._send(
                protocol.decide_call(
                    policy, unit_id=unit_id, request=request, key=key, need_id=need_id, as_of=as_of,
                    deadline_s=deadline_s,
                )
            )
        )  # fmt: skip

    def log(
        self,
        task: str,
        event_type: str,
        *,
        unit_id: str,
        context: Mapping[str, str],
        payload: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
    ) -> Receipt:
        """Says what people did with one decision. context: what `decide` gave, as it is. occurred_at: default now.
        event_id: one per event; the same again is one event. Raises as `decide` does."""
        sent = protocol.event(
            event_type, unit_id=unit_id, context=context, payload=payload or {}, occurred_at=occurred_at,
            event_id=event_id,
        )  # fmt: skip
        return protocol.receipts(self._send(protocol.single(task, sent)))[0]

    def log_many(self, task: str, events: Sequence[Mapping[str, Any]]) -> list[Receipt]:
        """Many events in one request, each a mapping of what `log` takes; a receipt for each, in their order. A refused
        one does not hold up the others: look at `status`."""
        return protocol.receipts(self._send(protocol.batch(task, events))) if events else []

    def _send(self, call: Call) -> Mapping[str, Any]:
        tried, began = 0, time.monotonic()
        while True:
            tried += 1
            try:
                response = self._http.post(**self._sent(call))
            except httpx2.TransportError as error:
                pause: float | None = self._failed(error, tried, time.monotonic() - began)
            else:
                pause = self._outcome(response, tried, time.monotonic() - began)
                if pause is None:
                    return _body(response)
            time.sleep(pause or 0.0)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Calls):
    """`Client` to await. For one event loop."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout: float | httpx2.Timeout = TIMEOUT,
        retry: Retry | None = None,
    ) -> None:
        super().__init__(base_url, key, retry)
        self._http = httpx2.AsyncClient(headers=self._headers, timeout=timeout, follow_redirects=False)

    async def decide(
        self,
        policy: str,
        *,
        unit_id: str,
        request: Mapping[str, Any] | None = None,
        key: str | None = None,
        need_id: str | None = None,
        as_of: datetime | None = None,
        deadline_s: float | None = None,
    ) -> Served:
        """See `Client.decide`."""
        call = protocol.decide_call(
            policy, unit_id=unit_id, request=request, key=key, need_id=need_id, as_of=as_of, deadline_s=deadline_s
        )
        return protocol.served(await self._send(call))

    async def log(
        self,
        task: str,
        event_type: str,
        *,
        unit_id: str,
        context: Mapping[str, str],
        payload: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
    ) -> Receipt:
        """See `Client.log`."""
        sent = protocol.event(
            event_type, unit_id=unit_id, context=context, payload=payload or {}, occurred_at=occurred_at,
            event_id=event_id,
        )  # fmt: skip
        return protocol.receipts(await self._send(protocol.single(task, sent)))[0]

    async def log_many(self, task: str, events: Sequence[Mapping[str, Any]]) -> list[Receipt]:
        """See `Client.log_many`."""
        return protocol.receipts(await self._send(protocol.batch(task, events))) if events else []

    async def _send(self, call: Call) -> Mapping[str, Any]:
        tried, began = 0, time.monotonic()
        while True:
            tried += 1
            try:
                response = await self._http.post(**self._sent(call))
            except httpx2.TransportError as error:
                pause: float | None = self._failed(error, tried, time.monotonic() - began)
            else:
                pause = self._outcome(response, tried, time.monotonic() - began)
                if pause is None:
                    return _body(response)
            await asyncio.sleep(pause or 0.0)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _body(response: httpx2.Response) -> Mapping[str, Any]:
    """Raises ApiError where something in between answered instead of bakeoff."""
    body = _json(response)
    if not isinstance(body, Mapping):
        raise protocol.error(502, body)
    return body
