"""A shop whose every request is a prompt of its own, policies that roll dice, dawdle, fail or die, an engine without a
model. Imports little, because other processes import it by name."""

import json
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import toy
from bakeoff.errors import Refused, Unreachable
from bakeoff.inference.model import PolicySpec
from bakeoff.task import Answer, Completion, JsonSchema, Message, PythonAnswer, Request


class Shop(toy.ToyTask):
    def render(self, request: Request) -> list[Message]:
        return [Message(role="user", content=f"day {request['day']}: tea or coffee? likes {request['likes']}")]

    def answer_schema(self, request: Request) -> JsonSchema:
        return {
            "type": "object",
            "properties": {"drink": {"enum": list(toy.DRINKS)}},
            "required": ["drink"],
            "additionalProperties": False,
        }

    def parse(self, request: Request, completion: Completion) -> Answer:
        answer: Answer = json.loads(completion.text)
        return answer


def fickle(request: Request, *, seed: int) -> PythonAnswer:
    """Rolls dice, but the same ones for the same seed and request."""
    return PythonAnswer(answer={"drink": random.Random(f"{seed}|{request['day']}").choice(toy.DRINKS)})


def halting(request: Request, *, seed: int) -> PythonAnswer:
    """Stands still after as many questions as the test wants, and at every one that was asked before."""
    folder = os.environ.get("FICKLE_FOLDER")
    if folder:
        mark = Path(folder) / str(request["day"])
        if mark.exists() or len(list(Path(folder).iterdir())) >= int(os.environ["FICKLE_WANTED"]):
            time.sleep(600)
        mark.touch()
    return fickle(request, seed=seed)


def deadly(request: Request, *, seed: int) -> PythonAnswer:
    """Kills the process that it answers in, where the test says so."""
    if os.environ.get("FICKLE_DEADLY") == "yes" and request["day"] % 5 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return fickle(request, seed=seed)


def failing(request: Request, *, seed: int) -> PythonAnswer:
    if request["day"] % 5 == 0:
        raise KeyError("no such day")
    return fickle(request, seed=seed)


def telling(request: Request, *, seed: int) -> PythonAnswer:
    """Tells which process answered, and waits until as many answer as the test wants."""
    folder, wanted = Path(os.environ["FICKLE_FOLDER"]), int(os.environ["FICKLE_WANTED"])
    (folder / str(os.getpid())).touch()
    ends = time.monotonic() + 120
    while len(list(folder.iterdir())) < wanted and time.monotonic() < ends:
        time.sleep(0.02)
    return PythonAnswer(answer={"drink": "tea", "process": os.getpid()})


# ---- an engine without a model ---------------------------------------------------------------------------------------


class Engines:
    """Opens an engine that picks a drink by the prompt; on a device, and with a mood, of the test's choice."""

    def __init__(
        self, *, device: str = "cpu", loads: bool = True, moody: bool = False, answers: int = 1_000_000
    ) -> None:
        self.device, self.loads, self.moody, self.answers = device, loads, moody, answers
        self.asked: list[str] = []
        self.threads: int | None = None

    def open(self, spec: PolicySpec, *, threads: int | None = None) -> "Engines":
        if not self.loads:
            raise Refused("these are other weights", cure="fetch them again")
        self.threads = threads
        return self

    def complete(self, messages: Sequence[Message], **_: Any) -> Completion:
        if len(self.asked) == self.answers:
            raise Unreachable("the server is gone")
        self.asked.append(messages[-1].content)
        mood = len(self.asked) if self.moody else 0
        drink = random.Random(f"{messages[-1].content}|{mood}").choice(toy.DRINKS)
        return Completion(text=json.dumps({"drink": drink}), prompt_tokens=7, completion_tokens=3)

    def describe(self) -> dict[str, Any]:
        said = {"engine": "fickle", "device": self.device, "threads": self.threads, "versions": {}}
        return said | ({"answered_as": sorted(set(self.asked))[:1]} if self.moody else {})


def on_gpu() -> Engines:
    return Engines(device="cuda:0")


def on_cpu() -> Engines:
    return Engines()


def refusing() -> Engines:
    return Engines(loads=False)


class Broken(Shop):
    """Divides by zero while it reads an answer."""

    def parse(self, request: Request, completion: Completion) -> Answer:
        return {"drink": 1 // 0}
