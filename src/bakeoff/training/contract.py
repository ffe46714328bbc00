"""What a run must have logged, as one list, and the check of a run against it.

Checked twice: before step 0 (`stage="start"`: tags, and parameters that are asked for) and at registration on
what was read back (`stage="end"`: everything). Any trainer's run counts if it fulfils the list.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bakeoff.errors import Refused
from bakeoff.training.tracker import RunRecord

Kind = Literal["param", "tag", "curve", "score", "artifact", "dataset"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One thing that must be there."""

    kind: Kind
    name: str  # of the parameter or tag; for everything else what people call it
    known: Literal["start", "end"] = "start"  # parameters: whether asked for, or found out by training
    pattern: str = ""  # metrics and artifacts: a regular expression that some name or path must match
    why: str  # what it is good for


CURVE_POINTS = 2  # a single number is no curve
CONTRACT: tuple[Item, ...] = (
    Item(kind="param", name="learning_rate", why="to repeat the run and to compare runs"),
    Item(kind="param", name="batch_size", why="to repeat the run and to compare runs"),
    Item(kind="param", name="epochs", why="to repeat the run and to compare runs"),
    Item(kind="param", name="dataset_version", why="which data the model saw"),
    Item(kind="param", name="model_architecture", why="what was fine-tuned"),
    Item(kind="param", name="seed", why="to repeat the run"),
    Item(kind="param", name="rows", known="end", why="how much was learnt from, after filtering"),
    Item(kind="param", name="steps", known="end", why="optimiser steps"),
    Item(kind="param", name="tokens", known="end", why="what the run costs"),
    Item(kind="param", name="trainable_parameters", known="end", why="how large the adapter is"),
    Item(kind="param", name="template_digest", known="end", why="serving must render prompts with the same template"),
    Item(kind="param", name="base_digest", why="an adapter fits one base model"),
    Item(kind="tag", name="task", why="which product feature it is for"),
    Item(kind="tag", name="dataset_version", why="to find the runs of a dataset"),
    Item(kind="tag", name="git_commit", why="which code ran"),
    Item(kind="tag", name="lock_digest", why="which library versions ran"),
    Item(kind="curve", name="training_loss", pattern="training_loss", why="whether it learnt"),
    Item(
        kind="curve",
        name="validation_loss",
        pattern="validation_loss",
        why="whether it learnt more than its rows by heart",
    ),
    Item(kind="score", name="eval_*", pattern=r"eval_.+", why="scores of the offline evaluator on validation"),
    Item(kind="dataset", name="dataset input", why="digest, source and schema beside the run"),
    Item(
        kind="artifact",
        name="trained model (adapter/*.safetensors)",
        pattern=r"(.*/)?(adapter|model)/[^/]+\.safetensors",
        why="what is served",
    ),
    Item(
        kind="artifact",
        name="tokenizer (tokenizer.json or tokenizer.model)",
        pattern=r"(.*/)?tokenizer\.(json|model)",
        why="the same text must give the same tokens",
    ),
    Item(
        kind="artifact",
        name="chat template (chat_template.jinja)",
        pattern=r"(.*/)?chat_template\.(jinja|json)",
        why="prompts are rendered with it when serving",
    ),
    Item(
        kind="artifact",
        name="model config (adapter_config.json or config.json)",
        pattern=r"(.*/)?(adapter_config|config)\.json",
        why="how the weights are put together",
    ),
)
START: frozenset[Kind] = frozenset({"param", "tag"})


def check(
    record: RunRecord,
    requested: Mapping[str, object],
    *,
    stage: Literal["start", "end"] = "end",
) -> tuple[str, ...]:
    """Everything that is missing, wrong or not as `requested` (by name of a parameter or tag; None is no
    request), one sentence each, in the order of `CONTRACT`. Empty: fulfilled."""
    items = [item for item in CONTRACT if stage == "end" or (item.kind in START and item.known == "start")]
    problems = [problem for item in items for problem in _problems(item, record)]
    problems += _unequal(record, requested)
    if stage == "end":
        problems += _ending(record)
    return tuple(problems)


def enforce(
    record: RunRecord,
    requested: Mapping[str, object],
    *,
    stage: Literal["start", "end"] = "end",
) -> None:
    """Raises Refused with the whole list."""
    problems = check(record, requested, stage=stage)
    if problems:
        raise Refused(
            f"run {record.run_id} does not fulfil the logging contract:\n" + "\n".join(f"  - {p}" for p in problems),
            cure="log what is missing and train again; docs/training-workflow.md lists the contract",
        )


def _problems(item: Item, record: RunRecord) -> Iterator[str]:
    if item.kind == "param" and not record.params.get(item.name, "").strip():
        yield f"parameter {item.name} is missing: {item.why}"
    elif item.kind == "tag" and not record.tags.get(item.name, "").strip():
        yield f"tag {item.name} is missing: {item.why}"
    elif item.kind == "curve":
        yield from _curve(item, record)
    elif item.kind == "score":
        yield from _scores(item, record)
    elif item.kind == "dataset" and not record.datasets:
        yield f"{item.name} is missing: {item.why}"
    elif item.kind == "artifact" and not any(re.fullmatch(item.pattern, path) for path in record.artifacts):
        yield f"artefact {item.name} is missing: {item.why}"


def _curve(item: Item, record: RunRecord) -> Iterator[str]:
    name = next((name for name in sorted(record.points) if re.fullmatch(item.pattern, name)), item.name)
    points = record.points.get(name, 0)
    if points == 0:
        yield f"metric {item.name} is missing: {item.why}"
    elif points < CURVE_POINTS:
        yield f"metric {name} has {points} point, expected a curve of at least {CURVE_POINTS}"
    elif not math.isfinite(record.metrics[name]):
        yield f"metric {name} ends at {record.metrics[name]}, expected a number"


def _scores(item: Item, record: RunRecord) -> Iterator[str]:
    scores = {name: value for name, value in record.metrics.items() if re.fullmatch(item.pattern, name)}
    if not scores:
        yield f"metrics {item.name} are missing: {item.why}"
    for name, value in sorted(scores.items()):
        if not math.isfinite(value):
            yield f"metric {name} is {value}, expected a number"


def _unequal(record: RunRecord, requested: Mapping[str, object]) -> Iterator[str]:
    for name, wanted in sorted(requested.items()):
        for kind, logged in (("parameter", record.params), ("tag", record.tags)):
            if wanted is not None and name in logged and not _equal(logged[name], wanted):
                yield f"{kind} {name} is {logged[name]!r}, requested was {str(wanted)!r}"
        if wanted is not None and name not in record.params and name not in record.tags and not _listed(name):
            yield f"parameter {name} is missing: {str(wanted)!r} was requested"


def _listed(name: str) -> bool:
    return any(item.name == name and item.kind in START for item in CONTRACT)


def _equal(logged: str, wanted: object) -> bool:
    """Equal as text, or as numbers: '2e-04' is 0.0002."""
    try:
        return logged == str(wanted) or float(logged) == float(str(wanted))
    except ValueError:
        return False


def _ending(record: RunRecord) -> Iterator[str]:
    if record.status != "FINISHED":
        yield f"the run's status is {record.status}, expected FINISHED"
