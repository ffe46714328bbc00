"""Workers: the port to whoever answers a replay. The core says what to ask and writes down what comes back; how many
processes stand behind it, it does not know. One row's answer depends on nothing but its own question."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from bakeoff.inference.model import PolicyAnswer, PolicySpec, Recorded
from bakeoff.task import Request, Task

Key = tuple[str, int]
"""Example id and repeat: a row of a replay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One question to a policy."""

    example_id: str
    request: Request
    repeat: int = 0  # 0 for the first answer
    recorded: Recorded | None = None  # for engine 'logged': what the application answered

    @property
    def key(self) -> Key:
        return self.example_id, self.repeat


class Pool(Protocol):
    """Those who answer one replay."""

    @property
    def stamp(self) -> Mapping[str, Any]:
        """What they answer with (`replay.answer.stamp`); the same for all of them."""
        ...

    @property
    def witness(self) -> Mapping[str, Any]:
        """What they have heard from a server so far (`replay.answer.witness`); empty for local engines."""
        ...

    def answers(self, asks: Sequence[Ask], *, again: bool = False) -> Iterator[tuple[Ask, PolicyAnswer]]:
        """Answers in whatever order they are ready. Whoever gave one is asked the next question only when the caller
        comes back for more, so that a row can be made durable before. With `again` another process answers than the
        one that answered the same question before, where there is more than one.

        Raises what the policy raises, and Unreachable where a process died."""
        ...


class Workers(Protocol):
    """Opens pools. The threads of a local model are always one to a process: sums of floating-point numbers depend on
    how many threads share them, and a replay must not depend on its machine's cores."""

    def open(self, task: Task, spec: PolicySpec, *, workers: int | None, rows: int) -> AbstractContextManager[Pool]:
        """`workers`: how many processes; None: as many as there are cores, memory and enough of the `rows` for, where
        a local model answers, else one. Raises as `Engines.open`, and UsageError for more than one where one GPU
        answers."""
        ...
