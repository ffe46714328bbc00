"""Outcomes at the door: what is checked, and what the log will give back."""

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from bakeoff.errors import UsageError
from bakeoff.events.model import Context, decision_id, outcome, plain
from bakeoff.task import Accepted, EventType, Role


class Chosen(Accepted):
    drink: object


TYPES = (
    EventType(name="offered", role=Role.DECISION),
    EventType(name="accepted", role=Role.ACCEPT, payload=Chosen, source="accepted_by"),
)
CONTEXT = {name: str(uuid.UUID(int=n + 1)) for n, name in enumerate(Context.__slots__)}
AT = datetime(2025, 1, 6, 9, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "task": "toy",
    "event_id": str(uuid.UUID(int=9)),
    "event_type": "accepted",
    "unit_id": "u",
    "context": CONTEXT,
    "occurred_at": AT,
    "payload": {"accepted_by": "user", "drink": "tea", "more": 1},
}


def test_an_outcome_keeps_payload_fields_that_nobody_asked_for() -> None:
    made = outcome(TYPES, **GOOD)
    assert (made.role, made.payload["more"]) == (Role.ACCEPT, 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"event_type": "acepted"}, "unknown event type 'acepted'.*\n.*known outcomes: accepted"),
        ({"event_type": "offered"}, "unknown event type 'offered'"),  # a decision comes from `decide` only
        ({"payload": {"drink": "tea"}}, "accepted_by: Field required"),
        ({"payload": {}}, "accepted_by: Field required; drink: Field required"),
        ({"payload": {"accepted_by": 1, "drink": "tea"}}, "accepted_by: Input should be a valid string"),
        ({"occurred_at": AT.replace(tzinfo=None)}, "has no time zone"),
        ({"unit_id": ""}, "unit_id is '', expected a text"),
        ({"unit_id": "u\0"}, "unit_id is .*, expected a text"),
        ({"unit_id": "\ud800"}, "unit_id cannot be logged"),
        ({"event_id": "12"}, "event_id is '12', expected a uuid"),
        ({"context": {**CONTEXT, "variant_id": "v"}}, "variant_id is 'v', expected a uuid"),
        ({"payload": {"accepted_by": "user", "drink": float("nan")}}, "cannot be logged"),
        ({"payload": {"accepted_by": "user", "drink": "te\0"}}, "NUL"),
        ({"payload": {"accepted_by": "user", "drink": "\ud800"}}, "cannot be logged"),
        ({"payload": {"accepted_by": "user", "drink": object()}}, "cannot be logged"),
    ],
)
def test_a_wrong_outcome_is_refused_with_the_reason(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        outcome(TYPES, **{**GOOD, **wrong})


@pytest.mark.parametrize("missing", Context.__slots__)
def test_each_missing_piece_of_context_is_named(missing: str) -> None:
    for context in ({k: v for k, v in CONTEXT.items() if k != missing}, {**CONTEXT, missing: ""}):
        with pytest.raises(UsageError, match=f"lacks {missing}"):
            outcome(TYPES, **{**GOOD, "context": context})


def test_two_spellings_of_one_event_are_one_content() -> None:
    """A retry may spell an id in capitals and a moment in another zone."""
    other = {
        "occurred_at": AT.astimezone(timezone(timedelta(hours=5))),
        "event_id": GOOD["event_id"].upper(),
        "context": {name: value.upper() for name, value in CONTEXT.items()},
        "payload": dict(reversed(GOOD["payload"].items())),
    }
    first, second = outcome(TYPES, **GOOD), outcome(TYPES, **{**GOOD, **other})
    assert first == second
    assert first.content_digest == second.content_digest


@pytest.mark.parametrize(
    "change",
    [
        {"payload": {"accepted_by": "user", "drink": "coffee"}},
        {"unit_id": "v"},
        {"occurred_at": AT + timedelta(seconds=1)},
        {"context": {**CONTEXT, "variant_id": str(uuid.UUID(int=77))}},
    ],
)
def test_other_content_is_another_digest(change: dict[str, Any]) -> None:
    assert outcome(TYPES, **{**GOOD, **change}).content_digest != outcome(TYPES, **GOOD).content_digest


def test_a_key_of_a_policy_is_always_the_same_decision() -> None:
    assert decision_id("p", "k") == decision_id("p", "k") == "df942b9b-2391-5650-8447-79f18c897222"
    assert len({decision_id("p", "k"), decision_id("p", "l"), decision_id("q", "k")}) == 3


def test_plain_values_are_what_json_gives_back() -> None:
    assert plain("x", {"a": (1, {3: AT})}) == {"a": [1, {"3": AT.isoformat()}]}
    assert plain("x", {"a": "\\u0000"}) == {"a": "\\u0000"}  # six characters, no NUL
