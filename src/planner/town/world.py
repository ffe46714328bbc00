"""SIMULATION. The town as a `bakeoff.task.World`: asks `decide` for plans and emits what people did with them."""

import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from bakeoff.task import Request, Served
from bakeoff.world import Decide, Emit
from planner.recipes import Recipe, load_recipes
from planner.town.behaviour import Edit, Reaction, draw_mood, liking, react, utilities
from planner.town.life import Life, ask, before, live, weeks_since
from planner.town.people import TOWN, Resident, appeal, resident, stars

ACTIVE = 0.9  # share of households that ask for a plan in a week
COOKED = 0.85  # chance that an accepted dish is cooked in the end
SYNTHETIC = {"synthetic": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class Occasion:
    """One household's week, before anyone decided."""

    request: Request
    utility: Mapping[str, float]  # hidden, per option, with this week's mood
    lasting: Mapping[str, float]  # hidden, per option, without it: what an oracle could know
    at: datetime


class Town:
    """A seeded town. A household's life depends on the seed, its index and the answers it gets, on nothing else:
    not on the size of the town, on `only`, or on the process."""

    heuristic = "planner.policies:heuristic"
    explorer = "planner.policies:explorer"
    experiment_file = Path(__file__).parent / "experiment.toml"

    def __init__(self, *, seed: int, units: int, weeks: int, ends_on: date) -> None:
        self.seed, self.weeks, self.ends_on = seed, weeks, ends_on
        self.residents: Mapping[str, Resident] = {
            person.unit_id: person for person in (resident(seed, index) for index in range(units))
        }
        self._lives: dict[str, Life] = {}
        self._occasions: dict[str, tuple[int, Occasion]] = {}

    @cached_property
    def _appeals(self) -> Mapping[str, float]:
        return {recipe_id: appeal(self.seed, recipe_id) for recipe_id in load_recipes().recipes}

    @cached_property
    def ratings(self) -> Mapping[str, float]:
        """Mean stars per recipe id, as the application shows them."""
        return {recipe_id: stars(self.seed, recipe_id) for recipe_id in load_recipes().recipes}

    def week_start(self, week: int) -> date:
        """First day of `week`; the last week's seventh day is `ends_on`."""
        return self.ends_on - timedelta(days=6 + 7 * (self.weeks - 1 - week))

    def units(self, week: int) -> Sequence[str]:
        return [unit for unit in self.residents if self._rng(unit, week, "active").random() < ACTIVE]

    def step(self, week: int, decide: Decide, emit: Emit, *, only: frozenset[str] | None = None) -> None:
        for unit_id in self.units(week):
            if only is None or unit_id in only:
                self._week(unit_id, week, decide, emit)

    def occasion(self, unit_id: str, week: int) -> Occasion:
        """What `unit_id` asks in `week`, with what it hides. For `step`, and for tests that need an oracle."""
        if self._occasions.get(unit_id, (None,))[0] != week:
            self._occasions[unit_id] = (week, self._open(unit_id, week))
        return self._occasions[unit_id][1]

    def life(self, unit_id: str) -> Life:
        """What has happened to `unit_id` so far; after its first `occasion`. For applications that keep tables."""
        return self._lives[unit_id]

    def _open(self, unit_id: str, week: int) -> Occasion:
        """Happens once a week: asking goes shopping."""
        who, start = self.residents[unit_id], self.week_start(week)

        def likes(recipe: Recipe) -> float:
            return liking(who.taste, recipe, self._appeals[recipe.recipe_id])

        rng = self._rng(unit_id, week, "week")
        if unit_id not in self._lives:
            past = random.Random(f"{self.seed}|{unit_id}|past")
            self._lives[unit_id] = before(past, who, self.week_start(0), likes)
        life = self._lives[unit_id]
        request = ask(rng, who, life, start, self.ratings, likes)
        eaten = weeks_since(life, start)
        mood = draw_mood(rng, request)
        lasting = utilities(who.taste, request, self._appeals, eaten, {})
        at = datetime.combine(start, time(6), tzinfo=UTC) + timedelta(seconds=rng.randrange(15 * 3600))
        return Occasion(
            request=request,
            utility={dish: value + mood[dish] for dish, value in lasting.items()},
            lasting=lasting,
            at=at,
        )

    def _week(self, unit_id: str, week: int, decide: Decide, emit: Emit) -> None:
        start = self.week_start(week)
        occasion = self.occasion(unit_id, week)
        served = decide(key=f"{unit_id}|{start.isoformat()}", unit_id=unit_id, request=occasion.request, at=occasion.at)
        rng = self._rng(unit_id, week, "reaction")
        taste = self.residents[unit_id].taste
        reaction = react(rng, taste, occasion.request, served.answer, occasion.utility)
        cooked = [entry for entry in reaction.entries if rng.random() < COOKED]
        for number, (kind, at, payload) in enumerate(_events(rng, reaction, cooked, occasion.at, start)):
            event_id = str(uuid.uuid5(TOWN, f"{served.decision_id}|{kind}|{number}"))
            emit(event_id=event_id, event_type=kind, context=served.context, at=at, payload=payload | SYNTHETIC)
        self._remember(rng, unit_id, start, served, reaction, cooked)

    def _remember(
        self,
        rng: random.Random,
        unit_id: str,
        start: date,
        served: Served,
        reaction: Reaction,
        cooked: Sequence[Mapping[str, Any]],
    ) -> None:
        accepted = {entry["recipe_id"] for entry in reaction.entries}
        shown = {entry["recipe_id"] for entry in served.answer.get("entries", ())}
        removed = shown - accepted if reaction.kind in ("accepted", "rejected") else set()
        known = load_recipes().recipes
        live(
            rng,
            self._lives[unit_id],
            start,
            accepted=sorted(accepted & known.keys()),
            removed=sorted(removed & known.keys()),
            cooked=[entry["recipe_id"] for entry in cooked if entry["recipe_id"] in known],
        )

    def _rng(self, unit_id: str, week: int, purpose: str) -> random.Random:
        """Weeks are named by their date, so that a longer history ending on another day is another life."""
        return random.Random(f"{self.seed}|{unit_id}|{self.week_start(week).isoformat()}|{purpose}")


Logged = tuple[str, datetime, dict[str, Any]]


def _events(
    rng: random.Random, reaction: Reaction, cooked: Sequence[Mapping[str, Any]], asked: datetime, start: date
) -> Iterator[Logged]:
    """What the application logs of a reaction, in the order of time."""
    if reaction.kind == "unanswered":
        return
    answered = asked + _delay(rng, reaction)
    if reaction.kind == "rejected":
        after = "manual" if reaction.entries else "none"
        yield "plan_rejected", answered, {"reason_code": reaction.reason, "next": after}
        answered += timedelta(seconds=rng.randrange(120, 1800))
    for number, edit in enumerate(reaction.edits):
        yield _edit(edit, answered - timedelta(seconds=20 * (len(reaction.edits) - number)))
    if reaction.entries:
        yield "plan_accepted", answered, _acceptance(reaction, answered - asked)
        last_evening = datetime.combine(start + timedelta(days=6), time(21), tzinfo=UTC)
        skipped = [entry for entry in reaction.entries if entry not in cooked]
        yield "meals_cooked", last_evening, {"cooked": _places(cooked), "skipped": _places(skipped)}


def _delay(rng: random.Random, reaction: Reaction) -> timedelta:
    """Most answer within the hour, some within three days, few later; a time-out comes after a day."""
    if reaction.kind == "timeout":
        return timedelta(hours=24)
    luck = rng.random()
    longest = 3600 if luck < 0.8 else 60 * 3600
    if luck >= 0.98:
        return timedelta(hours=73, seconds=rng.randrange(12 * 3600))
    return timedelta(seconds=rng.randrange(180, longest))


def _edit(edit: Edit, at: datetime) -> Logged:
    reason = {"reason_code": edit.reason}
    if edit.kind == "swap":
        where = {"day": edit.day, "from": edit.before, "to": edit.after, "source": "suggested"}
        return "meal_swapped", at, where | reason
    if edit.kind == "remove":
        return "meal_removed", at, {"day": edit.day, "recipe_id": edit.before} | reason
    return "servings_changed", at, {"day": edit.day, "from": edit.before, "to": edit.after}


def _acceptance(reaction: Reaction, after: timedelta) -> dict[str, Any]:
    by = {"accepted": "user", "timeout": "timeout", "rejected": "user_unaided"}[reaction.kind]
    return {
        "accepted_by": by,
        "entries": [dict(entry) for entry in reaction.entries],
        "edits_since_generated": len(reaction.edits),
        "seconds_to_accept": int(after.total_seconds()),
    }


def _places(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"day": entry["day"], "recipe_id": entry["recipe_id"]} for entry in entries]
