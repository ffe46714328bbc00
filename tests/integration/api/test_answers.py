"""The API over a real socket and a real PostgreSQL: an answer, what people did with it, and every refusal."""

import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import stages
from answering import ROLES, Caller, application, hang_up, keys, serving
from bakeoff import lifecycle
from bakeoff.access.make import ENTROPY
from bakeoff.access.model import KeyRole
from bakeoff.api.problems import TYPES
from bakeoff.bootstrap import utc_now
from bakeoff.errors import Refused, Unreachable
from bakeoff.lifecycle import Deps
from bakeoff.settings import ServeSettings
from bakeoff.task import Served

PROBLEM = "application/problem+json"
SMALL = ServeSettings(body_bytes=4096, header_bytes=2048, batch_events=3, threads=4)


@pytest.fixture(scope="module")
def url(shop: Deps, held: dict[KeyRole, str]) -> Iterator[str]:
    with serving(application(shop, SMALL)) as address:
        yield address


@pytest.fixture
def caller(url: str, held: dict[KeyRole, str]) -> Iterator[Caller]:
    """An application that may."""
    yield Caller(url, held["application"])
    hang_up()


def counted(shop: Deps, unit: str, role: str = "decision") -> int:
    """Events of a unit in the log."""
    with shop.db.transaction() as conn:
        row = conn.execute("select count(*) as n from events where unit_id = %s and role = %s", (unit, role)).fetchone()
    assert row is not None
    return int(row["n"])


