"""The border: what a domain must say so that the loop can run over it, with every type it mentions.

A task is a plug-in found by the entry-point group ``bakeoff.tasks``. Four methods are enough for a first loop
(`render`, `parse`, `violations`, `score`); subclass `TaskBase` to get defaults for the rest.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

from typing_extensions import TypedDict

from bakeoff.fingerprint import digest

Request = Mapping[str, Any]
"""The whole context a policy decides on, as JSON values; stored as it was, known by its content digest."""
Answer = Mapping[str, Any]
"""A parsed answer, as JSON values."""
JsonSchema = Mapping[str, Any]
"""JSON Schema 2020-12, within the keywords that llguidance enforces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One chat message, before the model's own chat template."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One place of a constrained answer where the schema leaves more than one value open."""

    key: str  # the property name that the value belongs to
    value: str  # the JSON text of the value chosen, for instance '"yes"'
    logprobs: Mapping[str, float]  # natural log-probability per allowed value, normalised over the allowed ones


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What an engine answered."""

    text: str  # the raw answer
    choices: tuple[Choice, ...] = ()  # in the order of the answer; empty where the engine cannot tell
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model_steps: int = 0  # forward passes spent
    latency_s: float = 0.0  # wall-clock seconds; never part of a digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """A breach of a hard constraint in one answer."""

    rule: str  # stable id, for instance 'allergy'
    where: str | None  # the part of the answer, for instance 'mon'
    detail: str  # evidence in words


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """What a number means. Values are floats or None; None means not applicable and is never turned into 0."""

    name: str
    unit: str
    direction: Literal["higher", "lower"]  # which way is better
    low: float | None  # smallest possible value, None if unbounded
    high: float | None  # largest possible value, None if unbounded
    meaning: str
    matures_hours: float = 72.0  # of outcome metrics: after the first decision; what happens later changes nothing


class Role(StrEnum):
    """What an event type means to the loop, whatever the domain calls it."""

    DECISION = "decision"
    ACCEPT = "accept"
    EDIT = "edit"
    REJECT = "reject"
    REGENERATE = "regenerate"
    INTERVENTION = "intervention"
    KEPT = "kept"


class Payload(TypedDict):
    """The payload model of an event type that asks for nothing. Others are TypedDicts too (those of
    `typing_extensions`: pydantic checks them): what is declared must have its type, what is not is kept and counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EventType:
    """One type of event that a task logs."""

    name: str
    role: Role
    payload: type[Any] = Payload  # a TypedDict; NotRequired fields may be left out
    source: str | None = None  # payload field that says who spoke ('user', 'timeout'); None: there is one source only

    @property
    def fields(self) -> frozenset[str]:
        """Payload fields that are declared."""
        return frozenset(self.payload.__annotations__)

    @property
    def required(self) -> frozenset[str]:
        """Payload fields that must be there."""
        return frozenset(self.payload.__required_keys__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedEvent:
    """An event as it lies in the log."""

    event_id: str
    event_type: str
    role: Role
    unit_id: str
    decision_id: str | None
    occurred_at: datetime
    experiment_id: str
    variant_id: str
    policy_version_id: str  # assigned
    served_policy_version_id: str | None  # who answered; decisions only
    payload: Mapping[str, Any]
    origin: str = "live"  # or 'backfill' for imported history
    assignment_probability: float | None = None  # of the variant, 0 to 1; decisions only
    action_propensity: float | None = None  # with which a randomised policy chose the answer; decisions only

    @property
    def fell_back(self) -> bool:
        """Whether another policy than the assigned one answered."""
        return self.served_policy_version_id not in (None, self.policy_version_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """One need (for the planner: a household's week): its decisions joined with their outcomes."""

    need_id: str
    unit_id: str
    request: Request  # of the first decision
    request_digest: str
    decisions: tuple[LoggedEvent, ...]  # at least one, oldest first
    outcomes: tuple[LoggedEvent, ...]  # oldest first

    @property
    def decision(self) -> LoggedEvent:
        """The first decision: the one that the need is judged by."""
        return self.decisions[0]

    def accepted(self, within: timedelta = timedelta(hours=72)) -> bool:
        """Explicit acceptance (``accepted_by == "user"``) of the first decision in time; time-outs do not count."""
        first = self.decision
        return any(
            event.role is Role.ACCEPT
            and event.decision_id == first.decision_id
            and event.payload.get("accepted_by") == "user"
            and event.occurred_at - first.occurred_at <= within
            for event in self.outcomes
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A row to learn from and to be judged on, made from one episode."""

    example_id: str  # the decision id of the episode's first decision
    unit_id: str
    occurred_at: datetime
    request: Request
    target: Mapping[str, Any]  # what people kept
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """An episode that gives no example, and why; counted by reason in the dataset's summary."""

    example_id: str  # as the example's would have been
    reason: str  # short and the same for all of its kind, for instance 'timed out'


@dataclass(frozen=True, kw_only=True, slots=True)
class Preference:
    """Two answers to one request: what people kept over what they were shown."""

    chosen: Answer
    rejected: Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How far a predicted metric lies from what people really did, on examples that nothing was learnt from."""

    metric: str  # the name of the predicted one, for instance 'predicted_edits'
    bias: float  # mean of predicted minus actual, in the metric's unit
    bias_se: float | None  # standard error of `bias`, clustered by unit; None where too few units say nothing
    rows: int
    units: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StressCase:
    """A request made hard on purpose, with what any answer to it must still keep."""

    name: str  # what makes it hard, the same for all of its kind, for instance 'empty pantry'
    request: Request
    allowed: frozenset[str] = frozenset()  # rules that no answer could keep, so that breaching them is no failure


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """What a field of a dataset means, for schema.json."""

    meaning: str
    unit: str | None = None  # 'minutes', 'eaters', 'ISO 8601 date'; None where there is none


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestKey:
    """Which request to build from the application's own tables."""

    unit_id: str
    need_id: str  # as `Task.need` would say of the request
    as_of: datetime  # UTC: what the application knew at this moment, not what it knows today


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonAnswer:
    """What a policy of engine kind 'python' returns."""

    answer: Answer
    action_propensity: float | None = None  # probability with which a randomised policy chose this answer


class PythonPolicy(Protocol):
    """A policy that is a function. Same request and seed, same answer."""

    def __call__(self, request: Request, *, seed: int) -> PythonAnswer: ...


class ParseError(ValueError):
    """`Task.parse` could not read the completion; logged as the violation 'unparseable'."""


@runtime_checkable
class Task(Protocol):
    """A domain. All methods are pure: no clock, no I/O, no ambient randomness."""

    # Plain class attributes satisfy these.
    @property
    def name(self) -> str:
        """'planner' gives datasets/planner, planner_model, planner_policy."""
        ...

    @property
    def request_version(self) -> str:
        """Changes when the meaning of a request changes."""
        ...

    @property
    def prompt_version(self) -> str:
        """Changes when `render`, `answer_schema` or `parse` change what a model sees or means."""
        ...

    @property
    def gate_file(self) -> Path | None:
        """TOML with the rules that a new version must pass; None: it has to be given by hand."""
        ...

    @property
    def metrics(self) -> Sequence[Metric]:
        """Of `score`."""
        ...

    @property
    def outcome_metrics(self) -> Sequence[Metric]:
        """Of `outcome`."""
        ...

    @property
    def event_types(self) -> Sequence[EventType]:
        """What the domain logs."""
        ...

    def need(self, request: Request) -> str:
        """Which need of the unit this request is for, for instance '2025-01-06'."""
        ...

    def render(self, request: Request) -> Sequence[Message]:
        """The prompt, before any chat template. System messages come first and hold only what all requests share."""
        ...

    def answer_schema(self, request: Request) -> JsonSchema:
        """Closed over this request's options: drives constrained decoding."""
        ...

    def parse(self, request: Request, completion: Completion) -> Answer:
        """Raises ParseError."""
        ...

    def violations(self, request: Request, answer: Answer) -> Sequence[Violation]:
        """Hard constraints that `answer` breaches, by rule id."""
        ...

    def repair(self, request: Request, answer: Answer, violations: Sequence[Violation]) -> Answer:
        """What the validator serves instead; must have no violations where the request allows it."""
        ...

    @property
    def fields(self) -> Mapping[str, Field]:
        """Meaning and unit by dotted path ('request.slots[].max_minutes', 'target.drink'); see `datasets.summary`."""
        ...

    def examples(self, episodes: Iterable[Episode]) -> Iterator[Example | LeftOut]:
        """Rows to learn from, one for each episode, in their order; or why there is none. Looks at one episode at
        a time: a log may not fit into memory."""
        ...

    def preference(self, example: Example) -> Preference | None:
        """What was kept over what was proposed; None where they are the same or nothing was proposed."""
        ...

    def edit_cost(self, example: Example) -> float | None:
        """How much people changed (0: nothing); None where nothing was proposed."""
        ...

    def requests(self, conn: Any, keys: Sequence[RequestKey]) -> Sequence[Request | None]:
        """Requests built from the application's own tables, as they would have been at `as_of`; None for a key that
        cannot be built. `conn` is a psycopg connection with rows as dicts. The one method that reads a database."""
        ...

    def supervise(self, example: Example) -> Mapping[str, str] | None:
        """What a model should have answered: schema property -> JSON text of the value. Properties that are
        left out carry no loss (nothing is known about them). None: not a row to train on."""
        ...

    def labels(self, request: Request, answer: Answer) -> Mapping[str, str]:
        """An answer in the words of the schema: property -> JSON text of the value. What `supervise` says of an
        example, this says of any answer; nothing: preferences between answers cannot be learnt from."""
        ...

    def score(self, example: Example, answer: Answer) -> Mapping[str, float | None]:
        """Offline metrics of `answer` against what people kept."""
        ...

    def calibrations(self) -> Sequence[Calibration]:
        """Of the metrics that `fitted` learnt to predict, against what people really did on held-out examples."""
        ...

    def segments(self, example: Example) -> Mapping[str, str]:
        """What kind of row this is, by name of the feature, for instance ``{"region": "north"}``: a version must be
        harmful in no segment."""
        ...

    def stress(self, requests: Sequence[Request]) -> Iterator[StressCase]:
        """Hard requests made from real ones: what the log seldom shows and people will send some day. The same
        requests give the same cases."""
        ...

    def tell(self, request: Request) -> Sequence[tuple[str, str]]:
        """The situation in words for a reader of a report: (label, text) in reading order."""

    def tell_answer(self, request: Request, answer: Answer) -> Sequence[str]:
        """An answer in words for a reader of a report, a line for each part."""

    def kept(self, example: Example) -> Answer:
        """What people kept, as an answer."""

    def fitted(self, examples: Sequence[Example], held_out: Sequence[Example] = ()) -> "Task":
        """This task with what its metrics learn from the train split (for instance a frozen edit model), checked on
        examples that it was not learnt from."""
        ...

    def frozen(self) -> Mapping[str, Any] | None:
        """What `fitted` learnt, as JSON values, to be kept with the dataset; None where there is nothing."""
        ...

    def thawed(self, frozen: Mapping[str, Any]) -> "Task":
        """The inverse of `frozen`: ``task.thawed(task.fitted(examples).frozen())`` scores as ``task.fitted(examples)``.
        Raises UsageError where it was frozen by another version."""
        ...

    def outcome(self, episode: Episode) -> Mapping[str, float | None]:
        """Online metrics of one need."""
        ...


class Accepted(TypedDict):
    """The least that every acceptance says: 'user' is a person, 'timeout' is nobody."""

    accepted_by: str


class TaskBase:
    """Defaults for everything beyond the four methods that each task must write."""

    gate_file: Path | None = None
    name = ""
    request_version = "1"
    prompt_version = "1"
    metrics: Sequence[Metric] = ()
    outcome_metrics: Sequence[Metric] = (
        Metric(
            name="accepted", unit="share of needs", direction="higher", low=0.0, high=1.0,
            meaning="explicitly accepted within 72 h of the first decision",
        ),
    )  # fmt: skip
    event_types: Sequence[EventType] = (
        EventType(name="decided", role=Role.DECISION),
        EventType(name="accepted", role=Role.ACCEPT, payload=Accepted, source="accepted_by"),
        EventType(name="rejected", role=Role.REJECT),
    )
    fields: Mapping[str, Field] = {}

    def need(self, request: Request) -> str:
        return digest(request)

    def answer_schema(self, request: Request) -> JsonSchema:
        return {"type": "object"}

    def repair(self, request: Request, answer: Answer, violations: Sequence[Violation]) -> Answer:
        return answer

    def examples(self, episodes: Iterable[Episode]) -> Iterator[Example | LeftOut]:
        for episode in episodes:
            accepts = [event for event in episode.outcomes if event.role is Role.ACCEPT]
            accept = next((e for e in reversed(accepts) if e.payload.get("accepted_by") != "timeout"), None)
            if accept is None:
                why = "timed out: nobody looked" if accepts else "nothing was accepted"
                yield LeftOut(example_id=str(episode.decision.decision_id), reason=why)
            else:
                yield Example(
                    example_id=str(episode.decision.decision_id),
                    unit_id=episode.unit_id,
                    occurred_at=episode.decision.occurred_at,
                    request=episode.request,
                    target=dict(accept.payload),
                )

    def supervise(self, example: Example) -> Mapping[str, str] | None:
        return None

    def labels(self, request: Request, answer: Answer) -> Mapping[str, str]:
        return {}

    def preference(self, example: Example) -> Preference | None:
        return None

    def edit_cost(self, example: Example) -> float | None:
        return None

    def requests(self, conn: Any, keys: Sequence[RequestKey]) -> Sequence[Request | None]:
        return [None for _ in keys]

    def calibrations(self) -> Sequence[Calibration]:
        return ()

    def segments(self, example: Example) -> Mapping[str, str]:
        return {}

    def stress(self, requests: Sequence[Request]) -> Iterator[StressCase]:
        return iter(())

    def tell(self, request: Request) -> Sequence[tuple[str, str]]:
        return [(name, json.dumps(value, ensure_ascii=False)) for name, value in request.items()]

    def tell_answer(self, request: Request, answer: Answer) -> Sequence[str]:
        return [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in answer.items()]

    def kept(self, example: Example) -> Answer:
        return example.target

    def fitted(self, examples: Sequence[Example], held_out: Sequence[Example] = ()) -> Task:
        return cast(Task, self)

    def frozen(self) -> Mapping[str, Any] | None:
        return None

    def thawed(self, frozen: Mapping[str, Any]) -> Task:
        return cast(Task, self)

    def outcome(self, episode: Episode) -> Mapping[str, float | None]:
        return {"accepted": float(episode.accepted())}


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What the application gets back for a request, and what it must send back with every outcome."""

    decision_id: str
    answer: Answer
    context: Mapping[str, str]  # decision_id, experiment_id, variant_id, policy_version_id
