"""TRL's SFTTrainer with the loss at the choices only, and checkpoints without pickle. The loop is transformers'.

TRL scores every position against the whole vocabulary, which on a CPU costs more than the rest of the step;
`ChoiceTrainer` replaces the loss, and how a run is kept and taken up again.
"""

import contextlib
import json
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from bakeoff.fingerprint import digest
from bakeoff.inference.choice_logits import ChoiceIndex, Trunk, allowed_logits, index_choices
from bakeoff.training import checkpoint, processes
from bakeoff.training.adapter import adapter_digest
from bakeoff.training.choice_loss import choice_loss
from bakeoff.training.lora import write_adapter
from bakeoff.training.model import UNLABELLED, CurvePoint, OnStep, TrainResult, TrainSpec
from bakeoff.training.rows import EncodedPair, EncodedRow
from bakeoff.training.watch import Watch

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "llguidance")
VALIDATION_ROWS = 16
"""Rows whose loss is watched; the first ones. On a CPU each costs a fifth of a training row."""
CHECKPOINT_SECONDS, CHECKPOINT_SHARE = 300.0, 0.1
"""A checkpoint is due after this time or this share of the steps, whichever comes first."""
CHECKPOINT_COST = 0.02
"""Share of the training time that checkpoints may take; a dear one is put off."""
_WARMUP_SHARE = 0.05
_STATE = "trainer_state.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Keeping:
    """Where and how often a run is kept, so that a killed one can go on."""

    root: Path  # folder of the checkpoints; made when needed
    every: int | None = None  # steps between two checkpoints; None: see `CHECKPOINT_SECONDS`


