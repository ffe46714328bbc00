"""SIMULATION. What a household does with a plan, given tastes that nobody but this module sees.

Utilities and the review follow the simulator described in docs (domain report, section 6): an edit is the more
likely the better the best of a few noticed alternatives, with a limited patience, and some edits have no reason.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bakeoff.task import Answer, Request
from planner.plans import choose, plan
from planner.recipes import Recipe, load_recipes
from planner.town.people import Taste

Entry = Mapping[str, Any]
Kind = Literal["accepted", "timeout", "rejected", "unanswered"]

APPEAL = 0.5  # utility per standard deviation of a dish's general appeal
MOOD = 0.5  # scale of this week's Gumbel noise per dish
GLANCE = 0.5  # standard deviation of the noise in comparing dishes during a review
NOTICED = 4  # alternatives noticed when a dish is reconsidered
RELUCTANCE, EAGERNESS = -1.8, 1.1  # edit with probability logistic(RELUCTANCE + EAGERNESS * gain)
WHIM = 0.025  # chance per dish of an edit without a reason
NO_ANSWER, TOO_LATE = 0.02, 0.02  # shares of weeks without a reaction, or with one after more than 72 hours
ASKED_FOR = 3.0  # utility of a dish that they asked for by name
BUILD = 0.65  # chance to build a plan unaided after a rejection
TIERS = ("low", "mid", "high")


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """One change made during a review."""

    kind: Literal["swap", "remove", "servings"]
    day: str
    before: Any  # recipe id, or servings
    after: Any  # recipe id or servings; None for 'remove'
    reason: str  # reason_code


@dataclass(frozen=True, kw_only=True, slots=True)
class Reaction:
    """What came of one proposal."""

    kind: Kind
    entries: tuple[Entry, ...] = ()  # accepted plan; of a rejected proposal: the plan built unaided, if any
    edits: tuple[Edit, ...] = field(default=())
    reason: str = "unknown"  # of a rejection


def utilities(
    taste: Taste, request: Request, appeals: Mapping[str, float], eaten: Mapping[str, int], mood: Mapping[str, float]
) -> dict[str, float]:
    """Hidden utility per option, in units of everyone's noise. `eaten`: weeks since a dish was last cooked."""
    return {
        option["id"]: _utility(taste, request, option, appeals[option["id"]], eaten.get(option["id"]))
        + mood.get(option["id"], 0.0)
        for option in request["options"]
    }


def liking(taste: Taste, recipe: Recipe, appeal: float) -> float:
    """Hidden utility of a dish whatever the week."""
    hated = not taste.dislikes.isdisjoint(recipe.items)
    return taste.cuisine[recipe.cuisine] + taste.protein[recipe.protein] + APPEAL * appeal - taste.dislike * hated


def draw_mood(rng: random.Random, request: Request) -> dict[str, float]:
    """This week's whims per dish: centred Gumbel noise."""
    return {o["id"]: MOOD * (-math.log(-math.log(rng.random())) - 0.5772) for o in request["options"]}


def react(rng: random.Random, taste: Taste, request: Request, answer: Answer, utility: Mapping[str, float]) -> Reaction:
    """Review, and accept as it is, edit, reject, or never look."""
    shown = tuple(answer.get("entries", ()))
    values = {entry["day"]: _value(taste, request, entry, utility) for entry in shown}
    floor = taste.floor - (0.6 if request["mode"] == "autopilot" else 0.0)
    below = sum(value + rng.gauss(0.0, GLANCE) < floor for value in values.values())
    if rng.random() < NO_ANSWER and request["mode"] != "autopilot":
        return Reaction(kind="unanswered")
    if 2 * below > len(shown):
        return _rejected(rng, request, utility)
    if request["mode"] == "autopilot":
        return Reaction(kind="timeout", entries=shown)
    edits = _review(rng, taste, request, shown, values, utility)
    return Reaction(kind="accepted", entries=_after(shown, edits), edits=tuple(edits))


def _utility(taste: Taste, request: Request, option: Mapping[str, Any], appeal: float, weeks_ago: int | None) -> float:
    dear = TIERS.index(option["cost"]) - TIERS.index(request["household"]["budget"])
    waste = taste.waste * (1.5 if request["workflow_type"] == "pantry-first" else 1.0)
    utility = liking(taste, load_recipes().recipes[option["id"]], appeal)
    utility -= taste.thrift * (dear if dear > 0 else dear / 2)
    utility += waste * min(len(option["uses"]), 2)
    if weeks_ago:
        utility -= taste.novelty * math.exp(1 - weeks_ago)
    return utility + (ASKED_FOR if option["id"] in request["anchors"] else 0.0)


def _value(taste: Taste, request: Request, entry: Entry, utility: Mapping[str, float]) -> float:
    """Utility of a dish on its day: over the day's ceiling it costs haste. Strangers are worth nothing."""
    option = next((o for o in request["options"] if o["id"] == entry["recipe_id"]), None)
    slot = next((s for s in request["slots"] if s["day"] == entry["day"]), None)
    if option is None or slot is None:
        return -10.0
    over: int = max(0, option["minutes"] - slot["max_minutes"])
    return utility[option["id"]] - taste.haste * over / 30


