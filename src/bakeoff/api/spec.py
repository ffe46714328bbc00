"""The OpenAPI document: which refusals each endpoint may give, each with an example; pages that need no network."""

from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, Response

from bakeoff.api import models
from bakeoff.api.problems import MEDIA_TYPE, TYPES, Problem, body_of

_INSTANCE = "urn:uuid:6f8d2f3e-0f43-4c0e-9d6c-2f6b7a1e4b51"
_ANYWHERE = ("malformed", "too-large", "headers-too-large", "internal")
_WITH_KEY = (*_ANYWHERE, "busy", "unauthorized", "forbidden", "rate-limited", "unavailable")
_TO_READ = ("slow-body", "unsupported-media-type")
_WITH_BODY = (*_WITH_KEY, *_TO_READ, "invalid", "not-found", "conflict", "refused", "deadline")
_OF: dict[str, tuple[str, ...]] = {
    "decide": _WITH_BODY,
    "events": _WITH_BODY,
    "read": _WITH_KEY,
    "read one": (*_WITH_KEY, "not-found", "invalid"),
    "open": _ANYWHERE,
}
Responses = dict[int | str, dict[str, Any]]


def refusals(kind: str) -> Responses:
    """The problem documents of an endpoint, by status, each with an example for every type."""
    found: Responses = {}
    for name in _OF[kind]:
        shown = TYPES[name]
        at = found.setdefault(shown.status, {"model": models.ProblemBody, "description": shown.title, "content": {}})
        content = at["content"].setdefault(MEDIA_TYPE, {"schema": {"$ref": _REF}, "examples": {}})
        value = body_of(Problem(name, shown.example, cure=shown.cure), _INSTANCE)
        content["examples"][name] = {"summary": shown.title, "value": value}
        if shown.title not in at["description"]:
            at["description"] += f"; or: {shown.title}"
    return found


_REF = "#/components/schemas/ProblemBody"
PROBES: Responses = {**refusals("open"), 503: {"model": models.ReadyBody, "description": "Not ready"}}
PAGE = "/docs"
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


def add_pages(app: FastAPI) -> None:
    """Swagger UI from files of the wheel `fastapi-swagger`: the page loads nothing from anywhere else."""
    folder = files("fastapi_swagger.resources")

    @app.get(PAGE, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="bakeoff",
            swagger_js_url=f"{PAGE}/swagger-ui-bundle.js",
            swagger_css_url=f"{PAGE}/swagger-ui.css",
            swagger_favicon_url=f"{PAGE}/favicon-32x32.png",
        )

    @app.get(f"{PAGE}/{{name}}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in _ASSETS:
            raise Problem("not-found", f"no file {name!r} of the documentation")
        return Response(folder.joinpath(name).read_bytes(), media_type=_ASSETS[name])


def finish(app: FastAPI) -> None:
    """Problem documents have their own media type only; FastAPI would add the endpoint's."""
    described = app.openapi()
    for path in described["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                if MEDIA_TYPE in response.get("content", {}):
                    response["content"] = {MEDIA_TYPE: response["content"][MEDIA_TYPE]}
    app.openapi_schema = described
