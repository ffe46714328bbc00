"""Who may come in, checked before the body is read: a key, its right, how often it asks, what it sends."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from bakeoff.access.keyring import Keyring
from bakeoff.access.model import ApiKey, Right
from bakeoff.api.limits import Buckets
from bakeoff.api.pool import WorkPool
from bakeoff.api.problems import Problem

CREATE = "bakeoff keys create --role {role} --name NAME"
ROLE_FOR: dict[Right, str] = {"decide": "application", "read": "viewer", "operate": "operator", "approve": "approver"}
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Guard:
    """Of one process."""

    def __init__(self, keyring: Keyring, buckets: Buckets, pool: WorkPool) -> None:
        self.keyring, self.buckets, self.pool = keyring, buckets, pool

    async def admit(self, request: Request, right: Right) -> ApiKey:
        """The key that `request` came with. Raises Problem where it may not do this now."""
        key = await self._known(_bearer(request, right), right)
        if not key.may(right):
            raise Problem(
                "forbidden",
                f"key {key.name!r} is of role {key.role}, which may not {right}",
                cure=f"use a key that may: {CREATE.format(role=ROLE_FOR[right])}",
            )
        seconds = self.buckets.take(key.key_id, time.monotonic())
        if seconds:
            raise Problem(
                "rate-limited",
                f"key {key.name!r} may ask {self.buckets.rate:g} times in a second",
                headers={"retry-after": str(max(1, round(seconds + 0.5)))},
            )
        if request.method == "POST":
            _check_json(request)
        return key

    async def _known(self, text: str, right: Right) -> ApiKey:
        if self.keyring.is_stale():
            await self.pool.run(self.keyring.freshen)
        key = self.keyring.find(text)
        if key is None and self.keyring.is_stale(missed=True):
            await self.pool.run(self.keyring.freshen, missed=True)
            key = self.keyring.find(text)
        if key is None:
            detail = "there is no key in use yet" if self.keyring.is_empty else "this key is not in use"
            raise _unauthorized(detail, right)
        return key

    def route(self, right: Right) -> type[APIRoute]:
        """A class of routes that only holders of `right` get through."""
        guard = self

        class Guarded(APIRoute):
            def get_route_handler(self) -> Handler:
                inner = super().get_route_handler()

                async def handle(request: Request) -> Response:
                    await guard.admit(request, right)
                    return await inner(request)

                return handle

        return Guarded


def _bearer(request: Request, right: Right) -> str:
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not text.strip():
        raise _unauthorized("no key came with this request", right)
    return text.strip()


def _unauthorized(detail: str, right: Right) -> Problem:
    create = CREATE.format(role=ROLE_FOR[right])
    return Problem(
        "unauthorized",
        detail,
        cure=f"make one with: {create} and send the header: Authorization: Bearer bko_...",
        headers={"www-authenticate": 'Bearer realm="bakeoff"'},
    )


def _check_json(request: Request) -> None:
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Problem("unsupported-media-type", f"content type {kind!r}")
