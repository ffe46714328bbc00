"""A small request by hand, and weeks of a small town with the log they leave."""

import copy
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from bakeoff.task import Episode, Example, LoggedEvent, Role
from planner.policies import explorer
from planner.task import PlannerTask
from planner_town import live

DAYS = ("mon", "tue", "wed", "thu", "fri")


def option(name: str, minutes: int = 30, **changes: Any) -> dict[str, Any]:
    """An option without any special feature."""
    plain = {
        "id": name, "title": name.title(), "cuisine": "italian", "main_protein": "egg", "minutes": minutes,
        "cost": "mid", "rating": 3.5, "uses": [], "disliked": [], "flags": {},
    }  # fmt: skip
    return plain | changes


@pytest.fixture
def week() -> Callable[..., dict[str, Any]]:
    """``week(minutes=[...], **changes)``: a request with options a, b, c, ... and five dinners of 45 minutes."""

    def build(minutes: list[int] | None = None, **changes: Any) -> dict[str, Any]:
        options = [option(chr(97 + n), m) for n, m in enumerate(minutes or [30] * 8)]
        slots = [{"day": d, "in_days": n, "max_minutes": 45, "hard": True, "eaters": 2} for n, d in enumerate(DAYS)]
        household = {
            "size": 2, "region": "north", "allergies": [], "diets": [], "dislikes": [],
            "liked_cuisines": [], "liked_proteins": [], "budget": "mid",
        }  # fmt: skip
        plain = {
            "week_start": "2025-01-06", "workflow_type": "plan-first", "mode": "exploratory",
            "household": household, "slots": slots, "pantry": [], "anchors": [], "previous_plan": None,
            "history": {"kept": {}, "removed": {}}, "options": options,
        }  # fmt: skip
        return copy.deepcopy(plain | changes)

    return build


@pytest.fixture
def entries() -> Callable[[str], list[dict[str, Any]]]:
    """``entries("abc")``: a on Monday, b on Tuesday, c on Wednesday, for two; a blank leaves the day empty."""

    def build(dishes: str) -> list[dict[str, Any]]:
        pairs = zip(DAYS, dishes, strict=False)
        return [{"day": day, "recipe_id": dish, "servings": 2} for day, dish in pairs if dish != " "]

    return build


@pytest.fixture
def event() -> Callable[..., LoggedEvent]:
    """``event(role, payload, at=...)`` about decision 'd' of unit 'u'."""

    def build(role: Role, payload: Mapping[str, Any], *, at: Any, decision_id: str = "d") -> LoggedEvent:
        return LoggedEvent(
            event_id=str(uuid.uuid4()), event_type=role.value, role=role, unit_id="u", decision_id=decision_id,
            occurred_at=at, experiment_id="e", variant_id="v", policy_version_id="p",
            served_policy_version_id="p", payload=payload,
        )  # fmt: skip

    return build


@pytest.fixture(scope="session")
def town_log() -> list[Episode]:
    """Two weeks of thirty households, proposals by the explorer."""
    return live(30, 2, lambda _town, _unit, _week, request: explorer(request, seed=0))


@pytest.fixture(scope="session")
def town_examples(town_log: list[Episode]) -> list[Example]:
    return [each for each in PlannerTask().examples(town_log) if isinstance(each, Example)]
