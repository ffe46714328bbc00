"""The outermost layer: an id for each request, limits that hold before anything is parsed, and no error gets out."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bakeoff.api.problems import BodyRefused, Problem, instance_of, respond

log = logging.getLogger("bakeoff.api")
OnAnswer = Callable[[Scope, int, float], None]
"""Told of each answer: its scope, its status, and how many seconds it took."""


class Door:
    """Wraps an ASGI application."""

    def __init__(self, app: ASGIApp, *, header_bytes: int, body_bytes: int, body_s: float, on_answer: OnAnswer) -> None:
        self.app, self.on_answer = app, on_answer
        self.header_bytes, self.body_bytes, self.body_s = header_bytes, body_bytes, body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["bakeoff.request_id"] = str(uuid.uuid4())
        began, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_own_headers(scope)]
            await send(message)

        try:
            await self._let_in(scope, self._limited(scope, receive), sending)
        except Exception as error:
            if "bakeoff.problem" not in scope:  # who made a problem of it has written it down
                log.error("%s failed", instance_of(scope), exc_info=error)
            if not status:
                await respond(scope, Problem("internal", "the server failed"))(scope, receive, sending)
        finally:
            self.on_answer(scope, status, time.perf_counter() - began)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if size > self.header_bytes:
            detail = f"the headers have {size} bytes, {self.header_bytes} are allowed"
            await respond(scope, Problem("headers-too-large", detail))(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that stops at the limits, whether or not the client said how much it would send."""
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        came = 0
        ends: float | None = asyncio.get_running_loop().time() + self.body_s

        async def receiving() -> Message:
            nonlocal came, ends
            if declared.isdigit() and int(declared) > self.body_bytes:
                raise self._too_large()
            try:
                async with asyncio.timeout_at(ends):
                    message: dict[str, Any] = dict(await receive())
            except TimeoutError as error:
                raise BodyRefused(408, f"the body was not there after {self.body_s:g} s") from error
            came += len(message.get("body", b""))
            if came > self.body_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                ends = None  # who asks again waits for the client to hang up
            return message

        return receiving

    def _too_large(self) -> BodyRefused:
        return BodyRefused(413, f"the body has more than {self.body_bytes} bytes")


def _own_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-request-id", scope["bakeoff.request_id"].encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
