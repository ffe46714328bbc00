"""What a run must have logged, as one list, and the check of a run against it.

Checked twice: before step 0 (`stage="start"`: tags, and parameters that are asked for) and at registration on
what was read back (`stage="end"`: everything). Any trainer's run counts if it fulfils the list;
`bakeoff contract show` prints it, with the plain MLflow calls of `script`.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bakeoff.errors import Refused
from bakeoff.training.adapter import WEIGHTS, is_pickle
from bakeoff.training.tracker import RunRecord

Kind = Literal["param", "tag", "curve", "score", "artifact", "dataset"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One thing that must be there."""

    kind: Kind
    name: str  # of the parameter or tag; for everything else what people call it
    known: Literal["start", "end"] = "end"  # when it must be there: before step 0, or once training is over
    pattern: str = ""  # metrics and artifacts: a regular expression that some name or path must match
    derived: bool = False  # registration works it out from the other items where a run did not log it
    why: str  # what it is good for
    how: str  # a plain MLflow call that logs it; items of one call share its text


CURVE_POINTS = 2  # a single number is no curve
_ADAPTER_CALL = 'mlflow.log_artifacts("outputs/adapter", "adapter")  # model.save_pretrained("outputs/adapter")'
_TOKENIZER_CALL = (
    'mlflow.log_artifacts("outputs/tokenizer", "tokenizer")  # tokenizer.save_pretrained("outputs/tokenizer")'
)


def _param(name: str, value: str, why: str, *, known: Literal["start", "end"] = "start", derived: bool = False) -> Item:
    call = f'mlflow.log_param("{name}", {value})'
    return Item(kind="param", name=name, known=known, derived=derived, why=why, how=call)


def _tag(name: str, value: str, why: str) -> Item:
    return Item(kind="tag", name=name, known="start", why=why, how=f'mlflow.set_tag("{name}", {value})')


def _curve(name: str, values: str, why: str) -> Item:
    call = f'for step, loss in enumerate({values}):\n    mlflow.log_metric("{name}", loss, step=step)'
    return Item(kind="curve", name=name, pattern=name, why=why, how=call)


def _file(name: str, pattern: str, call: str, why: str) -> Item:
    return Item(kind="artifact", name=name, pattern=rf"(.*/)?{pattern}", why=why, how=call)


CONTRACT: tuple[Item, ...] = (
    _param("learning_rate", "2e-4", "to repeat the run and to compare runs"),
    _param("batch_size", "16", "to repeat the run and to compare runs"),
    _param("epochs", "3", "to repeat the run and to compare runs"),
    _param("dataset_version", "dataset_version", "which data the model saw"),
    _param("model_architecture", '"LlamaForCausalLM + LoRA r16"', "what was fine-tuned"),
    _param("seed", "0", "to repeat the run"),
    _param("base_model", "base_model", "the base that the adapter goes on: alias, hub id or folder"),
    _param("base_digest", "BASE_DIGEST", "an adapter fits one base model", derived=True),
    _param("rows", "300", "how much was learnt from, after filtering", known="end"),
    _param("steps", "57", "optimiser steps", known="end"),
    _param("tokens", "123_456", "what the run costs", known="end"),
    _param("trainable_parameters", "1_000_000", "how large the adapter is", known="end"),
    _param(
        "template_digest",
        "TEMPLATE_DIGEST",
        "serving must render prompts with the same template",
        known="end",
        derived=True,
    ),
    _tag("task", "task", "which product feature it is for"),
    _tag("dataset_version", "dataset_version", "to find the runs of a dataset"),
    _tag("git_commit", "git_commit", "which code ran"),
    _tag("lock_digest", "lock_digest", "which library versions ran"),
    _curve("training_loss", "[1.2, 0.8, 0.6]", "whether it learnt"),
    _curve("validation_loss", "[1.1, 0.7]", "whether it learnt more than its rows by heart"),
    Item(
        kind="score",
        name="eval_*",
        # not what transformers' Trainer calls so: its loss and its speed on validation rows
        pattern=r"eval_(?!(loss|runtime|.*_per_second|.*_time|num_.*|entropy|mean_token_accuracy)$).+",
        why="scores of the offline evaluator on validation",
        how='mlflow.log_metric("eval_METRIC", 0.61)  # one for each metric of the task, on validation rows only',
    ),
    Item(
        kind="dataset",
        name="dataset input",
        why="digest, source and schema beside the run",
        how="mlflow.log_input(MetaDataset(LocalArtifactDatasetSource(dataset_uri),"
        ' name=f"{task}/{dataset_version}", digest=dataset_digest), context="training")',
    ),
    _file(f"trained model ({WEIGHTS})", r"adapter_model\.safetensors", _ADAPTER_CALL, "what is served"),
    _file(
        "model config (adapter_config.json)", r"adapter_config\.json", _ADAPTER_CALL, "how the weights are put together"
    ),
    _file(
        "tokenizer (tokenizer.json or tokenizer.model)",
        r"tokenizer\.(json|model)",
        _TOKENIZER_CALL,
        "the same text must give the same tokens",
    ),
    _file(
        "chat template (chat_template.jinja)",
        r"chat_template\.(jinja|json)",
        _TOKENIZER_CALL,
        "prompts are rendered with it when serving",
    ),
)


