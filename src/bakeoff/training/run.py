"""A training run from dataset to bundle: render rows, train, score on validation, log what the contract asks for."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bakeoff.datasets import files
from bakeoff.datasets.model import Dataset, Row, Split
from bakeoff.errors import BakeoffError, Refused, Unreachable
from bakeoff.fingerprint import canonical_json, short
from bakeoff.inference.model import Decoding, Engines, ModelRef, PolicySpec, Price
from bakeoff.inference.run_policy import run_policy
from bakeoff.task import Task
from bakeoff.training import contract
from bakeoff.training.adapter import adapter_digest
from bakeoff.training.metric_log import MetricLog
from bakeoff.training.model import TrainingRow, TrainResult, TrainSpec
from bakeoff.training.tracker import FINGERPRINT_TAG, Tracker

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
ADAPTER_TAG = "adapter_digest"
EVAL_ROWS = 24
"""Validation rows that the offline evaluator answers at the end of a run."""


class Base(Protocol):
    """A base model on this machine."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def digest(self) -> str: ...


class Bases(Protocol):
    """Where base models come from: an alias, a hub id or a path."""

    def resolve(self, name: str) -> Base: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A finished run, ready to be registered."""

    run_id: str
    bundle: Path  # folder with adapter/, tokenizer/ and train_spec.json
    requested: Mapping[str, object]  # parameters that the run was asked for
    dataset_digest: str
    dataset_version: str
    policy_spec: PolicySpec  # how the adapter is meant to be run
    reused: bool  # an equal run was there already


def train(
    tracker: Tracker,
    bases: Bases,
    engines: Engines,
    task: Task,
    dataset: Dataset,
    spec: TrainSpec,
    *,
    work: Path,
    threads: int,
    provenance: Mapping[str, str],
    price: Price,
    on_step: Callable[[int, int], None],
) -> Trained:
    """Trains `spec` on `dataset`, or returns the complete run with the same fingerprint. A killed run leaves
    nothing that counts; the next one starts over and makes the same adapter."""
    folder = work / "runs" / short(spec.fingerprint)
    bundle = folder / "bundle"
    requested = requested_params(spec, dataset)
    known = tracker.find_run(task.name, spec.fingerprint)
    if known is not None and bundle.is_dir() and known.tags.get(ADAPTER_TAG) == adapter_digest(bundle / "adapter"):
        return _trained(task, spec, dataset, bundle, known.run_id, requested, price, reused=True)
    rows = files.load(dataset.uri)
    base = bases.resolve(spec.base)
    run_id = tracker.start_run(
        f"{task.name}-{dataset.version}-{spec.recipe}",
        requested | {"model_architecture": f"{spec.base} + LoRA r{spec.lora_r}"},
        {
            "task": task.name,
            "policy_id": f"{task.name}_policy",
            "dataset_version": dataset.version,
            FINGERPRINT_TAG: spec.fingerprint,
            **provenance,
        },
    )
    try:
        contract.enforce(tracker.read_run(run_id), requested, stage="start")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run(tracker, engines, task, dataset, spec, rows, base, folder, run_id, threads, on_step)
    except BaseException:
        with suppress(BakeoffError):  # the tracker may be what failed
            tracker.finish(run_id, failed=True)
        raise
    return _trained(task, spec, dataset, bundle, run_id, requested, price, reused=False)


def requested_params(spec: TrainSpec, dataset: Dataset) -> dict[str, object]:
    """What the run is asked for, by the names of the contract."""
    asked = {name: value for name, value in asdict(spec).items() if value is not None}
    return asked | {"dataset_version": dataset.version}


def training_rows(task: Task, rows: Sequence[Row], split: Split) -> list[TrainingRow]:
    """The rows of `split` as the task renders and supervises them; those it declines are left out."""
    found = []
    for row in rows:
        labels = task.supervise(row.example) if row.split is split else None
        if labels:
            request = row.example.request
            found.append(TrainingRow(messages=task.render(request), schema=task.answer_schema(request), labels=labels))
    return found


def _run(
    tracker: Tracker,
    engines: Engines,
    task: Task,
    dataset: Dataset,
    spec: TrainSpec,
    rows: Sequence[Row],
    base: Base,
    folder: Path,
    run_id: str,
    threads: int,
    on_step: Callable[[int, int], None],
) -> None:
    from bakeoff.training.recipes import lora_sft

    log = MetricLog(folder / "metrics.jsonl", tracker, run_id)

    def step(done: int, total: int, _: Mapping[str, float]) -> None:
        on_step(done, total)

    learn = training_rows(task, rows, Split.TRAIN)
    if not learn:
        raise Refused(
            f"dataset {dataset.version} has no row that task {task.name} can learn from",
            cure="Task.supervise returned nothing for every row; look at its target fields",
        )
    result = lora_sft.train(
        spec,
        learn,
        training_rows(task, rows, Split.VALIDATION),
        base_dir=base.path,
        out_dir=folder / "adapter",
        threads=threads,
        on_step=step,
    )
    for point in result.curves:
        log.log({point.name: point.value}, point.step)
    bundle = _bundle(folder, base, spec, result)
    scores = evaluate(
        engines, task, rows, policy_spec(task, spec, str(bundle / "adapter"), result.adapter_digest, Price())
    )
    log.log({f"eval_{name}": value for name, value in scores.items()}, result.steps)
    try:
        log.send()
    except Unreachable as error:
        raise Refused(
            f"training is done but the tracker is away, so nothing can be registered: {error}",
            cure=f"the metrics lie in {log.path}; start the same command when the tracker is back",
        ) from error
    tracker.log_params(run_id, effective_params(result))
    tracker.log_dataset(run_id, dataset)
    tracker.log_artifacts(run_id, bundle)
    tracker.set_tag(run_id, ADAPTER_TAG, result.adapter_digest)
    tracker.finish(run_id)


def effective_params(result: TrainResult) -> dict[str, object]:
    """What the run really did, by the names of the contract."""
    return {
        "rows": result.rows,
        "steps": result.steps,
        "tokens": result.tokens,
        "choices": result.choices,
        "trainable_parameters": result.trainable_parameters,
        "total_parameters": result.total_parameters,
        "template_digest": result.template_digest,
        "threads": result.threads,
        "train_seconds": round(result.seconds, 1),
    }


def evaluate(engines: Engines, task: Task, rows: Sequence[Row], spec: PolicySpec) -> dict[str, float]:
    """The offline evaluator on validation rows: means of the task's metrics over up to `EVAL_ROWS` examples."""
    held_out = [row.example for row in rows if row.split is Split.VALIDATION][:EVAL_ROWS]
    engine = engines.open(spec)
    values: dict[str, list[float]] = {}
    for example in held_out:
        answered = run_policy(task, spec, example.request, engine=engine)
        for name, value in task.score(example, answered.parsed or {}).items():
            if value is not None:
                values.setdefault(name, []).append(value)
    return {name: float(np.mean(found)) for name, found in values.items()}


