"""Supervised LoRA fine-tuning on what people kept: cross-entropy at the labelled choices.

The base stays as it is; a low-rank adapter in float32 is trained on its linear layers (Hu et al. 2021,
arXiv 2106.09685).
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bakeoff.inference.choice_logits import take_apart
from bakeoff.inference.encode import Encoder
from bakeoff.training.choice_trainer import (
    VALIDATION_ROWS,
    ChoiceTrainer,
    Keeping,
    about,
    collate,
    columns,
    fit,
    keep,
    no_trace,
    number_format,
    open_trainer,
    summed_up,
)
from bakeoff.training.lora import load_causal, lora_config
from bakeoff.training.model import OnStep, TrainingRow, TrainResult, TrainSpec
from bakeoff.training.rows import encode_rows, watched

LoadBase = Callable[[Path, TrainSpec], Any]
"""(folder of the base model, spec) -> causal LM; what `qlora_sft` does in another way."""


def plain_base(base_dir: Path, spec: TrainSpec) -> Any:
    """The base in the number format of the spec."""
    return load_causal(base_dir, number_format(spec))


def train(
    spec: TrainSpec,
    rows: Sequence[TrainingRow],
    validation_rows: Sequence[TrainingRow] = (),
    *,
    base_dir: Path,
    out_dir: Path,
    threads: int,
    on_step: OnStep | None = None,
    keeping: Keeping | None = None,
    load_base: LoadBase = plain_base,
) -> TrainResult:
    """Trains one adapter and writes it to `out_dir`, which appears only when it is whole.

    Args:
        rows: oldest first; `spec.max_rows` keeps the last ones. A row whose labels are empty carries no loss and
            is left out.
        validation_rows: of units that are not in `rows`; the loss of the first 16 that are labelled is measured before
            the first step and after each epoch, and decides nothing.
        base_dir: folder of the base model that `spec.base_digest` names.
        threads: CPU threads; part of what makes a run repeatable.
        keeping: where the run is kept while it lasts. A killed run with the same spec, rows, threads and library
            versions goes on from its last checkpoint and makes the same adapter as an unbroken one.

    Raises Refused for rows that are too long, UsageError for labels that the schema does not allow."""
    with no_trace(threads):
        encoder = Encoder.open(base_dir)
        found = encode_rows(encoder, spec.newest(rows), spec)
        held_out = watched(encoder, validation_rows, spec, VALIDATION_ROWS)
        model = load_base(base_dir, spec)
        with tempfile.TemporaryDirectory() as scratch:
            trainer = open_trainer(
                ChoiceTrainer,
                spec,
                [columns(row) for row in found.kept],
                on_step=on_step,
                scratch=Path(scratch),
                trunk=take_apart(model),
                dtype=number_format(spec),
                held_out=held_out,
                keeping=keeping,
                model=model,
                data_collator=collate,
                processing_class=encoder.tokenizer,
                peft_config=lora_config(spec, model),
            )
            fitted = fit(trainer, about(trainer, spec, found.kept, threads))
        keep(trainer, spec, encoder.template_digest, out_dir)
    return summed_up(
        trainer,
        fitted,
        spec,
        found.kept,
        too_long=found.too_long,
        choices=sum(row.labelled for row in found.kept),
        out_dir=out_dir,
        template_digest=encoder.template_digest,
        threads=threads,
    )
