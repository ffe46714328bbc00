"""SIMULATION. The town's application: keeps the planner's own tables while the town lives, as a product would.

`Application.decide` and `Application.emit` stand between the town and whoever answers, and write what an application
knows at that moment, with system time set to it: households, pantries and the week's ask before the answer, the plan
and what came of it after. Nothing hidden is written."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from bakeoff.task import Request, Served
from bakeoff.world import Decide, Emit
from planner import tables
from planner.episodes import BUILT_BY
from planner.recipes import load_recipes
from planner.tables import Ask, Conn, Stock, WeekPlan
from planner.town.world import Town

WEEK_BUILT_BY: Mapping[str, Any] = {**BUILT_BY, "timeout": "timeout"}
"""A week is lived as planned whoever accepted it; an example needs a person (`episodes.BUILT_BY`)."""


class Application:
    """One application over `conn`, whose transaction the caller owns. Weeks must be lived in order."""

    def __init__(self, conn: Conn, town: Town) -> None:
        self._conn = conn
        self._town = town
        self._seen: set[str] = set()  # households that have signed up
        self._shown: dict[str, tuple[str, date, frozenset[str]]] = {}  # decision -> household, week, dishes

    def open(self) -> None:
        """The catalogue with its ratings, before anybody came."""
        at = _morning(self._town.week_start(0) - timedelta(days=80))
        tables.set_clock(self._conn, at)
        tables.save_catalog(self._conn, load_recipes())
        tables.save_ratings(self._conn, self._town.ratings)

    def live(self, week: int, decide: Decide, emit: Emit) -> None:
        """One week of the town, with its tables kept."""
        self._town.step(week, self._deciding(decide), self._emitting(emit))

    def _deciding(self, decide: Decide) -> Decide:
        def asked(*, key: str, unit_id: str, request: Request, at: datetime) -> Served:
            self._sign_up(unit_id)
            tables.set_clock(self._conn, at)
            self._ask(unit_id, request, at)
            served = decide(key=key, unit_id=unit_id, request=request, at=at)
            shown = frozenset(entry["recipe_id"] for entry in served.answer.get("entries", ()))
            week_start = date.fromisoformat(request["week_start"])
            self._shown[served.decision_id] = unit_id, week_start, shown
            tables.save_plan(self._conn, unit_id, WeekPlan(week_start=week_start))
            return served

        return asked

    def _emitting(self, emit: Emit) -> Emit:
        def reacted(
            *, event_id: str, event_type: str, context: Mapping[str, str], at: datetime, payload: Mapping[str, Any]
        ) -> None:
            keep = _REACTIONS.get(event_type)
            if keep is not None:
                unit_id, week_start, shown = self._shown[context["decision_id"]]
                tables.set_clock(self._conn, at)
                tables.save_plan(self._conn, unit_id, keep(week_start, shown, at, payload))
            emit(event_id=event_id, event_type=event_type, context=context, at=at, payload=payload)

        return reacted

    def _sign_up(self, unit_id: str) -> None:
        """The first time: who they are, what a week looks like, and the weeks that they planned by hand before."""
        if unit_id in self._seen:
            return
        self._seen.add(unit_id)
        who, past = self._town.residents[unit_id], self._town.life(unit_id).weeks
        since = _morning(min(past, default=self._town.week_start(0)))
        tables.set_clock(self._conn, since)
        tables.save_household(self._conn, unit_id, who.household, created_at=since)
        tables.save_constraints(self._conn, unit_id, who.slots)
        for week_start, week in past.items():
            at = _morning(week_start)
            entries = [
                {"day": slot.day, "recipe_id": dish, "servings": slot.eaters}
                for slot, dish in zip(who.slots, week.accepted, strict=False)
            ]
            tables.set_clock(self._conn, at)
            tables.save_plan(
                self._conn,
                unit_id,
                WeekPlan(
                    week_start=week_start,
                    entries=entries,
                    built_by="unaided",
                    accepted_at=at,
                    removed=week.removed,
                ),
            )

    def _ask(self, unit_id: str, request: Request, at: datetime) -> None:
        first = {item["item"] for item in request["pantry"] if item["use_first"]}
        pantry = self._town.life(unit_id).pantry
        stock = [Stock(item=item, expires_on=day, use_first=item in first) for item, day in sorted(pantry.items())]
        tables.save_pantry(self._conn, unit_id, stock)
        ask = Ask(
            week_start=date.fromisoformat(request["week_start"]),
            at=at,
            options=[option["id"] for option in request["options"]],
            workflow=request["workflow_type"],
            mode=request["mode"],
            anchors=request["anchors"],
        )
        tables.save_ask(self._conn, unit_id, ask)


def _accepted(week_start: date, shown: frozenset[str], at: datetime, payload: Mapping[str, Any]) -> WeekPlan:
    """Nobody took anything out of a plan that nobody looked at; it is then shown and accepted whole."""
    dishes = {entry["recipe_id"] for entry in payload["entries"]}
    return WeekPlan(
        week_start=week_start,
        entries=payload["entries"],
        built_by=WEEK_BUILT_BY[payload["accepted_by"]],
        accepted_at=at,
        removed=sorted(shown - dishes),
    )


def _rejected(week_start: date, shown: frozenset[str], at: datetime, payload: Mapping[str, Any]) -> WeekPlan:  # noqa: ARG001 - as all of `_REACTIONS` are called
    return WeekPlan(week_start=week_start, removed=sorted(shown))


_REACTIONS: Mapping[str, Callable[[date, frozenset[str], datetime, Mapping[str, Any]], WeekPlan]] = {
    "plan_accepted": _accepted,
    "plan_rejected": _rejected,
}


def _morning(day: date) -> datetime:
    return datetime.combine(day, time(5), tzinfo=UTC)
