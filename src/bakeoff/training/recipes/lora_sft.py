"""Supervised LoRA fine-tuning on what people kept: TRL's SFTTrainer with the loss at the choices only.

TRL scores every position against the whole vocabulary, which on a CPU costs more than the rest of the step;
`ChoiceTrainer` replaces only the loss. LoRA: Hu et al. 2021, arXiv 2106.09685.
"""

import contextlib
import json
import os
import random
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback
from transformers.utils import logging as transformers_logging
from trl import SFTConfig, SFTTrainer

from bakeoff.errors import UsageError
from bakeoff.fingerprint import canonical_json
from bakeoff.inference.choice_logits import ChoiceIndex, Trunk, allowed_logits, index_choices, take_apart
from bakeoff.inference.encode import Encoder
from bakeoff.training.adapter import CONFIG, ENCODING, WEIGHTS, adapter_digest, lint_adapter
from bakeoff.training.choice_loss import UNLABELLED, choice_loss
from bakeoff.training.model import CurvePoint, TrainingRow, TrainResult, TrainSpec
from bakeoff.training.rows import EncodedRow, encode_rows

OnStep = Callable[[int, int, Mapping[str, float]], None]
"""(steps done, steps in total, metrics of this step): for a progress bar and live logging."""
VALIDATION_ROWS = 16
"""Rows whose loss is watched; the first ones. On a CPU each costs a fifth of a training row."""
_WARMUP_SHARE = 0.05
_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "llguidance")


