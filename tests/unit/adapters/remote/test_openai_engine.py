"""A served model over a real socket, and everything that can go wrong on the way."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

import served
from bakeoff.adapters.remote.connection import Endpoint
from bakeoff.adapters.remote.engine import OpenAIEngine, OpenAIEngines, is_strict, served_models
from bakeoff.errors import Unreachable, UsageError
from bakeoff.inference.model import Decoding, PolicySpec, Price, RemoteModel
from bakeoff.inference.run_policy import run_policy
from bakeoff.task import Completion, Message
from served import MODEL, Server, body, cut, refuse, send
from teachable import Teachable
from tiny import closed_schema

SCHEMA = closed_schema(["drink"], ["tea", "coffee"])
MESSAGES = [Message(role="system", content="Guess."), Message(role="user", content="tea or coffee?")]
DECODING = Decoding(max_tokens=700)
SPEC = PolicySpec(
    task="toy", engine="openai", prompt_version="1", decoding=DECODING, seed=7,
    remote=RemoteModel(name=MODEL, endpoint="house"), price=Price(per_million_prompt_tokens=2.0),
)  # fmt: skip
REQUEST = {"likes": "tea", "day": 1}
SOON = {"retry_after_ms": "1"}  # as some servers say it


@pytest.fixture
def server() -> Iterator[Server]:
    with served.serving() as running:
        yield running


Opened = Callable[..., OpenAIEngine]


@pytest.fixture
def opened(server: Server) -> Iterator[Opened]:
    """Opens an engine on the server; settings of the endpoint may be others."""
    made: list[OpenAIEngines] = []

    def _open(spec: PolicySpec = SPEC, **other: Any) -> OpenAIEngine:
        named = {"base_url": server.url, "key_variable": "HOUSE_KEY", "retries": 2, "timeout_s": 20.0, **other}
        made.append(OpenAIEngines(lambda name: Endpoint(name=name, **named)))
        return made[-1].open(spec)

    yield _open
    for each in made:
        each.close()


def ask(engine: OpenAIEngine, **other: Any) -> Completion:
    return engine.complete(MESSAGES, schema=SCHEMA, decoding=DECODING, **other)


def test_what_is_asked_is_the_spec_and_nothing_of_this_machine(server: Server, opened: Opened) -> None:
    done = ask(opened())
    assert server.asked == [
        {
            "model": MODEL,
            "messages": [{"role": m.role, "content": m.content} for m in MESSAGES],
            "max_tokens": 700,
            "temperature": 0.0,
            "seed": 7,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
            },
        }
    ]
    assert (done.text, done.prompt_tokens, done.completion_tokens) == ('{"drink": "tea"}', 1000, 500)
    assert done.latency_s > 0


def test_a_model_that_takes_no_temperature_gets_none_and_the_limit_by_its_own_name(
    server: Server, opened: Opened
) -> None:
    free = replace(SPEC, remote=RemoteModel(name=MODEL, endpoint="house", temperature=None))
    ask(opened(free, max_tokens_field="max_completion_tokens"))
    assert {"temperature", "seed", "max_tokens"}.isdisjoint(server.asked[0])
    assert server.asked[0]["max_completion_tokens"] == 700


def test_a_key_is_sent_and_a_server_without_one_needs_none(server: Server, opened: Opened) -> None:
    ask(opened())
    server.key = "s3cret"
    ask(opened(key="s3cret"))


def test_a_refused_key_names_its_variable_and_never_itself(server: Server, opened: Opened) -> None:
    server.key = "s3cret"
    with pytest.raises(UsageError, match=r"'house' .* refuses the key \(401\): Incorrect API key") as caught:
        ask(opened(key="wr0ng"))
    assert "correct the key in the variable HOUSE_KEY" in str(caught.value)
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(UsageError, match=r"key_variable of \[endpoints.house\]"):
        ask(opened(key_variable=None))


def test_a_key_is_in_no_text_about_an_endpoint() -> None:
    assert "s3cret" not in repr(Endpoint(name="house", base_url="http://h", key="s3cret"))


@pytest.mark.parametrize(
    "faults",
    [
        (refuse(429, "slow down", **SOON),),
        (refuse(500, "out of memory", **SOON), refuse(503, "loading", **SOON)),
        (cut,),
    ],
    ids=["429 with Retry-After", "500 and 503", "cut connection"],
)
def test_what_may_pass_is_tried_again(server: Server, opened: Opened, faults: tuple[Any, ...]) -> None:
    server.fails(*faults)
    assert ask(opened()).text == '{"drink": "tea"}'
    assert len(server.asked) == len(faults) + 1


def test_retry_after_is_kept_to(server: Server, opened: Opened) -> None:
    server.fails(refuse(429, "slow down", retry_after="1"))
    began = time.monotonic()
    ask(opened())
    assert 0.95 < time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("fault", "says", "cure"),
    [
        (refuse(429, "quota", **SOON), r"at its limit \(429\) after 3 tries: quota", "requests_per_minute"),
        (refuse(500, "out of memory", **SOON), r"fails \(500\) after 3 tries: out of memory", "log"),
        (cut, "does not answer after 3 tries", "base_url of [endpoints.house]"),
    ],
    ids=["429", "500", "cut"],
)
def test_what_does_not_pass_is_unreachable_with_what_to_check(
    server: Server, opened: Opened, fault: Any, says: str, cure: str
) -> None:
    server.fails(fault, fault, fault)
    with pytest.raises(Unreachable, match=says) as caught:
        ask(opened())
    assert server.url in str(caught.value)
    assert cure in str(caught.value.cure)


def test_nobody_there_is_unreachable(opened: Opened) -> None:
    with socket.socket() as taken:  # bound but not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(Unreachable, match=f"{url}.* does not answer: .*") as caught:
            ask(opened(base_url=url, retries=0))
    assert "start the server" in str(caught.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"{not json", "not as an OpenAI-compatible server does"),
        (b'"hello"', "not as an OpenAI-compatible server does"),
        ({"hello": "world"}, "not as an OpenAI-compatible server does"),
        ({**body("x"), "choices": []}, "not as an OpenAI-compatible server does"),
    ],
    ids=["broken JSON", "text", "other JSON", "no choice"],
)
def test_a_server_that_speaks_otherwise_is_told_apart(server: Server, opened: Opened, said: Any, words: str) -> None:
    server.says = lambda asked: said
    with pytest.raises(Unreachable, match=words) as caught:
        ask(opened())
    assert "/v1" in str(caught.value.cure)


def test_a_page_of_html_is_no_such_server(server: Server, opened: Opened) -> None:
    server.fails(lambda handler: send(handler, 200, b"<html>", content_type="text/html"))
    with pytest.raises(Unreachable, match="not as an OpenAI-compatible server does: <html>"):
        ask(opened())


def test_a_model_that_is_not_served_is_wrong_use(server: Server, opened: Opened) -> None:
    unknown = replace(SPEC, remote=RemoteModel(name="hous-7b", endpoint="house"))
    with pytest.raises(UsageError, match="404 for model 'hous-7b': The model `hous-7b` does not exist"):
        ask(opened(unknown))
    assert len(server.asked) == 1  # asking again would not help


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_tokens_field"),
        ("'temperature' does not support 0 with this model", "--temperature server"),
        ("Invalid schema for response_format 'answer'", None),
    ],
)
def test_a_question_that_is_not_taken_comes_with_the_servers_words_and_advice(
    server: Server, opened: Opened, said: str, cure: str | None
) -> None:
    server.fails(refuse(400, said))
    with pytest.raises(UsageError, match="does not take the question") as caught:
        ask(opened())
    assert said in str(caught.value)
    assert caught.value.cure is None if cure is None else cure in str(caught.value.cure)


# ---- time ----------------------------------------------------------------------------------------------------------


def hangs(server: Server) -> Callable[[Any], None]:
    return lambda handler: server.let_go.wait(20)


def drips(server: Server) -> Callable[[Any], None]:
    """A byte every tenth of a second: no single wait is long."""

    def fault(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        while not server.let_go.wait(0.1):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    return fault


@pytest.mark.parametrize("kind", [hangs, drips, lambda server: refuse(503, "busy", retry_after="60")])
def test_a_deadline_cuts_off_whatever_the_call_is_doing(server: Server, opened: Opened, kind: Any) -> None:
    """A server that hangs, one that drips, and the wait before another try."""
    server.fails(kind(server))
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="the deadline passed: endpoint 'house' took 0.4 s") as caught:
        ask(opened(), deadline_s=0.4)
    assert time.monotonic() - began < 10
    assert not isinstance(caught.value, Unreachable)


def test_the_endpoints_own_patience_is_a_timeout_and_says_which_setting(server: Server, opened: Opened) -> None:
    server.fails(hangs(server))
    with pytest.raises(TimeoutError, match="did not answer within 0.4 s") as caught:
        ask(opened(timeout_s=0.4, retries=0), deadline_s=60)
    assert isinstance(caught.value, Unreachable)
    assert "timeout_s of [endpoints.house]" in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_connection_serves_on_after_a_call_was_cut_off(server: Server, opened: Opened) -> None:
    engine = opened()
    server.fails(hangs(server))
    with pytest.raises(TimeoutError):
        ask(engine, deadline_s=0.3)
    server.faults.clear()  # on a busy machine the question may not even have arrived
    assert ask(engine).text == '{"drink": "tea"}'


def test_calls_from_many_threads_share_one_connection_and_do_not_mix(server: Server, opened: Opened) -> None:
    server.says = lambda asked: body(asked["messages"][0]["content"])
    engine = opened()

    def one(n: int) -> str:
        message = Message(role="user", content=str(n))
        return engine.complete([message], schema=SCHEMA, decoding=DECODING).text

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(20))) == [str(n) for n in range(20)]
    assert sum(thread.name == "openai" for thread in threading.enumerate()) == 1


FORKS = """
import multiprocessing, sys
from bakeoff.adapters.remote.connection import Connection, Endpoint
connection = Connection(Endpoint(name="house", base_url=sys.argv[1], timeout_s=10))
def ask(said=None):
    page = connection.ask(lambda client: client.models.list())
    return page.data[0].id if said is None else said.put(page.data[0].id)
