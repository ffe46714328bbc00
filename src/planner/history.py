"""What a planner logged before bakeoff came, as bakeoff's events: the mapping that each application writes for itself.

``bakeoff events import app.jsonl --map planner.history:to_events`` calls `to_events` for each line. The application's
own words (its field names below) end here; what comes out is one row per event, as the import documents it. The
application stored no requests: each decision says which household, week and moment it was, and the planner builds the
request from its tables as they were then (`planner.rebuild`).

    {"ts", "user", "kind": "plan.created",   "plan_id", "week", "plan": [{"weekday", "recipe", "people"}]}
    {"ts", "user", "kind": "plan.confirmed", "plan_id", "by": "person" | "nobody", "plan": [...]}
    {"ts", "user", "kind": "plan.dismissed", "plan_id", "why", "then": "own plan" | "nothing"}
    {"ts", "user", "kind": "plan.own",       "plan_id", "plan": [...]}
    {"ts", "user", "kind": "week.done",      "plan_id", "cooked": [...], "skipped": [...]}
    {"ts", "user", "kind": "app.opened"}                                                     and whatever else
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Line = Mapping[str, Any]

ACCEPTED_BY = {"person": "user", "nobody": "timeout"}
"""A plan that took effect because nobody looked is no acceptance by a person, and never counts as one."""


def to_events(row: Line) -> Iterator[dict[str, Any]]:
    """Import rows for one line of the log; none for kinds of lines that say nothing about a plan.

    The time and the text of ids pass as they are: the import makes uuids of other texts, the same ones every time.
    Raises KeyError where a line lacks what its kind has: the import rejects it with the line's number."""
    make = _EVENTS.get(row["kind"])
    if make is not None:
        event_type, more = make(row)
        yield {
            "event_type": event_type,
            "unit_id": row["user"],
            "decision_id": row["plan_id"],
            "occurred_at": row["ts"],
            "payload": {**more.pop("payload"), **_mark(row)},
            **more,
        }


_Made = tuple[str, dict[str, Any]]
"""Event type, and what the row has beyond the fields of every row."""


def _created(row: Line) -> _Made:
    key = {"unit_id": row["user"], "need_id": row["week"], "as_of": row["ts"]}
    payload = {"answer": {"entries": _entries(row["plan"])}}
    return "plan_generated", {"payload": payload, "need_id": row["week"], "request_key": key}


def _confirmed(row: Line) -> _Made:
    return _acceptance(row, ACCEPTED_BY[row["by"]])


def _own(row: Line) -> _Made:
    return _acceptance(row, "user_unaided")


def _acceptance(row: Line, accepted_by: str) -> _Made:
    return "plan_accepted", {"payload": {"accepted_by": accepted_by, "entries": _entries(row["plan"])}}


def _dismissed(row: Line) -> _Made:
    after = {"own plan": "manual", "nothing": "none"}[row["then"]]
    return "plan_rejected", {"payload": {"reason_code": row["why"], "next": after}}


def _done(row: Line) -> _Made:
    cooked, skipped = (
        [{"day": _day(m), "recipe_id": m["recipe"]} for m in row[name]] for name in ("cooked", "skipped")
    )
    return "meals_cooked", {"payload": {"cooked": cooked, "skipped": skipped}}


_EVENTS: Mapping[str, Callable[[Line], _Made]] = {
    "plan.created": _created,
    "plan.confirmed": _confirmed,
    "plan.dismissed": _dismissed,
    "plan.own": _own,
    "week.done": _done,
}


def _entries(plan: Sequence[Line]) -> list[dict[str, Any]]:
    return [{"day": _day(meal), "recipe_id": meal["recipe"], "servings": meal["people"]} for meal in plan]


def _day(meal: Line) -> str:
    return str(meal["weekday"])[:3].lower()


def _mark(row: Line) -> dict[str, bool]:
    """Lines of the simulated town say so."""
    return {"synthetic": True} if row.get("synthetic") else {}
