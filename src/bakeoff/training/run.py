"""A training run from dataset to bundle: render rows, train, score on validation, log what the contract asks for."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from bakeoff.datasets import files, views
from bakeoff.datasets.model import Dataset, Row, Split
from bakeoff.errors import BakeoffError, Refused
from bakeoff.fingerprint import canonical_json, short
from bakeoff.inference.model import Decoding, Engines, ModelRef, PolicySpec, Price
from bakeoff.task import Request, Task
from bakeoff.training import contract, evals, launch, outbox, preflight, run_file, starts, worker
from bakeoff.training.adapter import adapter_digest
from bakeoff.training.metric_log import MetricLog
from bakeoff.training.model import PairRow, TrainingRow, TrainResult, TrainSpec
from bakeoff.training.run_file import RunFile
from bakeoff.training.tokenizer import copy_tokenizer
from bakeoff.training.tracker import FINGERPRINT_TAG, Tracker

ADAPTER_TAG = "adapter_digest"
SPEC_FILE = "train_spec.json"
WORKER = "worker"  # in the run's folder: the run file
CHECKPOINTS = "checkpoints"  # in the run's folder; while it holds any, the same run goes on
_LAST_WORDS_S = 5.0  # a thread that is still sending points gets this long; what it cannot send, `outbox.sync` does


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
    probe: Request | None = None  # a request to answer before it is registered; None: there is none at hand
    assumed: tuple[str, ...] = ()  # what a foreign run did not say, and what was taken instead

    def spec_at(self, uri: str) -> PolicySpec:
        """The policy spec with the adapter where it is registered."""
        assert self.policy_spec.model is not None  # what was trained has a model
        return replace(self.policy_spec, model=replace(self.policy_spec.model, adapter=uri))


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
    processes: int = 1,
    provenance: Mapping[str, str],
    price: Price,
    on_step: Callable[[int, int], None],
) -> Trained:
    """Trains `spec` on `dataset`, or returns the complete run with the same fingerprint. A killed run leaves
    nothing that counts; the next one goes on from its last checkpoint and makes the same adapter. Where the tracker
    went away during training, what was trained is kept, and this call raises Unreachable; the next one only sends
    it.

    Args:
        processes: of this machine; they share every batch and change the result by rounding alone.
        threads: CPU threads of all of them together."""
    launch.require_machine(spec, processes)
    folder = work / "runs" / short(spec.fingerprint)
    bundle = folder / "bundle"
    requested = requested_params(spec, dataset)
    if outbox.state(folder) == "waiting":
        outbox.sync_or_explain(tracker, folder)
    known = tracker.find_run(task.name, spec.fingerprint)
    rows = files.load(dataset.uri, splits=(Split.TRAIN, Split.VALIDATION))
    trained = Trained(
        run_id="",
        bundle=bundle,
        requested=requested,
        dataset_digest=dataset.digest,
        dataset_version=dataset.version,
        policy_spec=policy_spec(task, spec, str(bundle / "adapter"), "", price),
        reused=True,
        probe=next((row.example.request for row in rows if row.split is Split.VALIDATION), None),
    )
    if known is not None and bundle.is_dir() and known.tags.get(ADAPTER_TAG) == adapter_digest(bundle / "adapter"):
        return _finished(trained, known.run_id)
    base = bases.resolve(spec.base)
    learn, watch = (learnable(task, rows, split, spec.recipe) for split in (Split.TRAIN, Split.VALIDATION))
    worker.require_pairs(spec, learn)
    preflight.check(task, dataset, rows, learn, watch, base_dir=base.path, spec=spec)
    planned = RunFile(
        spec=spec,
        rows=learn,
        validation_rows=watch,
        base_dir=base.path,
        start_dir=starts.folder_of(work, spec.start),
        out_dir=folder / "adapter",
        checkpoints=folder / CHECKPOINTS,
        threads=threads_each(threads, processes),
    )
    with _alone(folder):
        run_id = _open(tracker, task, dataset, spec, requested, provenance, folder)
        try:
            _run(tracker, engines, task, rows, planned, processes, base, folder, run_id, on_step)
        except BaseException:
            if outbox.state(folder) == "open":
                outbox.finish(folder, outbox.Done(failed=True, params={}, tags={}, artifacts={}))
            with suppress(BakeoffError):  # the tracker may be away; `bakeoff runs sync` tells it later
                outbox.sync(tracker, folder)
            raise
        outbox.sync_or_explain(tracker, folder)
    return replace(_finished(trained, run_id), reused=False)


def threads_each(threads: int, processes: int) -> int:
    """CPU threads of each process."""
    return max(1, threads // processes)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two processes with one spec would write into one folder. The lock ends with its process, however that ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(
                f"another process is training the same spec in {folder}",
                cure="wait until it is done, then type the same command: it takes that run over, or goes on from it",
            ) from error
        yield


def _open(
    tracker: Tracker,
    task: Task,
    dataset: Dataset,
    spec: TrainSpec,
    requested: Mapping[str, object],
    provenance: Mapping[str, str],
    folder: Path,
) -> str:
    """Opens the run and proves that the tracker takes parameters, dataset and files, before the first step. A run
    that was killed or stopped after a checkpoint is taken up again."""
    left = outbox.started(folder)
    if left is not None and any((folder / CHECKPOINTS).glob("step-*")):
        return outbox.resume(tracker, folder)
    if left is not None and outbox.state(folder) == "open":  # killed before its first checkpoint
        with suppress(BakeoffError):  # what the tracker does not know needs no end
            tracker.finish(left.run_id, failed=True)
    name = f"{task.name}-{dataset.version}-{spec.recipe}"
    run_id = tracker.start_run(
        name,
        {**requested, "base_model": spec.base, "model_architecture": f"{spec.base} + LoRA r{spec.lora_r}"},
        {
            "task": task.name,
            "policy_id": f"{task.name}_policy",
            "dataset_version": dataset.version,
            FINGERPRINT_TAG: spec.fingerprint,
            **provenance,
        },
    )
    try:
        tracker.log_dataset(run_id, dataset)
        contract.enforce(tracker.read_run(run_id), requested, stage="start")
        shutil.rmtree(folder, ignore_errors=True)
        config = folder / "config"
        config.mkdir(parents=True)
        _write_spec(config, spec)
        tracker.log_artifacts(run_id, config)
    except BaseException:
        with suppress(BakeoffError):  # the tracker may be what failed
            tracker.finish(run_id, failed=True)
        raise
    mine = outbox.Started(run_id=run_id, task=task.name, name=name, train_fingerprint=spec.fingerprint)
    outbox.start(folder, mine)
    return run_id


def _finished(trained: Trained, run_id: str) -> Trained:
    """With the adapter that now lies in the bundle."""
    adapter = trained.bundle / "adapter"
    model = trained.spec_at(str(adapter)).model
    assert model is not None
    spec = replace(trained.policy_spec, model=replace(model, adapter_digest=adapter_digest(adapter)))
    return replace(trained, run_id=run_id, policy_spec=spec)


def requested_params(spec: TrainSpec, dataset: Dataset) -> dict[str, object]:
    """What the run is asked for, by the names of the contract."""
    asked = {name: value for name, value in asdict(spec).items() if value is not None}
    return asked | {"dataset_version": dataset.version}


def learnable(task: Task, rows: Sequence[Row], split: Split, recipe: str) -> Sequence[TrainingRow | PairRow]:
    """What `recipe` learns from: `training_pairs` for lora_dpo, else `training_rows`."""
    return training_pairs(task, rows, split) if recipe == "lora_dpo" else training_rows(task, rows, split)


def usable_rows(task: Task, dataset: Dataset, max_rows: int | None) -> int:
    """How many train rows a supervised recipe learns from, of the newest `max_rows`."""
    found = len(training_rows(task, files.load(dataset.uri, splits=(Split.TRAIN,)), Split.TRAIN))
    return found if max_rows is None else min(found, max_rows)


def training_rows(task: Task, rows: Sequence[Row], split: Split) -> list[TrainingRow]:
    """The rows of `split` that are learnt from (`views.learnable`), as the task renders and supervises them; those it
    declines are left out."""
    found = (views.sft(task, row) for row in views.learnable(rows) if row.split is split)
    return [TrainingRow(messages=view.messages, schema=view.schema, labels=view.labels) for view in found if view]


def training_pairs(task: Task, rows: Sequence[Row], split: Split) -> list[PairRow]:
    """What people kept over what they were shown, for the rows of `split` where the two differ."""
    found = []
    for row in views.learnable(rows):
        preference = task.preference(row.example) if row.split is split else None
        if preference is not None:
            request = row.example.request
            found.append(
                PairRow(
                    messages=task.render(request),
                    schema=task.answer_schema(request),
                    labels=task.supervise(row.example) or {},
                    chosen=task.labels(request, preference.chosen),
                    rejected=task.labels(request, preference.rejected),
                )
            )
    return found


def _run(
    tracker: Tracker,
    engines: Engines,
    task: Task,
    rows: Sequence[Row],
    planned: RunFile,
    processes: int,
    base: Base,
    folder: Path,
    run_id: str,
    on_step: Callable[[int, int], None],
) -> None:
    """Trains, scores and leaves everything that the tracker must get in `folder`."""
    spec = planned.spec
    with MetricLog(folder / outbox.POINTS, tracker, run_id, clock=time.time) as log:

        def step(done: int, total: int, metrics: Mapping[str, float]) -> None:
            log.log(metrics, done)
            on_step(done, total)

        result = launch.carry_out(run_file.write(folder / WORKER, planned), step, processes=processes)
        for point in result.curves:  # those of the training loss are there already
            log.log({point.name: point.value}, point.step)
        bundle = _bundle(folder, base, spec, result)
        scored = evals.evaluate(
            engines, task, rows, policy_spec(task, spec, str(bundle / "adapter"), result.adapter_digest, Price())
        )
        log.log({f"eval_{name}": value for name, value in evals.means(scored).items()}, result.steps)
        (folder / "report").mkdir(exist_ok=True)
        evals.write(folder / "report" / evals.EVAL_FILE, scored)
        log.close(_LAST_WORDS_S)
    tags = {ADAPTER_TAG: result.adapter_digest}
    artifacts = {"bundle": "", "report": "report"}
    outbox.finish(folder, outbox.Done(params=effective_params(result), tags=tags, artifacts=artifacts))
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    run_file.drop_rows(folder / WORKER)


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
        "processes": result.processes,
        "train_seconds": round(result.seconds, 1),
    }


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
    for leftover in (part, folder / "bundle"):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(result.adapter_dir, part / "adapter")
    (part / "tokenizer").mkdir()
    copy_tokenizer(base.path, part / "tokenizer")
    _write_spec(part, spec)
    return part.rename(folder / "bundle")


def _write_spec(folder: Path, spec: TrainSpec) -> None:
    (folder / SPEC_FILE).write_text(canonical_json(asdict(spec)) + "\n")