def policy_spec(task: Task, spec: TrainSpec, adapter: str, adapter_digest: str, price: Price) -> PolicySpec:
    """How an adapter of this run is meant to be run: like it was trained."""
    return PolicySpec(
        task=task.name,
        engine="transformers",
        prompt_version=spec.prompt_version,
        model=ModelRef(base=spec.base, base_digest=spec.base_digest, adapter=adapter, adapter_digest=adapter_digest),
        dtype=spec.dtype,
        decoding=Decoding(mode=spec.decoding_mode),
        price=price,
    )


def _bundle(folder: Path, base: Base, spec: TrainSpec, result: TrainResult) -> Path:
    """Everything that is needed to run the model, but the base weights: those are named by digest."""
    part = folder / "bundle.part"
    shutil.copytree(result.adapter_dir, part / "adapter")
    (part / "tokenizer").mkdir()
    for name in TOKENIZER_FILES:
        if (base.path / name).is_file():
            shutil.copy(base.path / name, part / "tokenizer" / name)
    (part / "train_spec.json").write_text(canonical_json(asdict(spec)) + "\n")
    return part.rename(folder / "bundle")


def _trained(
    task: Task,
    spec: TrainSpec,
    dataset: Dataset,
    bundle: Path,
    run_id: str,
    requested: Mapping[str, Any],
    price: Price,
    *,
    reused: bool,
) -> Trained:
    adapter = bundle / "adapter"
    return Trained(
        run_id=run_id,
        bundle=bundle,
        requested=requested,
        dataset_digest=dataset.digest,
        dataset_version=dataset.version,
        policy_spec=policy_spec(task, spec, str(adapter), adapter_digest(adapter), price),
        reused=reused,
    )
