"""Evidence: everything that a report shows, as values. The rest of the room turns it into a page, purely."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bakeoff.datasets.model import Dataset
from bakeoff.experiments.history import Past
from bakeoff.gates.model import Gate
from bakeoff.gates.store import StoredReport
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay.model import ReplayReport, ReplayRow
from bakeoff.task import Answer, Example, Metric, Request

Values = Mapping[str, float | None]
"""By metric; None where it does not apply."""


class Teller(Protocol):
    """What a page needs of a task: `bakeoff.task.Task` has it."""

    @property
    def name(self) -> str: ...

    @property
    def metrics(self) -> Sequence[Metric]: ...

    @property
    def outcome_metrics(self) -> Sequence[Metric]: ...

    def tell(self, request: Request) -> Sequence[tuple[str, str]]: ...

    def tell_answer(self, request: Request, answer: Answer) -> Sequence[str]: ...

    def kept(self, example: Example) -> Answer: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two policies."""

    version: PolicyVersion
    replay: ReplayReport
    is_intact: bool  # whether the stored rows are those that were judged


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One held-out example, answered by both."""

    example: Example
    neutral: bool  # the logged proposal came from neither
    candidate: ReplayRow
    incumbent: ReplayRow
    values: tuple[Values, Values]  # every column of the gate, of (candidate, incumbent), see `scores.pair`


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The run that the candidate came from."""

    run_id: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    curves: Mapping[str, Sequence[tuple[int, float]]]  # by metric: (step, value), by step


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What one report is made of."""

    task: Teller
    stored: StoredReport
    gate: Gate | None  # None: the rules that were used are not those in force, so only their digest is known
    candidate: Side
    incumbent: Side
    pairs: tuple[Pair, ...]  # by example id
    dataset: Dataset
    training: Training | None  # None: nothing was trained, or the tracker was away
    why_no_training: str  # in words, where `training` is None
    past: Past | None  # of the log before the report was made
    provenance: Mapping[str, str]  # git commit and lock digest of the code that wrote the page
