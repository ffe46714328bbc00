"""What a model sees and says: one short prompt, and one JSON object whose keys carry the options.

The answer's grammar walks through the options: each is a forced key, its features in words in a fixed order
right before the value, and the value is "no" or "yes". Small models learn that shape and not pointing at
labels (docs: what the answer looks like). 'no' comes first: it stands in for the other choices when all
are scored in one pass.
"""

import json
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bakeoff.task import Answer, Completion, JsonSchema, Message, ParseError, Request
from planner.features import Features, features, heuristic_order
from planner.plans import choose, plan
from planner.titles import clean

NO, YES = '"no"', '"yes"'

SYSTEM = "You plan dinners. Say for each dish whether this household will keep it."


def render(request: Request) -> Sequence[Message]:
    """System and user message: who eats, what they like, what must be used up, minutes by day."""
    return (Message(role="system", content=SYSTEM), Message(role="user", content=_situation(request)))


def answer_schema(request: Request) -> JsonSchema:
    """One required property per option, in their order, each ``{"enum": ["no", "yes"]}``."""
    keys = list(property_names(request))
    return {
        "type": "object",
        "properties": {key: {"enum": ["no", "yes"]} for key in keys},
        "required": keys,
        "additionalProperties": False,
    }


def parse(request: Request, completion: Completion) -> Answer:
    """The plan of the options with the best margins log p(yes) - log p(no) that fit together.

    Where the engine gives no probabilities, each 'yes' goes before each 'no', in the order of the options.
    Raises ParseError for anything but a JSON object with exactly the schema's properties and values."""
    said = _read(completion.text)
    keys = list(property_names(request))
    if sorted(said) != sorted(keys):
        raise ParseError(f"{len(said)} properties, expected the {len(keys)} options of the schema")
    if strange := sorted({repr(value) for value in said.values() if value not in ("yes", "no")}):
        raise ParseError(f"value {strange[0]}, expected 'yes' or 'no'")
    margins = {key: 1.0 if said[key] == "yes" else -1.0 for key in keys} | _margins(completion)
    ranking = sorted(range(len(keys)), key=lambda index: -margins[keys[index]])
    return plan(request, choose(request, ranking))


def property_names(request: Request) -> dict[str, str]:
    """Property name -> recipe id, in the order of the options. Unique: a second option of the same title and features
    gets a number. The only colon is the one before the features, whatever a title says."""
    ranks = {index: rank for rank, index in enumerate(heuristic_order(request))}
    thirds = max(len(ranks), 1) / 3
    names: dict[str, str] = {}
    for index, option in enumerate(request["options"]):
        known = " ".join(words(features(request, option), int(ranks[index] / thirds)))
        title = clean(option["title"].replace(":", " "))
        ways = (f"{title}{number}: {known}" for number in ("", *(f" {n}" for n in range(2, len(ranks) + 1))))
        names[next(way for way in ways if way not in names)] = option["id"]
    return names


def words(known: Features, third: int) -> tuple[str, ...]:
    """The features of an option, always the same number of words in the same order; `third` (0 to 2) of the
    heuristic's ranking comes last. Cut points are round numbers near the quantiles of ordinary requests."""
    return (
        _taste(known),
        ("buy", "uses", "saves")[min(known.uses, 2)],
        ("slow", "okay", "quick")[bisect((0.5, 1.0), known.fits)],
        ("cheap", "normal", "costly")[bisect((0, 1), known.dear)],
        ("poor", "fair", "good", "great")[bisect((3.2, 3.7, 4.1), known.rating)],
        ("never", "seldom", "sometimes", "often", "always")[bisect((0.0, 0.4, 0.8, 1.2), known.habit)],
        ("top", "mid", "low")[third],
    )


def _taste(known: Features) -> str:
    if known.asked_for:
        return "asked"
    if known.disliked:
        return "disliked"
    return ("plain", "liked", "loved")[known.liked_cuisine + known.liked_protein]


def _situation(request: Request) -> str:
    household = request["household"]
    likes = _listed([*household["liked_cuisines"], *household["liked_proteins"]]) or "anything"
    at_risk = _listed(item["item"] for item in request["pantry"] if item["use_first"]) or "nothing"
    dislikes = _listed(household["dislikes"]) or "nothing"
    days = " ".join(f"{slot['day']} {slot['max_minutes']}" for slot in request["slots"])
    return (
        f"{household['size']} eaters, {request['workflow_type']}, {request['mode']}, {household['budget']} budget. "
        f"Likes {likes}. Dislikes {dislikes}. Use up {at_risk}. Minutes {days}."
    )


def _listed(words_: Iterable[str]) -> str:
    return ", ".join(clean(word) for word in words_)


def _read(text: str) -> Mapping[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ParseError("a property is there twice")
        return dict(pairs)

    try:
        said = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        raise ParseError(f"no JSON: {error}") from error
    if not isinstance(said, dict):
        raise ParseError(f"a JSON {type(said).__name__}, expected an object")
    return said


def _margins(completion: Completion) -> dict[str, float]:
    return {
        choice.key: choice.logprobs[YES] - choice.logprobs[NO]
        for choice in completion.choices
        if YES in choice.logprobs and NO in choice.logprobs
    }
