"""Offline scores of a plan. Each is 0 to 1; None where it cannot be judged, never turned into a number."""

import math
from collections import Counter
from collections.abc import Collection, Sequence

from bakeoff.task import Answer, Request

BAND = 0.5  # effective kinds by which a week may differ from the household's own and still be as varied


def recipe_ids(answer: Answer) -> list[str]:
    return [entry["recipe_id"] for entry in answer["entries"]]


def alignment(proposed: Collection[str], accepted: Collection[str]) -> float | None:
    """Share of the accepted meals that the plan has: shared dishes over the larger plan's size.

    Order and days do not count. None where both are empty."""
    larger = max(len(proposed), len(accepted))
    shared = Counter(proposed) & Counter(accepted)
    return sum(shared.values()) / larger if larger else None


def effective_number(kinds: Sequence[str]) -> float | None:
    """exp of Shannon's entropy over the kinds: how many equally common kinds would be as varied (Hill 1973,
    order 1). Between 1 and the number of kinds; None for no meal."""
    if not kinds:
        return None
    shares = [count / len(kinds) for count in Counter(kinds).values()]
    return math.exp(-sum(p * math.log(p) for p in shares))


def variety(request: Request, dishes: Sequence[str]) -> float | None:
    """Mean effective number of cuisines and of main proteins. None below two known dishes."""
    options = {option["id"]: option for option in request["options"]}
    known = [options[dish] for dish in dishes if dish in options]
    if len(known) < 2:
        return None
    numbers = (effective_number([option[kind] for option in known]) for kind in ("cuisine", "main_protein"))
    return sum(number or 0.0 for number in numbers) / 2


def diversity(request: Request, dishes: Sequence[str], accepted: Sequence[str]) -> float | None:
    """Closeness to the household's own variety (what it kept): a target band, not a maximum, because people
    repeat on purpose. 1 within BAND of it, falling to 0 at the largest possible distance."""
    own, shown = variety(request, accepted), variety(request, dishes)
    if own is None or shown is None:
        return None
    widest = max(len(dishes), len(accepted)) - 1 - BAND
    return max(0.0, 1.0 - max(0.0, abs(shown - own) - BAND) / widest)


def leftovers_utility(request: Request, answer: Answer) -> float | None:
    """Perishable use: share of the use-first items that are cooked on or before their last day.

    Pantry amounts are not known here, so an item counts as used or not (no reward for huge portions).
    None without any use-first item; an empty plan with some gets 0."""
    last_day = {item["item"]: item["days_left"] for item in request["pantry"] if item["use_first"]}
    if not last_day:
        return None
    uses = {option["id"]: option["uses"] for option in request["options"]}
    days = {slot["day"]: slot["in_days"] for slot in request["slots"]}
    used = {
        item
        for entry in answer["entries"]
        for item in uses.get(entry["recipe_id"], ())
        if days.get(entry["day"], math.inf) <= last_day[item]
    }
    return len(used) / len(last_day)


def fill_rate(request: Request, answer: Answer) -> float:
    """Share of the dinners to fill that have a dish."""
    wanted = {slot["day"] for slot in request["slots"]}
    return len(wanted & {entry["day"] for entry in answer["entries"]}) / len(wanted) if wanted else 1.0