class ChoiceTrainer(SFTTrainer):  # type: ignore[misc]  # trl has no types: its class is Any
    """SFTTrainer whose loss looks at the labelled choices only."""

    def __init__(
        self, *, trunk: Trunk, dtype: torch.dtype, held_out: Sequence[Any], keeping: Keeping | None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.trunk, self.dtype, self.held_out, self.keeping = trunk, dtype, held_out, keeping
        self.curves: list[CurvePoint] = []
        self.about: Mapping[str, Any] = {}
        self.seconds_before = self.bookkeeping = self.began = self.kept_at = 0.0
        self.model_accepts_loss_kwargs = True  # the loss is normalised over the whole batch, not per micro-batch
        self.order: processes.EvenOrder | None = None  # of the rows, where several processes share them
        for parameter in self.model.parameters():  # TRL puts adapters of a 4-bit base into bfloat16; ours train alike
            if parameter.requires_grad:
                parameter.data = parameter.data.float()

    # ---- the rows ----

    def learn_from(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Makes `rows` what is trained on. Where several processes share them, `processes.EvenOrder` wants a blank one
        behind them."""
        blanks = [processes.blank(rows)] if self.accelerator.num_processes > 1 else []
        self.train_dataset = Dataset.from_list([dict(row) for row in (*rows, *blanks)])

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        count = self.accelerator.num_processes
        if count == 1:
            return super()._get_train_sampler(train_dataset)
        rows = len(self.train_dataset) - 1
        self.order = processes.EvenOrder(rows, self.args.per_device_train_batch_size * count, self.args.data_seed)
        return self.order

    # ---- the loss ----

    def count(self, batches: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """What the loss of these batches is a mean over: their labelled choices."""
        return torch.stack([(batch["targets"] != UNLABELLED).sum() for batch in batches]).sum()

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        """Of all processes together."""
        items: torch.Tensor = self.accelerator.reduce(self.count(batch_samples).to(device), "sum")
        return items

    def choice_logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """[n, k] float32 logits of the allowed tokens of every choice in the batch."""
        ids = inputs["input_ids"]
        index = ChoiceIndex(**{name: inputs[name] for name in ("rows", "positions", "tokens", "allowed")})
        # No attention mask: rows are padded on the right, and causal attention never looks right.
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            hidden = self.trunk.body(input_ids=ids, use_cache=False).last_hidden_state
        return allowed_logits(hidden, self.trunk.head, index, self.trunk.cap)

    def loss(self, inputs: Mapping[str, torch.Tensor], items: torch.Tensor) -> torch.Tensor:
        """Share of this micro-batch in the loss of a batch with `items`, see `count`."""
        return choice_loss(self.choice_logits(inputs), inputs["targets"], items)

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        items = self.count([inputs]) if num_items_in_batch is None else num_items_in_batch
        loss = processes.within(model, self.model, lambda: self.loss(inputs, items))
        loss = loss * self.accelerator.num_processes  # gradients and losses are averaged over processes, not summed
        return (loss, None) if return_outputs else loss

    def validation(self) -> dict[str, float]:
        """Curve -> value over the held-out rows, one row at a time: their loss per labelled choice."""
        return {"validation_loss": self.over_held_out(lambda batch, items: [self.loss(batch, items)])[0]}

    def over_held_out(self, parts: Callable[[Any, torch.Tensor], Sequence[torch.Tensor]]) -> list[float]:
        """Sums of `parts` (batch, items of all batches) over the held-out rows. Each process does all: they are few."""
        batches = [self._prepare_inputs(self.data_collator([row])) for row in self.held_out]
        items = self.count(batches)
        self.model.eval()
        with torch.no_grad():
            found = [parts(batch, items) for batch in batches]
        self.model.train()
        return [sum(map(float, each)) for each in zip(*found, strict=True)]

    def add_up(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes."""
        if self.accelerator.num_processes == 1:
            return list(values)
        total = self.accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=self.args.device), "sum")
        return [float(value) for value in total]

    def step_metrics(self) -> dict[str, float]:
        """What a recipe measures at every step beside the loss; asked once per step."""
        return {}

    # ---- keeping a run, and taking it up again ----

    def checkpoint_due(self, now: float) -> bool:
        """After `Keeping.every` steps where given, else by time and share of the steps; never after the last step."""
        step, total = self.state.global_step, self.state.max_steps
        if self.keeping is None or step >= total:
            return False
        if self.keeping.every is not None:
            return bool(step % self.keeping.every == 0)
        due = now - self.kept_at >= CHECKPOINT_SECONDS or step % max(1, round(CHECKPOINT_SHARE * total)) == 0
        return bool(due and self.bookkeeping <= CHECKPOINT_COST * (now - self.began))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:  # noqa: ARG002 - transformers' signature
        assert self.keeping is not None  # else none is ever due
        if not self.accelerator.is_main_process:  # all hold the same
            return
        began = time.perf_counter()
        tensors, state = checkpoint.pack(self.model, self.optimizer, self.lr_scheduler)
        state["curves"] = [asdict(point) for point in self.curves]
        state["seconds"] = self.seconds_before + began - self.began
        kept = checkpoint.Checkpoint(step=self.state.global_step, about=self.about, tensors=tensors, state=state)
        trainer_state = json.dumps(asdict(self.state) | {"log_history": []})  # the curves are kept above
        checkpoint.write(self.keeping.root, kept, {_STATE: trainer_state})
        self.kept_at = time.perf_counter()
        self.bookkeeping += self.kept_at - began

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002 - transformers' signature
        kept = checkpoint.read(Path(resume_from_checkpoint))
        checkpoint.put_weights(self.model, kept)
        self.curves = [CurvePoint(**point) for point in kept.state["curves"]]
        self.seconds_before = kept.state["seconds"]

    def _load_optimizer_and_scheduler(self, checkpoint_: str | None) -> None:
        if checkpoint_ is not None:
            checkpoint.put_optimizer(self.optimizer, self.lr_scheduler, checkpoint.read(Path(checkpoint_)))

    def _load_rng_state(self, checkpoint_: str | None) -> None:
        if checkpoint_ is not None:
            checkpoint.put_random(checkpoint.read(Path(checkpoint_)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """What a loop did."""

    resumed_at: int  # step of the checkpoint that it went on from; 0 = from the beginning
    seconds: float  # wall-clock of all attempts
    bookkeeping: float  # of this attempt, spent on checkpoints and logging


def fit(trainer: ChoiceTrainer, about: Mapping[str, Any]) -> Fitted:
    """Trains to the end, from the newest checkpoint of a run that is `about` the same, where there is one."""
    trainer.about = about
    found = None if trainer.keeping is None else checkpoint.newest(trainer.keeping.root, about)
    resumed_at = 0 if found is None else checkpoint.read(found).step
    if trainer.accelerator.num_processes > 1:
        processes.same_everywhere(trainer.accelerator, resumed_at)
    trainer.began = trainer.kept_at = time.perf_counter()
    trainer.train(resume_from_checkpoint=None if found is None else str(found))
    seconds = trainer.seconds_before + time.perf_counter() - trainer.began
    return Fitted(resumed_at=resumed_at, seconds=seconds, bookkeeping=trainer.bookkeeping)


def about(trainer: ChoiceTrainer, spec: TrainSpec, rows: Sequence[Any], threads: int) -> dict[str, Any]:
    """What must be equal for a checkpoint to be gone on from: anything that changes the result, be it by rounding."""
    return {
        "train_fingerprint": spec.fingerprint,
        "rows": digest([asdict(row) for row in rows]),
        "threads": threads,
        "processes": trainer.accelerator.num_processes,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "versions": versions(),
    }


def keep(trainer: ChoiceTrainer, spec: TrainSpec, template_digest: str, out_dir: Path) -> None:
    """The first process writes the adapter, the others wait until it lies there."""
    if trainer.accelerator.is_main_process:
        write_adapter(trainer.model, spec, template_digest, out_dir)
    trainer.accelerator.wait_for_everyone()


def summed_up(
    trainer: ChoiceTrainer,
    fitted: Fitted,
    spec: TrainSpec,
    rows: Sequence[EncodedRow | EncodedPair],
    *,
    too_long: int,
    choices: int,
    out_dir: Path,
    template_digest: str,
    threads: int,
) -> TrainResult:
    """What was really done. `rows`: that were trained on; the adapter lies in `out_dir`."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in trainer.model.parameters()]
    return TrainResult(
        adapter_dir=out_dir,
        adapter_digest=adapter_digest(out_dir),
        base_digest=spec.base_digest,
        template_digest=template_digest,
        rows=len(rows),
        rows_too_long=too_long,
        validation_rows=len(trainer.held_out),
        steps=trainer.state.global_step,
        resumed_at=fitted.resumed_at,
        choices=choices,
        tokens=sum(len(row.input_ids) for row in rows) * spec.epochs,
        trainable_parameters=sum(size for size, is_trained in sizes if is_trained),
        total_parameters=sum(size for size, _ in sizes),
        threads=threads,
        processes=trainer.accelerator.num_processes,
        curves=tuple(trainer.curves),
        seconds=fitted.seconds,
        bookkeeping_seconds=fitted.bookkeeping,
        versions=versions(),
    )


def versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def open_trainer(
    kind: type[ChoiceTrainer],
    spec: TrainSpec,
    rows: Sequence[Mapping[str, Any]],
    /,
    *,
    on_step: OnStep | None,
    scratch: Path,
    **kwargs: Any,
) -> Any:
    """A trainer of `kind` over `rows` with everything that `spec` says about the loop."""
    watch = Watch(on_step)
    trainer = kind(
        args=arguments(spec, len(rows), scratch),
        train_dataset=Dataset.from_list([dict(rows[0])]),  # TRL wants one already; `learn_from` has them all
        callbacks=[watch],
        **kwargs,
    )
    trainer.remove_callback(PrinterCallback)  # stdout belongs to the caller
    watch.trainer = trainer
    trainer.learn_from(rows)
    return trainer


def arguments(spec: TrainSpec, rows: int, scratch: Path) -> SFTConfig:
    """Settings of the loop; accelerate learns here whether torchrun started several processes."""
    steps = -(-rows // spec.batch_size) * spec.epochs
    found = SFTConfig(
        output_dir=str(scratch),
        num_train_epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=round(_WARMUP_SHARE * steps),
        per_device_train_batch_size=spec.micro_batch,
        optim="adamw_torch",
        weight_decay=0.0,
        seed=spec.seed,
        data_seed=spec.seed,
        bf16=False,  # autocast is in the loss, where the trunk is called past the trainer's wrapper
        activation_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        save_strategy="no",  # `Watch` says when
        disable_tqdm=True,
        ddp_find_unused_parameters=False,  # every pass uses every adapter
    )
    found.gradient_accumulation_steps = spec.accumulation(found.world_size)
    return found


def columns(row: Any) -> dict[str, Any]:
    """The fields of an encoded row, as a row of a `datasets.Dataset`."""
    return {name: getattr(row, name) for name in type(row).__slots__}


def collate(rows: Sequence[Mapping[str, Any] | EncodedRow]) -> dict[str, torch.Tensor]:
    """Rows as tensors, padded on the right with token 0 (never looked at). See `ChoiceIndex` for shapes."""
    parts = [row if isinstance(row, Mapping) else columns(row) for row in rows]
    width = max(len(part["input_ids"]) for part in parts)
    index = index_choices([part["positions"] for part in parts], [part["tokens"] for part in parts])
    return {
        "input_ids": torch.tensor([[*p["input_ids"], *[0] * (width - len(p["input_ids"]))] for p in parts]),
        "targets": torch.tensor([target for part in parts for target in part["targets"]]),
        "rows": index.rows,
        "positions": index.positions,
        "tokens": index.tokens,
        "allowed": index.allowed,
    }


def number_format(spec: TrainSpec) -> torch.dtype:
    return torch.bfloat16 if spec.dtype == "bfloat16" else torch.float32


@contextlib.contextmanager
def no_trace(threads: int) -> Iterator[None]:
    """Trains with `threads` threads and gives the process its threads and random states back."""
    before, states = torch.get_num_threads(), (random.getstate(), np.random.get_state())
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            # peft still asks by the old name of `is_activation_checkpointing`
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            yield
    finally:
        torch.set_num_threads(before)
        random.setstate(states[0])
        np.random.set_state(states[1])
