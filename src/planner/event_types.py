"""What the planner's application logs: one payload model for each type of event."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from bakeoff.task import EventType, Role


class Entry(TypedDict):
    """One dinner of a plan."""

    day: str  # 'mon' to 'sun'
    recipe_id: str
    servings: int


class Plan(TypedDict):
    """Dinners, at most one a day. An answer that nobody could read has none."""

    entries: NotRequired[list[Entry]]


class PlanGenerated(TypedDict):
    """A plan was proposed."""

    answer: Plan
    synthetic: NotRequired[bool]


class PlanAccepted(TypedDict):
    """What is eaten: by 'user' (the proposal, with or without edits), 'user_unaided' (made without it) or 'timeout'
    (nobody looked)."""

    accepted_by: str
    entries: list[Entry]
    edits_since_generated: NotRequired[int]
    seconds_to_accept: NotRequired[int]
    synthetic: NotRequired[bool]


# Functional form: "from" is no name in Python.
MealSwapped = TypedDict(
    "MealSwapped",
    {
        "day": str,
        "from": str,
        "to": str,
        "source": NotRequired[str],
        "reason_code": NotRequired[str | None],
        "synthetic": NotRequired[bool],
    },
)
MealMoved = TypedDict(
    "MealMoved",
    {
        "recipe_id": str,
        "from": str,
        "to": str,
        "reason_code": NotRequired[str | None],
        "synthetic": NotRequired[bool],
    },
)
ServingsChanged = TypedDict(
    "ServingsChanged",
    {
        "day": str,
        "from": int,
        "to": int,
        "reason_code": NotRequired[str | None],
        "synthetic": NotRequired[bool],
    },
)


class MealRemoved(TypedDict):
    """A day is left free."""

    day: str
    recipe_id: str
    reason_code: NotRequired[str | None]
    synthetic: NotRequired[bool]


class MealAdded(TypedDict):
    """A free day gets a dish."""

    day: str
    recipe_id: str
    servings: int
    reason_code: NotRequired[str | None]
    synthetic: NotRequired[bool]


class PlanRejected(TypedDict):
    """The proposal was sent away; `next` says what came instead: 'manual' or 'none'."""

    reason_code: str | None
    next: str
    synthetic: NotRequired[bool]


class PlanRegenerated(TypedDict):
    """Another proposal was asked for."""

    reason_code: NotRequired[str | None]
    synthetic: NotRequired[bool]


class MealsCooked(TypedDict):
    """What was cooked of the plan in the end."""

    cooked: list[dict[str, Any]]
    skipped: NotRequired[list[dict[str, Any]]]
    synthetic: NotRequired[bool]


class ValidatorIntervened(TypedDict):
    """The application's own validator changed the plan before people saw it."""

    rule: NotRequired[str]
    detail: NotRequired[str]


EVENT_TYPES = (
    EventType(name="plan_generated", role=Role.DECISION, payload=PlanGenerated),
    EventType(name="plan_accepted", role=Role.ACCEPT, payload=PlanAccepted, source="accepted_by"),
    EventType(name="meal_swapped", role=Role.EDIT, payload=MealSwapped),
    EventType(name="meal_moved", role=Role.EDIT, payload=MealMoved),
    EventType(name="meal_removed", role=Role.EDIT, payload=MealRemoved),
    EventType(name="meal_added", role=Role.EDIT, payload=MealAdded),
    EventType(name="servings_changed", role=Role.EDIT, payload=ServingsChanged),
    EventType(name="plan_rejected", role=Role.REJECT, payload=PlanRejected),
    EventType(name="plan_regenerated", role=Role.REGENERATE, payload=PlanRegenerated),
    EventType(name="meals_cooked", role=Role.KEPT, payload=MealsCooked),
    EventType(name="validator_intervened", role=Role.INTERVENTION, payload=ValidatorIntervened),
)