def check(
    record: RunRecord,
    requested: Mapping[str, object],
    *,
    stage: Literal["start", "end"] = "end",
) -> tuple[str, ...]:
    """Everything that is missing, wrong or not as `requested` (by name of a parameter or tag; None is no
    request), one sentence each, in the order of `CONTRACT`. Empty: fulfilled."""
    items = [item for item in CONTRACT if stage == "end" or item.known == "start"]
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
    refuse(record.run_id, check(record, requested, stage=stage))


def refuse(run_id: str, problems: tuple[str, ...]) -> None:
    """Raises Refused with `problems`; does nothing where there are none."""
    if problems:
        raise Refused(
            f"run {run_id} does not fulfil the logging contract:\n" + "\n".join(f"  - {p}" for p in problems),
            cure="`bakeoff contract show` lists what a run needs, with the calls that log it",
        )


def script(task: str, metric: str) -> str:
    """Python that logs a run by plain MLflow calls, without bakeoff: to be copied into a notebook and filled in. It
    runs as it is where ``outputs/adapter`` and ``outputs/tokenizer`` exist. Derived items are left to registration.
    `metric`: one of the task's."""
    calls = dict.fromkeys(item.how.replace("METRIC", metric) for item in CONTRACT if not item.derived)
    body = "\n".join(f"    {line}" for call in calls for line in call.splitlines())
    return _HEAD.format(task=task) + body + "\n"


_HEAD = """\
import hashlib
import subprocess
from importlib.metadata import distributions

import mlflow
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource

task = "{task}"
dataset_version = "2025-01-03"  # `bakeoff dataset list` shows version, folder and digest
dataset_uri = "/datasets/{task}/2025-01-03"
dataset_digest = "0123456789abcdef0123456789abcdef"  # its first 32 digits after 'sha256:'
base_model = "smollm2"  # alias, hub id or folder, as `bakeoff train --base` takes it
found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
git_commit = found.stdout.strip() or "unknown"
libraries = sorted(f"{{each.metadata['Name']}}=={{each.version}}" for each in distributions())
lock_digest = "sha256:" + hashlib.sha256("\\n".join(libraries).encode()).hexdigest()

mlflow.set_experiment(task)
with mlflow.start_run(run_name="notebook") as run:
    print("bakeoff register --run-id", run.info.run_id)
"""


def _problems(item: Item, record: RunRecord) -> Iterator[str]:
    if item.kind == "param" and not record.params.get(item.name, "").strip():
        yield f"parameter {item.name} is missing: {item.why}"
    elif item.kind == "tag" and not record.tags.get(item.name, "").strip():
        yield f"tag {item.name} is missing: {item.why}"
    elif item.kind == "curve":
        yield from _curve_problems(item, record)
    elif item.kind == "score":
        yield from _scores(item, record)
    elif item.kind == "dataset" and not record.datasets:
        yield f"{item.name} is missing: {item.why}"
    elif item.kind == "artifact" and not any(re.fullmatch(item.pattern, path) for path in record.artifacts):
        yield f"artefact {item.name} is missing: {item.why}"


def _curve_problems(item: Item, record: RunRecord) -> Iterator[str]:
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
    return any(item.name == name and item.kind in ("param", "tag") for item in CONTRACT)


def _equal(logged: str, wanted: object) -> bool:
    """Equal as text, or as numbers: '2e-04' is 0.0002."""
    try:
        return logged == str(wanted) or float(logged) == float(str(wanted))
    except ValueError:
        return False


def _ending(record: RunRecord) -> Iterator[str]:
    for path in filter(is_pickle, record.artifacts):
        yield f"artefact {path} is a pickle, which runs code when it is loaded: log safetensors, leave this out"
    if record.status != "FINISHED":
        yield f"the run's status is {record.status}, expected FINISHED"
