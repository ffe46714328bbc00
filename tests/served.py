"""A small server that speaks the protocol of OpenAI-compatible ones over a real socket, and fails on demand."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Asked = Mapping[str, Any]
"""The body of a request for a completion."""
MODEL = "house-7b"


def first_allowed(asked: Asked) -> str:
    """The answer with the first value of every property: what a server that enforces the schema could give."""
    schema = asked["response_format"]["json_schema"]["schema"] if "response_format" in asked else {"properties": {}}
    return json.dumps({key: body["enum"][0] for key, body in schema["properties"].items()}, ensure_ascii=False)


def body(text: str | None, **other: Any) -> dict[str, Any]:
    """A completion as servers send it."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "c-1", "object": "chat.completion", "created": 1, "model": f"{MODEL}-2026-11-01",
        "system_fingerprint": "fp_1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}, **other,
    }  # fmt: skip


class Server:
    """What it says, what goes wrong first, and what it was asked."""

    def __init__(self) -> None:
        self.says: Callable[[Asked], Any] = lambda asked: body(first_allowed(asked))
        self.faults: list[Callable[[BaseHTTPRequestHandler], None]] = []  # one for each request to come
        self.asked: list[Asked] = []
        self.headers: list[Mapping[str, str]] = []
        self.key: str | None = None  # asked for where it is set
        self.models: Sequence[str] = (MODEL, "other-1b")
        self.let_go = threading.Event()  # set when the test is over: nobody hangs on
        self.url = ""

    def fails(self, *faults: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.faults += faults

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length") or 0)
        asked = json.loads(handler.rfile.read(length) or b"{}")
        self.headers.append(dict(handler.headers))
        if self.key and handler.headers.get("authorization") != f"Bearer {self.key}":
            return refuse(401, "Incorrect API key provided")(handler)
        if handler.path == "/v1/models":
            return send(
                handler, 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
            )
        if handler.path != "/v1/chat/completions":
            return refuse(404, f"no route {handler.path}")(handler)
        self.asked.append(asked)
        if self.faults:
            return self.faults.pop(0)(handler)
        if asked["model"] not in self.models:
            return refuse(404, f"The model `{asked['model']}` does not exist.")(handler)
        return send(handler, 200, self.says(asked))


def send(handler: BaseHTTPRequestHandler, status: int, said: Any, **headers: str) -> None:
    sent = said if isinstance(said, bytes) else json.dumps(said).encode()
    handler.send_response(status)
    for name, value in {"content-type": "application/json", "content-length": str(len(sent)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(sent)


def refuse(status: int, message: str, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: send(handler, status, {"error": {"message": message, "type": "e", "code": None}}, **headers)


def cut(handler: BaseHTTPRequestHandler) -> None:
    """The connection ends in the middle of an answer."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"id": "c-1", "choices": [')
    handler.close_connection = True


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of loopback, stopped at the end."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_POST(self) -> None:
            try:
                server.answer(self)
            except (BrokenPipeError, ConnectionResetError):  # the client did not wait
                self.close_connection = True

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        server.let_go.set()
        http.shutdown()
        thread.join()
        http.server_close()
