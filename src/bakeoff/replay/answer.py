"""One answer of a replay, and what it depends on."""

import json
import platform
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bakeoff.errors import BakeoffError, UsageError
from bakeoff.fingerprint import digest
from bakeoff.inference.model import Decoding, Engine, PolicyAnswer, PolicySpec
from bakeoff.inference.python_policy import load_function
from bakeoff.inference.run_policy import prompt, run_policy
from bakeoff.replay.code import package_digest
from bakeoff.replay.workers import Ask
from bakeoff.task import Completion, JsonSchema, Message, Request, Task

VOLATILE = ("answered_as",)
"""What engines describe that may change between two answers."""


def answer(task: Task, spec: PolicySpec, ask: Ask, engine: Engine | None) -> PolicyAnswer:
    """Answers one question. A repeat of a randomised python policy rolls its dice with another seed.

    Raises UsageError where a python policy fails: it has to answer every request that it may meet."""
    seeded = replace(spec, seed=spec.seed + ask.repeat)
    try:
        return run_policy(task, seeded, ask.request, engine=engine, recorded=ask.recorded)
    except BakeoffError:
        raise
    except Exception as error:
        if spec.engine != "python":
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(
            f"{spec.function} fails on example {ask.example_id}: {type(error).__name__}: {error} "
            f"({frame.filename}:{frame.lineno})",
            cure="correct it and type the same again: rows that are there stay, unless the function's package changed",
        ) from error


def stamp(spec: PolicySpec, engine: Engine | None) -> dict[str, Any]:
    """What answers, beyond the spec: the engine's own words with a digest of the code that decodes, or a digest of the
    package that a python policy lives in. Rows with different stamps are never mixed in one replay, so what a remote
    engine says of each answer is no part of it (`witness`)."""
    if engine is not None:
        code = digest([package_digest(type(engine).__module__), package_digest("bakeoff.inference.run_policy")])
        lasting = {name: value for name, value in engine.describe().items() if name not in VOLATILE}
        return {**lasting, "code": code}
    if spec.engine == "python":
        code = package_digest(load_function(spec.function or "").__module__)
        return {"engine": "python", "code": code, "versions": {"python": platform.python_version()}}
    return {"engine": spec.engine}


def witness(engine: Engine | None) -> dict[str, Any]:
    """What a remote engine has heard from its server so far, for instance which models answered: written down beside
    the stamp."""
    said = {} if engine is None else engine.describe()
    return {name: said[name] for name in VOLATILE if name in said}


def prompt_digest(task: Task, spec: PolicySpec, request: Request) -> str:
    """sha256 of all that a model is told: the rendered messages, and the schema with its properties in their order."""
    messages = [[message.role, message.content] for message in prompt(task, spec, request)]
    return digest({"messages": messages, "schema": json.dumps(task.answer_schema(request), ensure_ascii=False)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An engine that knows one answer from before. Implements `bakeoff.inference.model.Engine`, so that a kept answer
    is parsed, checked and repaired by the same code as a fresh one."""

    completion: Completion

    def complete(
        self,
        messages: Sequence[Message],  # noqa: ARG002 - the port's signature
        *,
        schema: JsonSchema,  # noqa: ARG002
        decoding: Decoding,  # noqa: ARG002
        deadline_s: float | None = None,  # noqa: ARG002
    ) -> Completion:
        return self.completion

    def describe(self) -> Mapping[str, Any]:
        return {}