def _rejected(rng: random.Random, request: Request, utility: Mapping[str, float]) -> Reaction:
    reason = rng.choice(("dislike", "dislike", "no_time", "too_expensive", "unknown"))
    if rng.random() >= BUILD:
        return Reaction(kind="rejected", reason=reason)
    seen = {recipe_id: value + rng.gauss(0.0, GLANCE / 2) for recipe_id, value in sorted(utility.items())}
    ids = [option["id"] for option in request["options"]]
    ranking = sorted(range(len(ids)), key=lambda index: (-seen[ids[index]], ids[index]))
    built = plan(request, choose(request, ranking))["entries"]
    return Reaction(kind="rejected", entries=tuple(built), reason=reason)


def _review(
    rng: random.Random,
    taste: Taste,
    request: Request,
    shown: Sequence[Entry],
    values: Mapping[str, float],
    utility: Mapping[str, float],
) -> list[Edit]:
    """Worst dish first, at most a Poisson number of edits."""
    left = _poisson(rng, taste.patience)
    taken = {entry["recipe_id"] for entry in shown}
    edits: list[Edit] = []
    for entry in sorted(shown, key=lambda e: (values[e["day"]], e["day"])):
        edit = _reconsider(rng, taste, request, entry, values[entry["day"]], utility, taken) if left > 0 else None
        if edit is None and rng.random() < 0.03:
            edit = _servings(rng, entry)
        if edit is not None:
            edits.append(edit)
            left -= 1
            taken.add(edit.after if edit.kind == "swap" else entry["recipe_id"])
    return edits


def _reconsider(
    rng: random.Random,
    taste: Taste,
    request: Request,
    entry: Entry,
    value: float,
    utility: Mapping[str, float],
    taken: set[str],
) -> Edit | None:
    """Swap to the best of a few noticed alternatives, or remove; None to leave the dish alone."""
    if entry["recipe_id"] in request["anchors"]:
        return None
    noticed = _noticed(rng, taste, request, entry["day"], utility, taken)
    best, worth = max(noticed, key=lambda pair: (pair[1], pair[0]), default=(None, -9.0))
    gain = worth - value
    whim = rng.random() < WHIM
    if not whim and rng.random() >= 1.0 / (1.0 + math.exp(-(RELUCTANCE + EAGERNESS * gain))):
        return None
    reason = "just_because" if whim else _reason(taste, request, entry)
    if best is None or rng.random() < (0.5 if whim else 0.2):
        return Edit(kind="remove", day=entry["day"], before=entry["recipe_id"], after=None, reason=reason)
    return Edit(kind="swap", day=entry["day"], before=entry["recipe_id"], after=best, reason=reason)


def _noticed(
    rng: random.Random, taste: Taste, request: Request, day: str, utility: Mapping[str, float], taken: set[str]
) -> list[tuple[str, float]]:
    slot = next((s for s in request["slots"] if s["day"] == day), None)
    free = [
        option["id"]
        for option in request["options"]
        if option["id"] not in taken
        and slot is not None
        and not (slot["hard"] and option["minutes"] > slot["max_minutes"])
    ]
    glimpsed = rng.sample(free, min(NOTICED, len(free)))
    return [
        (dish, _value(taste, request, {"day": day, "recipe_id": dish}, utility) + rng.gauss(0.0, GLANCE))
        for dish in glimpsed
    ]


def _reason(taste: Taste, request: Request, entry: Entry) -> str:
    """The reason that people tick, from what they could see themselves."""
    option = next((o for o in request["options"] if o["id"] == entry["recipe_id"]), None)
    slot = next((s for s in request["slots"] if s["day"] == entry["day"]), None)
    if option is None or slot is None:
        return "unknown"
    if option["minutes"] > slot["max_minutes"]:
        return "no_time"
    if request["previous_plan"] and option["id"] in request["previous_plan"]["accepted"]:
        return "had_recently"
    if TIERS.index(option["cost"]) > TIERS.index(request["household"]["budget"]) and taste.thrift > 0.4:
        return "too_expensive"
    return "dislike"


def _servings(rng: random.Random, entry: Entry) -> Edit:
    more = entry["servings"] + rng.choice((1, 2))
    return Edit(kind="servings", day=entry["day"], before=entry["servings"], after=more, reason="eaters_changed")


def _after(shown: Sequence[Entry], edits: Sequence[Edit]) -> tuple[Entry, ...]:
    by_day = {edit.day: edit for edit in edits}
    entries = []
    for entry in shown:
        edit = by_day.get(entry["day"])
        if edit is None:
            entries.append(dict(entry))
        elif edit.kind != "remove":
            field_name = "servings" if edit.kind == "servings" else "recipe_id"
            entries.append({**entry, field_name: edit.after})
    return tuple(entries)


def _poisson(rng: random.Random, mean: float) -> int:
    """Knuth's method (TAOCP 2, 3.4.1)."""
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count