class Raising:
    """Serves what no service should."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def start(self) -> None: ...

    def stop(self, drain_s: float) -> None: ...

    def decide(self, *args: Any, **named: Any) -> Any:
        raise self.error


def problem(response: Any, status: int, name: str) -> dict[str, Any]:
    """The document, checked."""
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM), response.text
    said: dict[str, Any] = response.json()
    assert said["type"] == f"/problems/{name}"
    assert said["status"] == status
    assert said["detail"]
    assert said["cure"]
    assert said["instance"] == f"urn:uuid:{response.headers['x-request-id']}"
    assert "Traceback" not in response.text
    return said


def accepted(context: dict[str, str], event_id: str = "e-1", **changes: Any) -> dict[str, Any]:
    return {
        "event_id": event_id if len(event_id) == 36 else f"00000000-0000-4000-8000-{event_id[2:]:0>12}",
        "event_type": "accepted",
        "unit_id": "u",
        "context": context,
        "occurred_at": stages.START.isoformat(),
        "payload": {"accepted_by": "user", "drink": "coffee"},
        **changes,
    }


def test_an_answer_is_durable_and_the_same_key_gets_it_again(caller: Caller, shop: Deps) -> None:
    first = caller.decide("durable", unit="durable")
    assert first.status_code == 200
    assert first.json()["answer"] == {"drink": "coffee"}
    assert set(first.json()["context"]) == {"decision_id", "experiment_id", "variant_id", "policy_version_id"}
    assert caller.decide("durable", unit="durable").json() == first.json()
    assert counted(shop, "durable") == 1


def test_a_key_that_was_used_for_something_else_is_a_conflict(caller: Caller) -> None:
    caller.decide("k")
    said = problem(caller.decide("k", unit="other"), 409, "conflict")
    assert "was used for another request" in said["detail"]
    assert said["cure"].startswith("use a new key for each need")


def test_what_people_did_is_stored_once(caller: Caller, shop: Deps) -> None:
    context = caller.decide("did", unit="did").json()["context"]
    said = {"unit_id": "did"}
    one = {"task": "toy", **accepted(context, "e-1", **said)}
    assert caller.post("/v1/events", one).json()["stored"] == 1
    assert caller.post("/v1/events", one).json()["receipts"][0]["status"] == "known"
    events = [accepted(context, f"e-{n}", **said) for n in (1, 2, 3)]
    events[2]["event_type"] = "thrown away"
    said = caller.post("/v1/events", {"task": "toy", "events": events}).json()
    assert [each["status"] for each in said["receipts"]] == ["known", "stored", "refused"]
    assert (said["stored"], said["known"], said["refused"]) == (1, 1, 1)
    assert "unknown event type" in said["receipts"][2]["reason"]
    assert counted(shop, "did", "accept") == 2


def test_a_single_event_that_is_refused_is_a_problem(caller: Caller) -> None:
    context = caller.decide().json()["context"]
    wrong = {"task": "toy", **accepted(context, "e-10", payload={"accepted_by": "user"})}
    assert "drink" in problem(caller.post("/v1/events", wrong), 422, "invalid")["detail"]
    caller.post("/v1/events", {"task": "toy", **accepted(context, "e-11")})
    other = {"task": "toy", **accepted(context, "e-11", payload={"accepted_by": "user", "drink": "tea"})}
    problem(caller.post("/v1/events", other), 409, "conflict")


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_what_it_is_for_and_nothing_else(
    caller: Caller, held: dict[KeyRole, str], role: KeyRole
) -> None:
    caller.key = held[role]
    applications = [caller.decide(), caller.post("/v1/events", {"task": "toy", "events": []})]
    readers = [caller.get(path) for path in ("/v1/policies", f"/v1/policies/{stages.POLICY}/status", "/metrics")]
    everybodys = [caller.get(path) for path in ("/healthz", "/readyz", "/docs", "/openapi.json")]
    assert {response.status_code for response in everybodys} == {200}
    if role == "application":
        assert [response.status_code for response in applications] == [200, 422]
        assert all("may not read" in problem(response, 403, "forbidden")["detail"] for response in readers)
    else:
        assert {response.status_code for response in readers} == {200}
        assert all("may not decide" in problem(response, 403, "forbidden")["detail"] for response in applications)


@pytest.mark.parametrize("sent", ["", "Basic abc", "Bearer", "Bearer x", "Bearer bko_0123456789ab_" + "A" * 43])
def test_without_a_key_in_use_nothing_is_done(caller: Caller, shop: Deps, sent: str) -> None:
    response = caller.post(
        f"/v1/policies/{stages.POLICY}/decide", {"unit_id": "nobody", "request": {}}, key="", authorization=sent
    )
    said = problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert "bakeoff keys create --role application" in said["cure"]
    assert counted(shop, "nobody") == 0


def test_before_the_first_key_the_server_says_what_to_type(deps: Deps) -> None:
    with serving(application(deps)) as url:
        said = problem(Caller(url, "bko_0123456789ab_" + "A" * 43).decide(), 401, "unauthorized")
    assert said["detail"] == "there is no key in use yet"


def test_a_key_is_known_soon_after_it_was_made_and_unknown_soon_after_it_was_revoked(shop: Deps) -> None:
    with serving(application(shop, clock=utc_now)) as url:
        caller = Caller(url)
        assert caller.get("/v1/policies").status_code == 401
        _, text = lifecycle.create_key(shop, "late", "viewer", entropy=os.urandom(ENTROPY))
        caller.key = text
        ends = time.monotonic() + 60
        while caller.get("/v1/policies").status_code != 200:
            assert time.monotonic() < ends
        lifecycle.revoke_key(shop, "late")
        while caller.get("/v1/policies").status_code != 401:
            assert time.monotonic() < ends


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        (b"{", 400, "malformed"),
        (b"", 422, "invalid"),
        (b"[]", 422, "invalid"),
        (b'{"unit_id": "u"}', 422, "invalid"),
        (b'{"unit_id": "", "request": {}}', 422, "invalid"),
        (b'{"unit_id": "u", "request": {}, "need": {"need_id": "x"}}', 422, "invalid"),
        (b'{"unit_id": "u", "request": {}, "more": 1}', 422, "invalid"),
        (b'{"unit_id": "u", "request": {"day": NaN, "likes": "tea"}}', 422, "invalid"),
        (b'{"unit_id": "u", "request": {"day": "\\u0000", "likes": "tea"}}', 422, "invalid"),
        (b'{"unit_id": "u", "request": {"day": "\\ud800", "likes": "tea"}}', 422, "invalid"),
        (b'{"unit_id": "u", "request": {}}', 422, "invalid"),
        (b'{"unit_id": "u", "need": {"need_id": "1"}}', 422, "invalid"),
        (b"[" * 100_000, 413, "too-large"),
        (b"[" * 4000, 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
    ],
)
def test_a_wrong_body_is_a_problem(caller: Caller, body: bytes, status: int, name: str) -> None:
    path = f"/v1/policies/{stages.POLICY}/decide"
    problem(caller.post(path, body, idempotency_key="wrong"), status, name)


def test_each_wrong_field_is_named(caller: Caller) -> None:
    response = caller.post(f"/v1/policies/{stages.POLICY}/decide", {"request": {}}, idempotency_key="k")
    assert problem(response, 422, "invalid")["errors"] == [{"where": "body unit_id", "detail": "Field required"}]
    response = caller.post(f"/v1/policies/{stages.POLICY}/decide", {"unit_id": "u", "request": {}})
    assert problem(response, 422, "invalid")["errors"][0]["where"] == "header Idempotency-Key"


def test_limits_hold_before_anything_is_read(caller: Caller) -> None:
    path = f"/v1/policies/{stages.POLICY}/decide"
    problem(caller.post(path, {"unit_id": "u" * 5000}, idempotency_key="k"), 413, "too-large")
    problem(caller.decide("k" * 201), 422, "invalid")
    problem(caller.post(path, {}, x_more="y" * 3000), 431, "headers-too-large")
    problem(caller.post(path, {}, content_type="text/plain"), 415, "unsupported-media-type")
    context = caller.decide("fine").json()["context"]
    many = [accepted(context, f"e-{n}", payload={}) for n in range(4)]
    assert (
        "3 are allowed"
        in problem(caller.post("/v1/events", {"task": "toy", "events": many}), 413, "too-large")["detail"]
    )


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(caller: Caller) -> None:
    port = int(str(caller.http.base_url).rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        head = (
            f"POST /v1/policies/{stages.POLICY}/decide HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {caller.key}\r\n"
            "idempotency-key: k\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        raw.sendall(head.encode())
        for _ in range(5):
            raw.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
        answered = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answered.startswith(b"HTTP/1.1 413")
    assert b"/problems/too-large" in answered


def test_a_body_that_trickles_in_holds_nobody_up(shop: Deps, held: dict[KeyRole, str]) -> None:
    with serving(application(shop, ServeSettings(body_s=0.5))) as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
            head = (
                f"POST /v1/policies/{stages.POLICY}/decide HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
                f"{held['application']}\r\nidempotency-key: k\r\ncontent-type: application/json\r\n"
                "content-length: 100\r\n\r\n{"
            )
            raw.sendall(head.encode())  # and 99 bytes never come
            answered = b"".join(iter(lambda: raw.recv(65536), b""))
        assert answered.startswith(b"HTTP/1.1 408")
        assert b"/problems/slow-body" in answered
        assert b"was not there after 0.5 s" in answered


def test_a_key_that_asks_too_often_is_told_when_to_come_back(shop: Deps, held: dict[KeyRole, str]) -> None:
    slow = ServeSettings(requests_per_second=0.01, burst=3)
    with serving(application(shop, slow)) as url:
        caller = Caller(url, held["application"])
        codes = [caller.decide().status_code for _ in range(4)]
        limited = caller.decide()
        assert codes == [200, 200, 200, 429]
        assert problem(limited, 429, "rate-limited")["detail"].endswith("may ask 0.01 times in a second")
        assert 1 <= int(limited.headers["retry-after"]) <= 101
        assert Caller(url, held["viewer"]).get("/v1/policies").status_code == 200, "another key has its own bucket"


def test_routes_methods_and_policies_that_are_not_there(caller: Caller) -> None:
    problem(caller.get("/v1/nothing"), 404, "not-found")
    problem(
        caller.post("/v1/policies/none/decide", {"unit_id": "u", "request": {}}, idempotency_key="k"), 404, "not-found"
    )
    response = caller.get("/v1/events")
    assert "POST" in problem(response, 405, "method-not-allowed")["cure"]
    assert response.headers["allow"] == "POST"
    problem(caller.post("/v1/policies/a%00b/decide", {}, idempotency_key="k"), 422, "invalid")


def test_every_problem_type_can_be_opened(caller: Caller) -> None:
    for kind in TYPES.values():
        page = caller.get(kind.uri)
        assert page.status_code == 200
        assert kind.title in page.text


def test_the_documentation_loads_nothing_from_a_network(caller: Caller) -> None:
    page = caller.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert f"/docs/{name}" in page
        assert caller.get(f"/docs/{name}").status_code == 200
    problem(caller.get("/docs/other.js"), 404, "not-found")


def test_where_policies_stand(caller: Caller, held: dict[KeyRole, str]) -> None:
    caller.key = held["viewer"]
    line = {"policy_id": "toy_policy", "task": "toy", "incumbent": "toy_policy/1", "last_resort": "toy_policy/2"}
    assert caller.get("/v1/policies").json() == {"policies": [line]}
    said = caller.get("/v1/policies/toy_policy/status").json()
    known = [(each["name"], each["status"]) for each in said["versions"]]
    assert known == [("toy_policy/2", "registered"), ("toy_policy/1", "production")]
    assert said["policy"] == line
    assert said["test"] is None
    problem(caller.get("/v1/policies/none/status"), 404, "not-found")


def test_numbers_for_prometheus(shop: Deps, held: dict[KeyRole, str]) -> None:
    with serving(application(shop)) as url:
        caller = Caller(url, held["application"])
        context = caller.decide("counted").json()["context"]
        caller.post("/v1/events", {"task": "toy", **accepted(context, "e-20")})
        caller.get("/v1/nothing")
        text = caller.get("/metrics", key=held["viewer"]).text
    assert 'bakeoff_http_requests_total{method="POST",route="/v1/policies/{policy}/decide",status="200"} 1.0' in text
    assert 'bakeoff_problems_total{type="not-found"} 1.0' in text
    assert 'bakeoff_events_total{status="stored",task="toy"} 1.0' in text
    assert 'bakeoff_http_request_seconds_count{route="/v1/policies/{policy}/decide"} 1.0' in text


def test_a_bug_of_ours_shows_no_traceback_and_is_in_the_log_under_its_id(
    shop: Deps, held: dict[KeyRole, str], caplog: pytest.LogCaptureFixture
) -> None:
    with serving(application(shop, service=Raising(ZeroDivisionError("secret of the house")))) as url:
        said = problem(Caller(url, held["application"]).decide(), 500, "internal")
    assert "secret" not in str(said)
    assert any(said["instance"] in record.getMessage() and record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (Unreachable("PostgreSQL is away"), 503, "unavailable"),
        (TimeoutError("9 s"), 504, "deadline"),
        (Refused("no"), 409, "refused"),
    ],
    ids=["unavailable", "deadline", "refused"],
)
def test_what_cannot_be_answered_now_says_when_to_come_back(
    shop: Deps, held: dict[KeyRole, str], error: Exception, status: int, name: str
) -> None:
    with serving(application(shop, service=Raising(error))) as url:
        response = Caller(url, held["application"]).decide()
    problem(response, status, name)
    assert ("retry-after" in response.headers) == (status >= 500)


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()

    def start(self) -> None: ...

    def stop(self, drain_s: float) -> None:
        self.may_answer.set()

    def decide(self, *args: Any, **named: Any) -> Served:
        assert self.may_answer.wait(120)
        return Served(decision_id="d", answer={}, context={})


def test_who_waits_does_not_hold_up_others_and_too_many_are_sent_away(shop: Deps, held: dict[KeyRole, str]) -> None:
    """One is worked on, one waits, the third hears so at once, whichever that is."""
    slow, answers = Slow(), queue.Queue[Any]()
    with serving(application(shop, ServeSettings(threads=1, waiting=1), service=slow)) as url:
        callers = [Caller(url, held["application"]) for _ in range(3)]
        assert callers[0].post("/v1/events", {}).status_code == 422, "the keys are read"
        threads = [threading.Thread(target=lambda c=c: answers.put(c.decide())) for c in callers]
        for thread in threads:
            thread.start()
        busy = answers.get(timeout=60)
        assert problem(busy, 503, "busy")["detail"] == "1 requests are worked on and 1 wait"
        assert busy.headers["retry-after"] == "1"
        assert Caller(url).get("/healthz").status_code == 200
        slow.may_answer.set()
        assert [answers.get(timeout=60).status_code for _ in range(2)] == [200, 200]
        for thread in threads:
            thread.join(60)


def test_without_its_database_it_answers_nothing_and_says_so(deps: Deps, dsn: str, postgres_server: str) -> None:
    """Rule 10: there would be no row."""
    stages.open_shop(deps, "good")
    key = keys(deps)["application"]
    with serving(application(deps, ServeSettings(deadline_s=3))) as url:
        caller = Caller(url, key)
        assert caller.decide().status_code == 200
        ends = time.monotonic() + 60
        while caller.get("/readyz").json()["ready"] is not True:
            assert time.monotonic() < ends
        with psycopg.connect(postgres_server, autocommit=True) as admin:
            name = dsn.partition("@/")[2].partition("?")[0]
            admin.execute(f"drop database {name} with (force)".encode())
            away = caller.decide("k2")
            assert problem(away, 503, "unavailable")["detail"].startswith("PostgreSQL")
            assert away.headers["retry-after"] == "1"
            while caller.get("/readyz").status_code == 200:
                assert time.monotonic() < ends
                time.sleep(0.1)
            assert caller.get("/readyz").json()["database"] is False
            assert caller.get("/healthz").status_code == 200
            admin.execute(f"create database {name}".encode())  # the fixture drops it
