"""The same prompts in other processes: texts are hashed with another salt there, so what came out of a set is in
another order. In one process nobody would see it, and a replay on another day would not give the same answers."""

import hashlib
from collections.abc import Iterator, Sequence

from bakeoff.conformance.declared import wrong
from bakeoff.conformance.model import Finding
from bakeoff.inference.encode import json_text
from bakeoff.task import Request, Task


def prompts(task: Task, requests: Sequence[Request]) -> list[str]:
    """A digest of each request's prompt and of its answer schema with the order of its properties; '' where the task
    raises, which is found elsewhere."""
    return [_digest(task, request) for request in requests]


def _digest(task: Task, request: Request) -> str:
    try:
        messages = [(message.role, message.content) for message in task.render(request)]
        said = f"{messages!r}{json_text(task.answer_schema(request))}"
    except Exception:
        return ""
    return hashlib.sha256(said.encode()).hexdigest()


def compared(rows: Sequence[str], here: Sequence[str], there: Sequence[str]) -> Iterator[Finding]:
    """One finding for each row whose prompt is another one in another process."""
    for row, one, other in zip(rows, here, there, strict=True):
        if one != other:
            yield wrong(
                "render",
                "prompt or answer schema is another one in another process",
                expected="the same prompt everywhere: training, replay and serving run in processes of their own",
                change="sort what comes out of a set, and use hashlib instead of hash()",
                row=row,
            )
