"""What a planner can know about one option of a request, computed from the request alone.

One place, so that the prompt, the policies and the edit model mean the same thing by the same word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bakeoff.task import Request


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """One option against one request."""

    liked_cuisine: bool  # stated by the household
    liked_protein: bool  # stated by the household
    disliked: bool  # holds an item that a member stated to dislike
    uses: int  # use-first pantry items it needs
    fits: float  # share of the slots whose ceiling (hard or wished) it keeps, 0 to 1
    dear: int  # cost tiers above the stated budget, -2 to 2
    rating: float  # stars, 1 to 5
    had_last_week: bool  # the very dish
    habit: float  # kept minus removed dishes of this cuisine and of this protein, per dish seen, -2 to 2
    asked_for: bool  # an anchor of a meal-first week


_TIERS = ("low", "mid", "high")


def features(request: Request, option: Mapping[str, Any]) -> Features:
    """Of one of the request's options."""
    household, slots = request["household"], request["slots"]
    previous = request["previous_plan"] or {"accepted": ()}
    return Features(
        liked_cuisine=option["cuisine"] in household["liked_cuisines"],
        liked_protein=option["main_protein"] in household["liked_proteins"],
        disliked=bool(option["disliked"]),
        uses=len(option["uses"]),
        fits=sum(option["minutes"] <= slot["max_minutes"] for slot in slots) / max(len(slots), 1),
        dear=_TIERS.index(option["cost"]) - _TIERS.index(household["budget"]),
        rating=option["rating"],
        had_last_week=option["id"] in previous["accepted"],
        habit=sum(_habit(request["history"], word) for word in (option["cuisine"], option["main_protein"])),
        asked_for=option["id"] in request["anchors"],
    )


def heuristic_score(known: Features) -> float:
    """What a sensible developer writes on the first day: stated likes, the pantry, the time. Hand-set weights."""
    return (
        1.0 * known.liked_cuisine
        + 1.0 * known.liked_protein
        + 1.0 * min(known.uses, 2)
        + 1.0 * known.fits
        - 2.0 * known.disliked
    )


def heuristic_order(request: Request) -> list[int]:
    """Indexes of the options, best first; ties by recipe id, which says nothing about anyone."""
    options = request["options"]
    scores = [heuristic_score(features(request, option)) for option in options]
    return sorted(range(len(options)), key=lambda index: (-scores[index], options[index]["id"]))


def _habit(history: Mapping[str, Mapping[str, int]], word: str) -> float:
    kept, removed = history["kept"].get(word, 0), history["removed"].get(word, 0)
    return (kept - removed) / (kept + removed + 1)
