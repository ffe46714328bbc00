"""What the client sends, what it makes of an answer, and when it tries again; no server needed."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.client import RateLimited, Rejected, Retry, Unavailable, protocol
from bakeoff.client.protocol import Call

NONE: dict[str, None] = dict.fromkeys(("need_id", "as_of", "deadline_s"))
CONTEXT = {"decision_id": "d", "experiment_id": "e", "variant_id": "v", "policy_version_id": "p"}


def decide_call(**more: object) -> Call:
    given_ = {"unit_id": "u", "request": {"day": 1}, "key": "k", **NONE, **more}
    return protocol.decide_call("toy_policy", **given_)  # type: ignore[arg-type]


def test_a_decision_as_it_is_sent() -> None:
    call = decide_call(deadline_s=2.0)
    assert call.path == "/v1/policies/toy_policy/decide"
    assert call.headers == {"idempotency-key": "k"}
    assert call.body == {"unit_id": "u", "request": {"day": 1}, "deadline_s": 2.0}
    as_of = datetime(2025, 1, 6, tzinfo=UTC)
    assert decide_call(request=None, need_id="n", as_of=as_of).body == {
        "unit_id": "u", "need": {"need_id": "n", "as_of": "2025-01-06T00:00:00+00:00"},
    }  # fmt: skip


def test_a_policy_name_cannot_leave_its_place_in_the_path() -> None:
    call = protocol.decide_call("../x?y", unit_id="u", request={}, key="k", **NONE)
    assert call.path == "/v1/policies/..%2Fx%3Fy/decide"


@pytest.mark.parametrize(
    "wrong",
    [{"request": None}, {"need_id": "n"}, {"key": ""}, {"key": "ä"}, {"key": "x" * 201}, {"key": "a\nb"},
     {"request": None, "need_id": "n", "as_of": datetime(2025, 1, 6)}],  # noqa: DTZ001
)  # fmt: skip
def test_what_cannot_be_sent_is_a_value_error(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"give either|idempotency key|time zone"):
        decide_call(**wrong)


def test_without_a_key_each_call_is_a_decision_of_its_own() -> None:
    keys = {decide_call(key=None).headers["idempotency-key"] for _ in range(5)}
    assert len(keys) == 5


def test_events_get_an_id_and_a_moment_once() -> None:
    call = protocol.batch("toy", [{"event_type": "accepted", "unit_id": "u", "context": CONTEXT}])
    sent = call.body["events"][0]
    assert sent["event_id"]
    assert datetime.fromisoformat(sent["occurred_at"]).tzinfo is not None
    assert sent["payload"] == {}
    with pytest.raises(ValueError, match="an event has unit; known"):
        protocol.batch("toy", [{"event_type": "accepted", "unit": "u", "context": CONTEXT}])


@given(st.integers(1, 20), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e6))
def test_a_pause_is_never_longer_than_twice_the_longest(tried: int, draw: float, wanted: float | None) -> None:
    retry = Retry(tries=10, first_s=0.1, longest_s=2.0)
    pause = retry.pause(tried, draw, retry_after=wanted)
    assert (pause is None) == (tried >= 10)
    if pause is not None:
        assert 0 <= pause <= 4.0
        assert wanted is None or pause >= min(2.0, wanted)


def test_pauses_grow_twofold() -> None:
    retry = Retry(tries=9, first_s=0.1, longest_s=0.5)
    assert [retry.pause(n, 0.5) for n in (1, 2, 3, 4, 5)] == pytest.approx([0.05, 0.1, 0.2, 0.25, 0.25])


def test_no_try_begins_when_patience_is_over() -> None:
    retry = Retry(tries=9, first_s=1.0, patience_s=10.0)
    assert retry.pause(1, 0.5, spent_s=9.4) == 0.5
    assert retry.pause(1, 0.5, spent_s=9.6) is None
    assert retry.pause(1, 0.0, spent_s=9.0, retry_after=3.0) is None


def test_an_error_speaks_in_the_words_of_the_problem() -> None:
    body = {"type": "/problems/invalid", "title": "T", "status": 422, "detail": "D", "instance": "urn:1", "cure": "C",
            "errors": [{"where": "body unit_id", "detail": "Field required"}]}  # fmt: skip
    error = protocol.error(422, body)
    assert isinstance(error, Rejected)
    assert str(error) == "422 T: D\n  C"
    assert (error.type, error.instance, error.errors[0]["where"]) == ("invalid", "urn:1", "body unit_id")
    assert isinstance(protocol.error(429, body), RateLimited)
    assert isinstance(protocol.error(503, body), Unavailable)
    assert "is this the address" in str(protocol.error(502, "<html>"))


@pytest.mark.parametrize(("said", "seconds"), [("3", 3.0), ("", None), ("soon", None), ("-1", None), ("²", None)])
def test_only_seconds_are_read_of_retry_after(said: str, seconds: float | None) -> None:
    assert protocol.retry_after({"retry-after": said}) == seconds


def test_the_client_brings_nothing_heavy_into_an_application() -> None:
    heavy = [
        "numpy",
        "scipy",
        "pandas",
        "pyarrow",
        "psycopg",
        "pydantic",
        "fastapi",
        "torch",
        "mlflow",
        "rich",
        "click",
    ]
    code = f"import sys, bakeoff.client; print([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
