"""Answers of a served model. Nothing here is deterministic by itself: a server batches requests of others with ours,
and what is behind a name may change."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from bakeoff.adapters.remote.connection import Connection, Endpoint
from bakeoff.adapters.remote.problems import strange
from bakeoff.errors import UsageError
from bakeoff.inference.model import Decoding, PolicySpec, RemoteModel
from bakeoff.task import Completion, JsonSchema, Message

Clock = Callable[[], float]
"""Seconds; only differences matter."""
_PACKAGES = ("openai", "httpx2", "jsonschema")
_LOOK_S = 5.0  # for a list of models


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Who a server says that it answered as."""

    model: str
    system_fingerprint: str | None  # of the backend, where the server knows one


class OpenAIEngine:
    """Answers for one policy spec. Implements `bakeoff.inference.model.Engine`."""

    def __init__(
        self, connection: Connection, spec: PolicySpec, remote: RemoteModel, clock: Clock = time.monotonic
    ) -> None:
        self._connection, self._spec, self._remote, self._clock = connection, spec, remote, clock
        self._identities: dict[Identity, None] = {}  # in the order of their first answer
        self._lock = threading.Lock()

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema,
        decoding: Decoding,
        deadline_s: float | None = None,
    ) -> Completion:
        """See `Engine.complete`. Raises UsageError where the server does not take the question, or says nothing of
        tokens though they have a price."""
        began = self._clock()
        reply = self._ask(messages, decoding, {"response_format": response_format(schema)}, deadline_s)
        used, price = reply.usage, self._spec.price
        if used is None and (price.per_million_prompt_tokens or price.per_million_completion_tokens):
            raise UsageError(
                f"endpoint {self._remote.endpoint!r} does not say how many tokens it used, and the policy has a price",
                cure="make the policy without a price, or ask the server for its usage",
            )
        return Completion(
            text=_text(reply),
            prompt_tokens=int(getattr(used, "prompt_tokens", None) or 0),
            completion_tokens=int(getattr(used, "completion_tokens", None) or 0),
            latency_s=self._clock() - began,
        )

    def describe(self) -> Mapping[str, Any]:
        """What the server says of itself. Where it has not answered yet, it is asked for two words: so a wrong key,
        name or address shows before a long run begins. Raises like `complete`."""
        if not self._identities:
            self._ask([Message(role="user", content="Say OK.")], self._spec.decoding or Decoding(), {}, None)
        return {
            "engine": "openai",
            "endpoint": self._remote.endpoint,
            "model": self._remote.name,
            "answered_as": [
                {"model": each.model, "system_fingerprint": each.system_fingerprint} for each in self._identities
            ],
            "versions": {name: version(name) for name in _PACKAGES},
        }

    def _ask(
        self, messages: Sequence[Message], decoding: Decoding, more: Mapping[str, Any], deadline_s: float | None
    ) -> Any:
        body = {**_body(self._remote, messages, decoding, self._spec.seed, self._connection.endpoint), **more}
        reply = self._connection.ask(
            lambda client: client.chat.completions.create(**body), deadline_s, self._remote.name
        )
        if not getattr(reply, "choices", None) or getattr(reply.choices[0], "message", None) is None:
            endpoint = self._connection.endpoint
            raise strange(f"endpoint {endpoint.name!r} ({endpoint.base_url})", str(reply))
        with self._lock:
            known = Identity(model=str(reply.model), system_fingerprint=getattr(reply, "system_fingerprint", None))
            self._identities[known] = None
        return reply


class OpenAIEngines:
    """Opens engines; keeps one connection per endpoint. Implements `bakeoff.inference.model.Engines`."""

    def __init__(self, endpoint: Callable[[str], Endpoint], clock: Clock = time.monotonic) -> None:
        """`endpoint`: makes a server of an endpoint's name; raises UsageError for one that nobody knows here."""
        self._endpoint, self._clock = endpoint, clock
        self._connections: dict[str, Connection] = {}
        self._engines: dict[str, OpenAIEngine] = {}
        self._lock = threading.Lock()

    def open(self, spec: PolicySpec, *, threads: int | None = None) -> OpenAIEngine:  # noqa: ARG002 - the server's
        """Sends nothing yet. Raises UsageError for a spec of another engine, an endpoint that is not known here, a key
        that is not set."""
        remote = spec.remote
        if spec.engine != "openai" or remote is None:
            raise UsageError(f"a policy of engine '{spec.engine}' has no endpoint", cure="open it with its own engine")
        if spec.decoding is not None and spec.decoding.mode == "choices":
            raise UsageError("a server cannot score all choices in one pass", cure="use decoding mode 'greedy'")
        with self._lock:
            if remote.endpoint not in self._connections:
                self._connections[remote.endpoint] = Connection(self._endpoint(remote.endpoint))
            if spec.fingerprint not in self._engines:
                connection = self._connections[remote.endpoint]
                self._engines[spec.fingerprint] = OpenAIEngine(connection, spec, remote, self._clock)
            return self._engines[spec.fingerprint]

    def release(self, spec: PolicySpec) -> None:
        """The connection stays: it belongs to the endpoint."""
        with self._lock:
            self._engines.pop(spec.fingerprint, None)

    def close(self) -> None:
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections, self._engines = {}, {}


def served_models(endpoint: Endpoint) -> list[str]:
    """Names of the models that a server lists, asked once and for few seconds. Raises like `Connection.ask`."""
    connection = Connection(replace(endpoint, retries=0, timeout_s=_LOOK_S))
    try:
        page = connection.ask(lambda client: client.models.list())
        if not isinstance(getattr(page, "data", None), list):
            raise strange(f"endpoint {endpoint.name!r} ({endpoint.base_url})", str(page))
        return sorted(str(model.id) for model in page.data)
    finally:
        connection.close()


def response_format(schema: JsonSchema) -> dict[str, Any]:
    """The schema as servers want to have it. 'strict' promises to a hosted one that the schema is within the subset
    that it can enforce: every object closed, every property required."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": is_strict(schema), "schema": schema}}


def is_strict(schema: object) -> bool:
    """Whether every object in `schema` is closed and requires all of its properties."""
    if isinstance(schema, Mapping):
        closed = schema.get("additionalProperties") is False
        whole = set(schema.get("required", ())) == set(schema.get("properties", ()))
        return (schema.get("type") != "object" or (closed and whole)) and all(map(is_strict, schema.values()))
    return all(map(is_strict, schema)) if isinstance(schema, list | tuple) else True


def _body(
    remote: RemoteModel, messages: Sequence[Message], decoding: Decoding, seed: int, endpoint: Endpoint
) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if remote.temperature is not None:
        chosen = {"temperature": remote.temperature, "seed": seed}
    return {
        "model": remote.name,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        endpoint.max_tokens_field: decoding.max_tokens,
        **chosen,
    }


def _text(reply: Any) -> str:
    """The answer; where the model refused to give one, its refusal; '' where it said nothing."""
    message = reply.choices[0].message
    return str(message.content or getattr(message, "refusal", None) or "")
