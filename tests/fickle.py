"""A shop whose every request is a prompt of its own, and policies that roll dice, dawdle, fail or die. Imports little,
because other processes import it by name."""

import json
import os
import random
import signal
import time
from pathlib import Path

import toy
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


def slow(request: Request, *, seed: int) -> PythonAnswer:
    time.sleep(0.1)
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
