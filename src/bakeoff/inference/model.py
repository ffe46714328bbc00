"""PolicySpec (the thing replayed and judged), the Engine port, and what running a policy gives."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from bakeoff.errors import UsageError
from bakeoff.fingerprint import digest
from bakeoff.task import Answer, Completion, JsonSchema, Message, Violation


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRef:
    """Weights, known by content."""

    base: str  # alias, hub id or path, for instance 'smollm2'
    base_digest: str  # of the base weights and tokenizer
    adapter: str | None = None  # where the LoRA adapter lies (URI or path); None = untuned
    adapter_digest: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteModel:
    """A model behind an OpenAI-compatible server. The endpoint is a name, which settings resolve to an address and a
    key on each machine, so that neither is part of a fingerprint."""

    name: str  # as the server calls it, for instance 'qwen3:8b'
    endpoint: str  # name of a table [endpoints.NAME] in bakeoff.toml
    temperature: float | None = 0.0  # None: neither it nor a seed is sent; some hosted models take no other than theirs

    def __post_init__(self) -> None:
        if self.temperature is not None:  # 0 and 0.0 are one temperature, so they must be one fingerprint
            object.__setattr__(self, "temperature", float(self.temperature) + 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How tokens are chosen.

    'greedy': constrained greedy walk, each choice sees the ones before it.
    'choices': every open choice of the schema is scored in one forward pass, with the schema's first value
    standing in for the others, so no choice depends on another one. Needs a schema whose open places are
    closed sets that part at their first differing token."""

    mode: Literal["greedy", "choices"] = "greedy"
    max_tokens: int = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """Declared price, so that offline cost is deterministic."""

    per_million_prompt_tokens: float = 0.0  # in `currency`
    per_million_completion_tokens: float = 0.0
    currency: str = "EUR"

    def __post_init__(self) -> None:
        for name in ("per_million_prompt_tokens", "per_million_completion_tokens"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(
                    f"a price of {getattr(self, name)} {name.replace('_', ' ')}", cure="expected 0 or more"
                )
            # 2 and 2.0 are one price, so they must be one fingerprint.
            object.__setattr__(self, name, float(getattr(self, name)) + 0.0)

    def of(self, completion: Completion) -> float:
        return (
            completion.prompt_tokens * self.per_million_prompt_tokens
            + completion.completion_tokens * self.per_million_completion_tokens
        ) / 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicySpec:
    """Model or function + prompt + decoding + engine. Another serving engine is another spec."""

    task: str
    engine: Literal["transformers", "openai", "python", "logged"]  # 'logged': the application itself
    prompt_version: str  # of the task; '-' for engine 'logged'
    model: ModelRef | None = None  # for engine 'transformers'
    dtype: Literal["float32", "bfloat16"] | None = None  # for engine 'transformers'
    decoding: Decoding | None = None  # for engines 'transformers' and 'openai'
    function: str | None = None  # for engine 'python': 'package.module:name'
    function_version: str | None = None  # declared by whoever changes the function; for 'logged' the name it has
    seed: int = 0  # for randomised python policies, and sent to servers
    price: Price = Price()
    prompt: str | None = None  # a system prompt of its own, in place of the task's system messages
    remote: RemoteModel | None = None  # for engine 'openai'

    @property
    def needs_engine(self) -> bool:
        """Whether a model answers, so that `Engines.open` has to be asked; functions and the log answer without."""
        return self.engine in ("transformers", "openai")

    @property
    def is_remote(self) -> bool:
        """Whether a server answers that others use too: the same request may get another answer next time, so a
        certificate measures its noise instead of asking for equality."""
        return self.engine == "openai"

    @property
    def fingerprint(self) -> str:
        """sha256 over everything but where the adapter happens to lie. Fields that came later count where they are
        set, so that older specs keep their fingerprint."""
        body = asdict(self)
        if body["model"] is not None:
            del body["model"]["adapter"]
        return digest({name: value for name, value in body.items() if name not in _LATER or value is not None})


_LATER = ("prompt", "remote")


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyAnswer:
    """One answer of a policy with all that is worth keeping. Nothing the validator mends is hidden."""

    raw: str  # as the engine gave it
    parsed: Answer | None  # None where it could not be read
    violations: tuple[Violation, ...]  # of the parsed answer, before any repair
    answer: Answer | None  # what may be shown: parsed, or repaired; None where neither was possible
    completion: Completion
    cost: float  # in the currency of the spec's price
    action_propensity: float | None

    @property
    def repaired(self) -> bool:
        return self.answer is not None and self.answer != self.parsed


def external_spec(task: str, name: str) -> PolicySpec:
    """What the application did before bakeoff came, or does without it. `name` tells two of them apart."""
    return PolicySpec(task=task, engine="logged", prompt_version="-", function_version=name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What an application answered by itself."""

    answer: Answer
    latency_s: float = 0.0  # wall-clock seconds, where it is known


class Engine(Protocol):
    """Loads a model once and completes prompts, one at a time (a local one at batch size 1: no batch effect can
    exist)."""

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema,
        decoding: Decoding,
        deadline_s: float | None = None,
    ) -> Completion:
        """Raises TimeoutError when `deadline_s` seconds of wall-clock time run out: a local model looks at every step,
        a remote one is cut off in the middle of whatever it does, retries included. Raises Unreachable where a server
        does not answer."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Library versions, dtype, threads, what a server says of itself: stamped on replays, not part of the spec's
        fingerprint."""
        ...


class Engines(Protocol):
    """Opens an engine for a spec; keeps the ones in use loaded."""

    def open(self, spec: PolicySpec, *, threads: int | None = None) -> Engine:
        """`threads`: CPU threads of a local model, None for those of the settings; servers have their own.

        Raises UsageError, Refused or Unreachable where the spec cannot be run here."""
        ...

    def release(self, spec: PolicySpec) -> None:
        """Gives back what only this spec needs; an answer in progress still ends. Nothing where it is not open."""
        ...
