"""The application: routes behind the guard, behind the door."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
from fastapi import FastAPI
from starlette.types import ASGIApp

from bakeoff.access.keyring import Keyring
from bakeoff.api import problems, spec
from bakeoff.api.door import Door
from bakeoff.api.guard import Guard
from bakeoff.api.limits import Buckets
from bakeoff.api.metrics import Metrics
from bakeoff.api.pool import WorkPool
from bakeoff.api.routes import Parts, application_routes, open_routes, viewer_routes
from bakeoff.serving.model import Transactions
from bakeoff.serving.service import Service
from bakeoff.settings import ServeSettings

DESCRIPTION = """Ask a policy for an answer, show it, and say what people did with it.

Each request carries a key: `Authorization: Bearer bko_...` (`bakeoff keys create`). Every refusal is a problem document
(RFC 9457) that says what is wrong and what to do."""


def build(
    service: Service,
    db: Transactions,
    *,
    metrics: Metrics,
    clock: Callable[[], datetime],
    settings: ServeSettings,
    version: str,
    on_stop: Callable[[], None] = lambda: None,
) -> ASGIApp:
    """The ASGI application of one process. It starts `service` and stops it, with what is running; `on_stop` is called
    when nothing runs any more."""
    pool = WorkPool(threads=settings.threads, waiting=settings.waiting)
    buckets = Buckets(rate=settings.requests_per_second, burst=settings.burst)
    parts = Parts(
        service=service,
        db=db,
        guard=Guard(Keyring(db, clock=clock), buckets, pool),
        pool=pool,
        metrics=metrics,
        clock=clock,
        deadline_s=settings.deadline_s,
        batch_events=settings.batch_events,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await anyio.to_thread.run_sync(service.start)
        yield
        await anyio.to_thread.run_sync(service.stop, settings.drain_s)
        await anyio.to_thread.run_sync(pool.close)
        await anyio.to_thread.run_sync(on_stop)

    app = FastAPI(
        title="bakeoff",
        description=DESCRIPTION,
        version=version,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    problems.handle_all(app)
    for routes in (application_routes, viewer_routes, open_routes):
        app.include_router(routes(parts))
    spec.add_pages(app)
    spec.finish(app)
    return Door(
        app,
        header_bytes=settings.header_bytes,
        body_bytes=settings.body_bytes,
        body_s=settings.body_s,
        on_answer=metrics.on_answer,
    )
