"""What a task declares, before it sees any row."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pydantic import PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError

from bakeoff.conformance.model import Finding, attempt
from bakeoff.gates.load import read_gate
from bakeoff.gates.model import SCORE, Absolute, Gate
from bakeoff.task import EventType, Field, Metric, Role, Task

NAME = re.compile(r"[a-z][a-z0-9_]*")
_OF_REPLAY = {"latency_s", "cost", "tokens", SCORE}
"""Columns of a gate that no task declares: replay measures them."""


def wrong(check: str, says: str, *, expected: str, change: str, row: str | None = None) -> Finding:
    return Finding(check=check, grade="wrong", row=row, says=says, expected=expected, change=change)


def note(check: str, says: str, *, expected: str, change: str, row: str | None = None) -> Finding:
    return Finding(check=check, grade="note", row=row, says=says, expected=expected, change=change)


def protocol(task: object) -> Iterator[Finding]:
    """Every part of the border is there."""
    missing = sorted(part for part in vars(Task) if not part.startswith("_") and not hasattr(task, part))
    if missing:
        yield wrong(
            "protocol",
            f"lacks {', '.join(missing)}",
            expected="every part of bakeoff.task.Task",
            change="subclass bakeoff.task.TaskBase, which brings all but render, parse, violations and score",
        )


def declared(task: Task) -> Iterator[Finding]:
    """Names, versions, event types, metrics, gate file and meanings of fields."""
    yield from _names(task)
    yield from _event_types(task.event_types)
    yield from _metrics("metrics", task.metrics)
    yield from _metrics("outcome_metrics", task.outcome_metrics)
    yield from _gate(task)
    yield from _fields(task.fields)


def _names(task: Task) -> Iterator[Finding]:
    if not isinstance(task.name, str) or not NAME.fullmatch(task.name):
        yield wrong(
            "name",
            f"name is {task.name!r}",
            expected="lower-case letters, digits and underscores, a letter first",
            change="it becomes a folder, a model and a policy: choose for instance 'planner'",
        )
    for part in ("request_version", "prompt_version"):
        value = getattr(task, part)
        if not isinstance(value, str) or not value:
            yield wrong(
                part,
                f"{part} is {value!r}",
                expected="a text that is not empty",
                change=f'{part} = "1", and another text whenever its meaning changes',
            )


# ---- event types ------------------------------------------------------------------------------------------------


def _event_types(types: Sequence[EventType]) -> Iterator[Finding]:
    roles = Counter(kind.role for kind in types)
    twice = sorted(name for name, count in Counter(kind.name for kind in types).items() if count > 1)
    if twice:
        yield wrong(
            "event_types",
            f"declared twice: {', '.join(twice)}",
            expected="one declaration a name",
            change="merge or rename them",
        )
    if roles[Role.DECISION] != 1:
        yield wrong(
            "event_types",
            f"{roles[Role.DECISION]} types of role 'decision'",
            expected="exactly one: `decide` logs it",
            change="declare one EventType(role=Role.DECISION)",
        )
    if not roles[Role.ACCEPT]:
        yield note(
            "event_types",
            "no type of role 'accept'",
            expected="one, to know what people kept",
            change="declare EventType(role=Role.ACCEPT, payload=...), or override `examples` and `outcome`",
        )
    for kind in types:
        yield from _payload(kind)


def _payload(kind: EventType) -> Iterator[Finding]:
    try:
        TypeAdapter(kind.payload).rebuild()
    except (PydanticUserError, PydanticSchemaGenerationError, NameError, TypeError) as error:
        yield wrong(
            "event_types",
            f"the payload model of {kind.name} cannot be read: {str(error).splitlines()[0]}",
            expected="a TypedDict of typing_extensions with JSON types",
            change="from typing_extensions import TypedDict (typing's own is refused before Python 3.12)",
        )
        return
    fields = getattr(kind.payload, "__annotations__", {})
    if kind.source is not None and kind.source not in fields:
        yield wrong(
            "event_types",
            f"{kind.name} takes its source from {kind.source!r}, which its payload does not declare",
            expected=f"one of {', '.join(sorted(fields)) or 'its fields (it has none)'}",
            change="declare the field, or set source=None",
        )
    if kind.role is Role.ACCEPT and "accepted_by" not in fields:
        yield wrong(
            "event_types",
            f"{kind.name} does not say who accepted",
            expected="a payload field accepted_by: 'user' for a person, 'timeout' for nobody",
            change="let its payload model inherit from bakeoff.task.Accepted",
        )


# ---- metrics, gate, fields ----------------------------------------------------------------------------------------


def _metrics(part: str, metrics: Sequence[Metric]) -> Iterator[Finding]:
    twice = sorted(name for name, count in Counter(metric.name for metric in metrics).items() if count > 1)
    if twice:
        yield wrong(part, f"declared twice: {', '.join(twice)}", expected="one declaration a name", change="rename one")
    if not metrics:
        yield wrong(
            part, "there is none", expected="at least one metric", change=f"declare what a gate can judge in {part}"
        )
    for metric in metrics:
        if metric.direction not in ("higher", "lower"):
            yield wrong(
                part,
                f"direction of {metric.name} is {metric.direction!r}",
                expected="'higher' or 'lower'",
                change="say which way is better",
            )
        if metric.low is not None and metric.high is not None and metric.low >= metric.high:
            yield wrong(
                part,
                f"{metric.name} lies between {metric.low} and {metric.high}",
                expected="low < high; None where it is unbounded",
                change="swap or widen the bounds",
            )


def _gate(task: Task) -> Iterator[Finding]:
    path = task.gate_file
    if path is None:
        yield note(
            "gate_file",
            "there is none",
            expected="a file with the rules that a new version must pass",
            change="set gate_file, or name one in every `bakeoff gate --gate FILE`",
        )
        return
    gate = attempt(
        "gate_file",
        None,
        lambda: read_gate(path),
        expected="a gate that can be read",
        change="compare it with the planner's gate.toml",
    )
    strange = sorted(_columns(gate) - {metric.name for metric in task.metrics} - _OF_REPLAY)
    if strange:
        yield wrong(
            "gate_file",
            f"{path.name} judges {', '.join(strange)}",
            expected=f"metrics of `score` ({', '.join(metric.name for metric in task.metrics)}) or of replay "
            f"({', '.join(sorted(_OF_REPLAY))})",
            change="rename the rule, or declare the metric",
        )


def _columns(gate: Gate) -> set[str]:
    """Every figure that the gate reads."""
    return {rule.column if isinstance(rule, Absolute) else rule.metric for rule in gate.rules} | set(gate.weights)


def _fields(fields: Mapping[str, Field]) -> Iterator[Finding]:
    strange = sorted(
        str(path)
        for path, field in fields.items()
        if not isinstance(field, Field) or str(path).split(".")[0] not in ("request", "target", "metadata")
    )
    if strange:
        yield wrong(
            "fields",
            f"{', '.join(strange[:3])} cannot be read",
            expected="Field(meaning=...) by dotted paths that begin with request, target or metadata",
            change="for instance 'request.slots[].max_minutes'",
        )