def train(
    spec: TrainSpec,
    rows: Sequence[TrainingRow],
    validation_rows: Sequence[TrainingRow] = (),
    *,
    base_dir: Path,
    out_dir: Path,
    threads: int,
    on_step: OnStep | None = None,
) -> TrainResult:
    """Trains one adapter and writes it to `out_dir`, which appears only when it is whole.

    Args:
        rows: oldest first; `spec.max_rows` keeps the last ones. A row whose labels are empty carries no loss and
            is left out.
        validation_rows: of units that are not in `rows`; the loss of the first 16 is measured before the first
            step and after each epoch, and decides nothing.
        base_dir: folder of the base model that `spec.base_digest` names.
        threads: CPU threads; part of what makes a run repeatable.

    Raises Refused for rows that are too long, UsageError for labels that the schema does not allow."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("lora_sft trains in one process", cure="start it without torchrun or accelerate launch")
    with _no_trace(threads):
        encoder = Encoder.open(base_dir)
        found = encode_rows(encoder, rows if spec.max_rows is None else rows[-spec.max_rows :], spec)
        encoded = found.kept
        held_out = encode_rows(encoder, validation_rows[:VALIDATION_ROWS], spec).kept if validation_rows else []
        with tempfile.TemporaryDirectory() as scratch:
            trainer = _trainer(spec, encoded, held_out, encoder, base_dir, Path(scratch), on_step)
            began = time.perf_counter()
            trainer.train()
            seconds = time.perf_counter() - began
        _write(trainer.model, spec, encoder.template_digest, out_dir)
    return TrainResult(
        adapter_dir=out_dir,
        adapter_digest=adapter_digest(out_dir),
        base_digest=spec.base_digest,
        template_digest=encoder.template_digest,
        rows=len(encoded),
        rows_too_long=found.too_long,
        validation_rows=len(held_out),
        steps=trainer.state.global_step,
        choices=sum(row.labelled for row in encoded),
        tokens=sum(len(row.input_ids) for row in encoded) * spec.epochs,
        trainable_parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        total_parameters=sum(p.numel() for p in trainer.model.parameters()),
        threads=threads,
        curves=tuple(trainer.curves),
        seconds=seconds,
        versions={name: version(name) for name in _PACKAGES},
    )


class ChoiceTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer whose loss looks at the labelled choices only."""

    def __init__(self, *, trunk: Trunk, dtype: torch.dtype, held_out: Sequence[EncodedRow], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trunk, self.dtype, self.held_out = trunk, dtype, held_out
        self.curves: list[CurvePoint] = []
        self.model_accepts_loss_kwargs = True  # the loss is normalised over the whole batch, not per micro-batch

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        return sum((batch["targets"] != UNLABELLED).sum() for batch in batch_samples).to(device)

    def compute_loss(
        self,
        model: Any,  # noqa: ARG002 - the trunk below is the same module without the head
        inputs: Mapping[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        ids, targets = inputs["input_ids"], inputs["targets"]
        index = ChoiceIndex(**{name: inputs[name] for name in ("rows", "positions", "tokens", "allowed")})
        # No attention mask: rows are padded on the right, and causal attention never looks right.
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            hidden = self.trunk.body(input_ids=ids, use_cache=False).last_hidden_state
        loss = choice_loss(
            allowed_logits(hidden, self.trunk.head, index, self.trunk.cap),
            targets,
            (targets != UNLABELLED).sum() if num_items_in_batch is None else num_items_in_batch,
        )
        return (loss, None) if return_outputs else loss

    def validation_loss(self) -> float:
        """Mean loss per labelled choice over the held-out rows, one row at a time."""
        labelled = sum(row.labelled for row in self.held_out)
        self.model.eval()
        with torch.no_grad():
            total = sum(
                float(self.compute_loss(None, self._prepare_inputs(collate([row])), num_items_in_batch=labelled))
                for row in self.held_out
            )
        self.model.train()
        return total


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Collects the curves and tells the caller about every step."""

    def __init__(self, on_step: OnStep | None) -> None:
        self.on_step = on_step
        self.trainer: ChoiceTrainer | None = None

    def _validate(self, step: int) -> None:
        assert self.trainer is not None
        if self.trainer.held_out:
            value = self.trainer.validation_loss()
            self.trainer.curves.append(CurvePoint(step=step, name="validation_loss", value=value))

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._validate(0)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._validate(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        if not logs or "loss" not in logs:
            return
        metrics = {"training_loss": float(logs["loss"]), "learning_rate": float(logs["learning_rate"])}
        assert self.trainer is not None
        self.trainer.curves += [CurvePoint(step=state.global_step, name=n, value=v) for n, v in metrics.items()]
        if self.on_step is not None:
            self.on_step(state.global_step, state.max_steps, metrics)


def collate(rows: Sequence[Mapping[str, Any] | EncodedRow]) -> dict[str, torch.Tensor]:
    """Rows as tensors, padded on the right with token 0 (never looked at). See `ChoiceIndex` for shapes."""
    parts = [row if isinstance(row, Mapping) else {n: getattr(row, n) for n in EncodedRow.__slots__} for row in rows]
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


def _trainer(
    spec: TrainSpec,
    rows: Sequence[EncodedRow],
    held_out: Sequence[EncodedRow],
    encoder: Encoder,
    base_dir: Path,
    scratch: Path,
    on_step: OnStep | None,
) -> ChoiceTrainer:
    dtype = torch.bfloat16 if spec.dtype == "bfloat16" else torch.float32
    transformers_logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        str(base_dir), dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    watch = _Watch(on_step)
    trainer = ChoiceTrainer(
        trunk=take_apart(model),
        dtype=dtype,
        held_out=held_out,
        model=model,
        args=_arguments(spec, len(rows), scratch),
        train_dataset=Dataset.from_list([{n: getattr(row, n) for n in EncodedRow.__slots__} for row in rows]),
        data_collator=collate,
        processing_class=encoder.tokenizer,
        peft_config=lora_config(spec, model),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)  # stdout belongs to the caller
    watch.trainer = trainer
    return trainer


def _arguments(spec: TrainSpec, rows: int, scratch: Path) -> SFTConfig:
    steps = -(-rows // spec.batch_size) * spec.epochs
    return SFTConfig(
        output_dir=str(scratch),
        num_train_epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=round(_WARMUP_SHARE * steps),
        per_device_train_batch_size=spec.micro_batch,
        gradient_accumulation_steps=spec.batch_size // spec.micro_batch,
        optim="adamw_torch",
        weight_decay=0.0,
        seed=spec.seed,
        data_seed=spec.seed,
        bf16=False,  # autocast is in compute_loss, where the trunk is called past the trainer's wrapper
        activation_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )


def lora_config(spec: TrainSpec, model: Any) -> LoraConfig:
    """Plain LoRA on every linear layer but the head, in the last `spec.lora_layers` layers."""
    return LoraConfig(
        r=spec.lora_r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=target_modules(model, spec.lora_layers),
    )


def target_modules(model: Any, last_layers: int | None) -> list[str]:
    """Full names of the linear layers to adapt. Raises UsageError where the model has fewer layers."""
    head = model.get_output_embeddings()
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head}
    layer_of = {name: int(found[1]) for name in linear if (found := re.search(r"\.(\d+)\.", name))}
    count = max(layer_of.values()) + 1
    if last_layers is not None and last_layers > count:
        raise UsageError(f"--lora-layers {last_layers}: the base model has {count}", cure=f"--lora-layers {count}")
    return sorted(name for name, layer in layer_of.items() if layer >= count - (last_layers or count))


def _write(model: Any, spec: TrainSpec, template_digest: str, out_dir: Path) -> None:
    """Adapter as safetensors and canonical JSON: no pickle, no machine path, nothing that changes from run to run."""
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        state = get_peft_model_state_dict(model, save_embedding_layers=False)
        save_file({name: t.detach().cpu().contiguous() for name, t in sorted(state.items())}, scratch / WEIGHTS)
        config = model.peft_config["default"].to_dict() | {"base_model_name_or_path": spec.base, "inference_mode": True}
        _write_json(scratch / CONFIG, config | {"target_modules": sorted(config["target_modules"])})
        _write_json(
            scratch / ENCODING,
            {
                "base_digest": spec.base_digest,
                "template_digest": template_digest,
                "prompt_version": spec.prompt_version,
                "decoding_mode": spec.decoding_mode,
            },
        )
        lint_adapter(scratch)
        shutil.rmtree(out_dir, ignore_errors=True)
        scratch.rename(out_dir)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_json(path: Path, body: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(canonical_json(body)), indent=2, sort_keys=True) + "\n")


@contextlib.contextmanager
def _no_trace(threads: int) -> Iterator[None]:
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
