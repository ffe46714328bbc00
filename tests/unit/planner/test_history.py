"""An application's own log lines as import rows."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from planner.event_types import EVENT_TYPES
from planner.history import to_events

PAYLOADS = {kind.name: TypeAdapter(kind.payload) for kind in EVENT_TYPES}
MEAL = {"weekday": "Monday", "recipe": "r1", "people": 3}
ENTRY = {"day": "mon", "recipe_id": "r1", "servings": 3}


def line(kind: str, **more: Any) -> dict[str, Any]:
    return {"ts": "2025-01-06T08:00:00Z", "user": "u", "kind": kind, "plan_id": "p-1", **more}


def only(row: dict[str, Any]) -> dict[str, Any]:
    [event] = to_events(row)
    PAYLOADS[event["event_type"]].validate_python(event["payload"], strict=True)
    return event


def test_a_plan_that_was_made_is_a_decision_whose_request_is_to_be_built() -> None:
    event = only(line("plan.created", week="2025-01-06", plan=[MEAL]))
    assert event == {
        "event_type": "plan_generated",
        "unit_id": "u",
        "decision_id": "p-1",
        "occurred_at": "2025-01-06T08:00:00Z",
        "need_id": "2025-01-06",
        "request_key": {"unit_id": "u", "need_id": "2025-01-06", "as_of": "2025-01-06T08:00:00Z"},
        "payload": {"answer": {"entries": [ENTRY]}},
    }


@pytest.mark.parametrize(("by", "accepted_by"), [("person", "user"), ("nobody", "timeout")])
def test_a_time_out_is_no_acceptance_by_a_person(by: str, accepted_by: str) -> None:
    event = only(line("plan.confirmed", by=by, plan=[MEAL]))
    assert event["event_type"] == "plan_accepted"
    assert event["payload"] == {"accepted_by": accepted_by, "entries": [ENTRY]}


def test_a_rejection_and_the_plan_that_came_instead() -> None:
    rejected = only(line("plan.dismissed", why="dislike", then="own plan"))
    assert rejected["payload"] == {"reason_code": "dislike", "next": "manual"}
    assert only(line("plan.own", plan=[MEAL]))["payload"]["accepted_by"] == "user_unaided"


def test_what_was_cooked() -> None:
    event = only(line("week.done", cooked=[MEAL], skipped=[]))
    assert event["payload"] == {"cooked": [{"day": "mon", "recipe_id": "r1"}], "skipped": []}


def test_lines_about_something_else_are_no_events() -> None:
    assert list(to_events({"ts": "2025-01-06T08:00:00Z", "user": "u", "kind": "app.opened"})) == []


def test_simulated_lines_stay_marked() -> None:
    assert only(line("plan.own", plan=[], synthetic=True))["payload"]["synthetic"] is True


def test_a_line_that_lacks_something_is_an_error_that_names_it() -> None:
    with pytest.raises(KeyError, match="plan"):
        list(to_events(line("plan.own")))
