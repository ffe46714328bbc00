"""The second task: guess whether a shopper wants tea or coffee. Small on purpose, with python engines only, so
that a whole life of a policy costs nothing and every ending can be forced.

The true wish is part of the request (`likes`), policies see it or ignore it, and shoppers accept what they like."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bakeoff.task import (
    Accepted,
    Answer,
    Completion,
    Episode,
    EventType,
    Example,
    Message,
    Metric,
    ParseError,
    PythonAnswer,
    Request,
    Role,
    TaskBase,
    Violation,
)  # fmt: skip

DRINKS = ("tea", "coffee")


class Chosen(Accepted):
    drink: str


class ToyTask(TaskBase):
    name = "toy"
    metrics = (
        Metric(name="right", unit="share", direction="higher", low=0.0, high=1.0, meaning="the drink that was kept"),
        Metric(name="known_drink", unit="share", direction="higher", low=0.0, high=1.0, meaning="a drink we have"),
    )
    event_types = (
        EventType(name="offered", role=Role.DECISION),
        EventType(name="accepted", role=Role.ACCEPT, payload=Chosen, source="accepted_by"),
        EventType(name="rejected", role=Role.REJECT),
    )

    def need(self, request: Request) -> str:
        return str(request["day"])

    def render(self, request: Request) -> Sequence[Message]:
        return [Message(role="user", content=f"tea or coffee for somebody who likes {request['likes']}?")]

    def parse(self, request: Request, completion: Completion) -> Answer:
        if completion.text not in DRINKS:
            raise ParseError(completion.text)
        return {"drink": completion.text}

    def violations(self, request: Request, answer: Answer) -> Sequence[Violation]:
        known = answer.get("drink") in DRINKS
        return [] if known else [Violation(rule="unknown_drink", where=None, detail=str(answer.get("drink")))]

    def repair(self, request: Request, answer: Answer, violations: Sequence[Violation]) -> Answer:
        return {"drink": "tea"}

    def examples(self, episodes: Any) -> Any:
        for example in super().examples(episodes):
            yield replace(example, metadata={"built_by": "unaided"}) if isinstance(example, Example) else example

    def score(self, example: Example, answer: Answer) -> Mapping[str, float | None]:
        return {
            "right": float(answer.get("drink") == example.target["drink"]),
            "known_drink": float(answer.get("drink") in DRINKS),
        }

    def outcome(self, episode: Episode) -> Mapping[str, float | None]:
        return {"accepted": float(episode.accepted())}


def good(request: Request, *, seed: int) -> PythonAnswer:
    """Offers what the shopper likes."""
    return PythonAnswer(answer={"drink": request["likes"]})


def stubborn(request: Request, *, seed: int) -> PythonAnswer:
    """Offers tea to everybody."""
    return PythonAnswer(answer={"drink": "tea"})


def contrary(request: Request, *, seed: int) -> PythonAnswer:
    """Offers the other drink in nine cases of ten: a policy that is truly worse."""
    wanted = request["likes"]
    return PythonAnswer(answer={"drink": wanted if request["day"] % 10 == 0 else DRINKS[wanted == "tea"]})


def broken(request: Request, *, seed: int) -> PythonAnswer:
    """Offers a drink that nobody has: the validator mends it."""
    return PythonAnswer(answer={"drink": "petrol"})


def failing(request: Request, *, seed: int) -> PythonAnswer:
    raise RuntimeError("no answer today")


def equal(request: Request, *, seed: int) -> PythonAnswer:
    """As good as `stubborn`, by offering coffee to everybody."""
    return PythonAnswer(answer={"drink": "coffee"})
