"""A study: trials of hyperparameters, and the ports that the search needs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from bakeoff.training.compare import Scored

Params = Mapping[str, float | int | str]
"""Name of a dimension -> value; see `tuning.space`."""
State = Literal["running", "pruned", "complete", "failed", "waiting"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """A number between two ends, both included."""

    name: str
    low: float
    high: float
    whole: bool = False  # an integer
    log: bool = False  # equal ratios are equally likely


@dataclass(frozen=True, kw_only=True, slots=True)
class OneOf:
    """One of a few values without an order."""

    name: str
    values: tuple[int | str, ...]


Space = tuple[Range | OneOf, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A trial to carry out."""

    number: int  # from 0, in the study
    params: Params
    place: int = 1  # from 1, among the trials that count: those that failed and were begun again do not


@dataclass(frozen=True, kw_only=True, slots=True)
class Early:
    """What the cheap rung says: a run on a quarter of the rows."""

    run_id: str
    loss: float  # validation loss, lower is better; NaN or inf where training diverged


@dataclass(frozen=True, kw_only=True, slots=True)
class Full:
    """What a run on all rows is worth."""

    run_id: str
    rows: Sequence[Scored]  # the offline evaluator's score of each validation row, higher is better; at least one

    @property
    def score(self) -> float:
        """Mean over `rows`."""
        return sum(row.value for row in self.rows) / len(self.rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One attempt at hyperparameters, as the study keeps it."""

    number: int
    state: State
    params: Params
    early_loss: float | None = None
    score: float | None = None  # mean over `rows`; only complete trials have one
    rows: tuple[Scored, ...] = field(default=(), repr=False)
    run_id: str | None = None  # of the tracker: the run on all rows, else the early one
    attempt: int = 1  # the same hyperparameters were begun this often, with this time
    problem: str | None = None  # why it failed


class Objective(Protocol):
    """What a trial costs: trains and scores. The study knows nothing of models."""

    def early(self, asked: Asked) -> Early: ...
    def full(self, asked: Asked) -> Full: ...


class Study(Protocol):
    """Trials of one search, shared by all its workers. Raises Unreachable where its storage does not answer."""

    @property
    def name(self) -> str: ...

    @property
    def workers(self) -> int:
        """Other workers that are alive."""
        ...

    def run_id(self, make: Callable[[], str]) -> str:
        """The tracker's run that all trials are nested in; `make()` opens it, once for all workers."""
        ...

    def ask(self, limit: int) -> Asked | None:
        """The next trial; None where `limit` trials are done or being carried out by workers that live. Trials of
        workers that died are begun again with the same hyperparameters, at most twice."""
        ...

    def prunes(self, number: int, loss: float) -> bool:
        """Notes the early loss; whether to stop there."""
        ...

    def prune(self, number: int, run_id: str) -> None: ...
    def complete(self, number: int, full: Full) -> None: ...

    def fail(self, number: int, problem: str) -> None:
        """The trial is begun again by whoever asks next, at most twice."""
        ...

    def trials(self) -> Sequence[Trial]:
        """All, by number."""
        ...


class Studies(Protocol):
    """Where studies are kept."""

    def open(
        self, name: str, about: Mapping[str, Any], space: Space, *, first: Sequence[Params], seed: int
    ) -> AbstractContextManager[Study]:
        """The study called `name`, made where it is missing; `first` are its first trials. Raises UsageError where a
        study of that name is about something else."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """The best hyperparameters of a study, as they are kept for later runs."""

    task: str
    base: str  # name of the base model
    base_digest: str
    recipe: str
    prompt_version: str  # of the task
    request_version: str  # of the task
    dataset_digest: str
    rows: int  # that a trial trained on
    git_commit: str
    lock_digest: str
    params: Mapping[str, Any]  # fields of TrainSpec
    score_name: str  # what `score` is, for instance 'offline_eval_score'
    score: float  # mean over validation rows; the best of several, so a little too good
    lower: float  # of the score, two-sided 95 % with `upper`, clustered by unit
    upper: float
    units: int  # of the validation split
    distinct: bool  # whether it is told apart from every other complete trial
    trials: int  # finished
    pruned: int  # of them
    study: str
    best_trial: int
    mlflow_run_id: str  # of the study
    created_at: datetime

    @property
    def rows_bucket(self) -> int:
        """Power of two below `rows`: 300 rows are bucket 8."""
        return max(0, self.rows.bit_length() - 1)