context = multiprocessing.get_context("fork")
said = context.SimpleQueue()
print(ask())
child = context.Process(target=ask, args=(said,))
child.start()
print(said.get(), ask())
child.join()
"""


def test_a_connection_serves_on_in_a_process_that_was_forked(server: Server) -> None:
    words = [sys.executable, "-W", "ignore", "-c", FORKS, server.url]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == [MODEL] * 3


# ---- what came back -------------------------------------------------------------------------------------------------


def run(engine: OpenAIEngine, spec: PolicySpec = SPEC) -> Any:
    return run_policy(Teachable(), spec, REQUEST, engine=engine)


def test_a_good_answer_is_served_and_costs_its_tokens_at_the_declared_price(opened: Opened) -> None:
    answered = run(opened())
    assert (answered.answer, answered.violations) == ({"drink": "tea"}, ())
    assert answered.cost == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ('{"drink": "petrol"}', "breaks its schema at $.drink: 'petrol' is not one of ['tea', 'coffee']"),
        ('{"drink": "tea", "sugar": 2}', "breaks its schema at $: Additional properties are not allowed"),
        ("{}", "breaks its schema at $: 'drink' is a required property"),
        ('Sure! {"drink": "tea"}', "is no JSON"),
        ('{"drink": "te', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("", "is no JSON"),
        (None, "is no JSON"),
    ],
)
def test_an_answer_outside_of_the_schema_is_a_violation_though_the_server_took_the_schema(
    server: Server, opened: Opened, text: str | None, detail: str
) -> None:
    server.says = lambda asked: body(text)
    answered = run(opened())
    assert (answered.raw, answered.parsed, answered.answer) == (text or "", None, None)
    assert [violation.rule for violation in answered.violations] == ["unparseable"]
    assert detail in answered.violations[0].detail
    assert answered.cost > 0  # it was paid for all the same


def test_an_answer_that_was_cut_off_says_so(server: Server, opened: Opened) -> None:
    server.says = lambda asked: body('{"dri', usage={"prompt_tokens": 3, "completion_tokens": 700, "total_tokens": 703})
    assert "cut off at max_tokens = 700" in run(opened()).violations[0].detail


def test_a_refusal_is_kept_as_what_the_model_said(server: Server, opened: Opened) -> None:
    reply = body(None)
    reply["choices"][0]["message"]["refusal"] = "I do not serve drinks."
    server.says = lambda asked: reply
    assert run(opened()).raw == "I do not serve drinks."


def test_tokens_that_nobody_counted_are_not_free(server: Server, opened: Opened) -> None:
    server.says = lambda asked: body('{"drink": "tea"}', usage=None)
    with pytest.raises(UsageError, match="does not say how many tokens"):
        run(opened())
    unpriced = replace(SPEC, price=Price())
    assert run(opened(unpriced), unpriced).cost == 0.0


def test_the_engine_describes_who_answered(server: Server, opened: Opened) -> None:
    """Asked before anything was answered, it asks for two words."""
    engine = opened()
    described = engine.describe()
    assert server.asked[0]["messages"] == [{"role": "user", "content": "Say OK."}]
    assert (described["engine"], described["endpoint"], described["model"]) == ("openai", "house", MODEL)
    assert described["answered_as"] == [{"model": f"{MODEL}-2026-11-01", "system_fingerprint": "fp_1"}]
    assert set(described["versions"]) == {"openai", "httpx2", "jsonschema"}
    assert server.url not in json.dumps(described)
    server.says = lambda asked: body("x", system_fingerprint="fp_2")
    ask(engine)
    assert [each["system_fingerprint"] for each in engine.describe()["answered_as"]] == ["fp_1", "fp_2"]
    assert len(server.asked) == 2


def test_a_list_of_models_is_asked_for_once(server: Server) -> None:
    assert served_models(Endpoint(name="house", base_url=server.url)) == sorted(server.models)
    server.key = "s3cret"
    with pytest.raises(UsageError, match="401"):
        served_models(Endpoint(name="house", base_url=server.url, retries=5))
    assert len(server.headers) == 2


def test_engines_share_the_connection_of_an_endpoint() -> None:
    engines = OpenAIEngines(lambda name: Endpoint(name=name, base_url="http://127.0.0.1:9/v1"))
    assert engines.open(SPEC) is engines.open(SPEC)
    assert engines.open(SPEC) is not engines.open(replace(SPEC, seed=8))
    assert list(engines._connections) == ["house"]
    before = engines.open(SPEC)
    engines.release(SPEC)
    engines.release(SPEC)
    assert engines.open(SPEC) is not before
    engines.close()


def test_a_spec_of_another_engine_is_refused() -> None:
    engines = OpenAIEngines(lambda name: Endpoint(name=name, base_url="http://h"))
    with pytest.raises(UsageError, match="engine 'python' has no endpoint"):
        engines.open(PolicySpec(task="toy", engine="python", prompt_version="1", function="a:b"))


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (SCHEMA, True),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}, False),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False),
        ({**closed_schema([]), "properties": {"a": {"type": "object"}}, "required": ["a"]}, False),
        ({**closed_schema([]), "properties": {"type": {"enum": ["object"]}}, "required": ["type"]}, True),
        ({"type": "array", "items": SCHEMA}, True),
        ({"type": "array", "prefixItems": [{"type": "object"}]}, False),
    ],
)
def test_strict_is_promised_only_where_every_object_is_closed_and_whole(schema: Any, strict: bool) -> None:
    assert is_strict(schema) is strict
