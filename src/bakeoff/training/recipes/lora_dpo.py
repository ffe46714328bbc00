"""Learning from edits: what people kept over what they were shown, from an adapter that `lora_sft` made.

Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) on exactly what decoding mode 'choices'
compares; `bakeoff.training.dpo_loss` derives it. Where two answers differ in few places, DPO alone may push both
down (Pal et al. 2024, arXiv 2402.13228), so a supervised term stays beside it, and training is refused further steps
when the kept answers become less likely than they were at the start.

Curves beside the usual ones, per step: ``dpo_loss`` (ln 2 at the first step), ``sft_loss``, ``chosen_gain`` (nats by
which the kept answers became likelier than at the start), ``preferred`` (share of pairs whose margin grew).
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bakeoff.errors import BakeoffError, Refused
from bakeoff.inference.choice_logits import take_apart
from bakeoff.inference.encode import Encoder
from bakeoff.training.choice_loss import choice_loss
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
from bakeoff.training.dpo_loss import answer_logprobs, dpo_loss
from bakeoff.training.lora import attach, load_causal
from bakeoff.training.model import UNLABELLED, OnStep, PairRow, TrainResult, TrainSpec
from bakeoff.training.rows import EncodedPair, EncodedPairs, EncodedRow, encode_pairs, watched

WATCHED_SHARE, WATCHED_STEPS = 0.2, 10
"""The gain of kept answers is judged over the last fifth of all steps, at least this many: the first steps of a run go
down now and then before they go up."""
FIRST_STEP_OFF = 0.1
"""Nats per pair that the first step may be off ln 2: bfloat16 rounds batches of other widths differently."""
MAY_FALL = 0.01
"""Nats that the kept answers may lose before the run is refused: rounding, not forgetting."""


def train(
    spec: TrainSpec,
    pairs: Sequence[PairRow],
    validation_pairs: Sequence[PairRow] = (),
    *,
    start_dir: Path,
    base_dir: Path,
    out_dir: Path,
    threads: int,
    on_step: OnStep | None = None,
    keeping: Keeping | None = None,
) -> TrainResult:
    """Trains the adapter in `start_dir` further and writes it to `out_dir`; otherwise as `lora_sft.train`.

    Raises Refused for fewer than `spec.min_pairs` pairs whose answers differ, for a start that is not the adapter that
    `spec.start` names, and where the kept answers become less likely than they were at the start."""
    with no_trace(threads):
        encoder = Encoder.open(base_dir)
        found = encode_pairs(encoder, spec.newest(pairs), spec)
        enough(found, spec)
        held_out = watched(encoder, validation_pairs, spec, VALIDATION_ROWS)
        model = attach(load_causal(base_dir, number_format(spec)), start_dir, spec, encoder.template_digest)
        with tempfile.TemporaryDirectory() as scratch:
            trainer = _open(spec, model, encoder, found.kept, held_out, Path(scratch), on_step, keeping)
            fitted = fit(trainer, about(trainer, spec, found.kept, threads))
        if trainer.fell:
            raise Refused(
                f"stopped at step {trainer.state.global_step}: what people kept became less likely than before "
                f"({trainer.fell:+.3f} nats per pair), so the pairs only push answers down",
                cure=f"--learning-rate {spec.learning_rate / 4:g}, or a larger --sft-weight than {spec.sft_weight:g}",
            )
        keep(trainer, spec, encoder.template_digest, out_dir)
    return summed_up(
        trainer,
        fitted,
        spec,
        found.kept,
        too_long=found.too_long,
        choices=sum(pair.differing for pair in found.kept),
        out_dir=out_dir,
        template_digest=encoder.template_digest,
        threads=threads,
    )


def enough(found: EncodedPairs, spec: TrainSpec) -> None:
    """Raises Refused below `spec.min_pairs`."""
    least = spec.min_pairs or 1
    if len(found.kept) < least:
        raise Refused(
            f"{len(found.kept)} edit pairs ({found.same} more look the same to the schema); lora_dpo is offered from "
            f"{least} pairs on",
            cure="train lora_sft, which learns from every kept answer; or --min-pairs N where you know better",
        )


class PairTrainer(ChoiceTrainer):
    """ChoiceTrainer with the preference loss and a supervised term."""

    def __init__(self, *, spec: TrainSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.fell: float = 0.0  # nats that kept answers lost, once that stopped the run
        self._sums = torch.zeros(4)  # of a step so far: dpo loss, supervised loss, gain, pairs preferred

    def count(self, batches: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """[2]: pairs and supervised choices of these batches."""
        return torch.stack([torch.stack([batch["differs"].sum() for batch in batches]).sum(), super().count(batches)])

    def loss(self, inputs: Mapping[str, torch.Tensor], items: torch.Tensor) -> torch.Tensor:
        preference, supervised, gain, preferred = self.parts(inputs, items)
        self._sums += torch.stack([preference, supervised, gain, preferred]).detach().cpu()
        return preference + float(self.spec.sft_weight or 0) * supervised

    def parts(self, inputs: Mapping[str, torch.Tensor], items: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Shares of this micro-batch in the batch's preference loss, supervised loss, gain and preferred pairs."""
        logits, differs = self.choice_logits(inputs), inputs["differs"]
        chosen, rejected = (side[differs] for side in _both(logits, inputs))
        before, chosen_before = inputs["reference"][differs], inputs["chosen_reference"][differs]
        preference = dpo_loss(chosen, rejected, before, float(self.spec.beta or 0), items[0])
        supervised = choice_loss(logits, inputs["targets"], items[1])
        gain = (chosen - chosen_before).sum() / items[0]
        preferred = (chosen - rejected > before).float().sum() / items[0]
        return preference, supervised, gain, preferred

    def validation(self) -> dict[str, float]:
        """The whole loss over the held-out pairs, and its supervised part, which compares with `lora_sft`."""
        preference, supervised = self.over_held_out(lambda batch, items: self.parts(batch, items)[:2])
        return {
            "validation_loss": preference + float(self.spec.sft_weight or 0) * supervised,
            "validation_sft_loss": supervised,
        }

    def step_metrics(self) -> dict[str, float]:
        sums = self.add_up(self._sums.tolist())
        values = dict(zip(("dpo_loss", "sft_loss", "chosen_gain", "preferred"), sums, strict=True))
        self._sums = torch.zeros(4)
        if self.state.global_step == 1:
            require_ln_2(values["dpo_loss"])
        gains = [point.value for point in self.curves if point.name == "chosen_gain"] + [values["chosen_gain"]]
        self.fell = forgetting(gains, self.state.max_steps)
        if self.fell:
            self.control.should_training_stop = True
        return values

    def note_references(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows with what the start thinks of both answers; the model must be as it was loaded. Processes share the
        rows."""
        first, step = self.accelerator.process_index, self.accelerator.num_processes
        found = [0.0] * (2 * len(rows))
        self.model.eval()
        with torch.no_grad():
            for at in range(first, len(rows), step):
                batch = self._prepare_inputs(collate_pairs([rows[at] | {"reference": 0.0, "chosen_reference": 0.0}]))
                chosen, rejected = _both(self.choice_logits(batch), batch)
                found[2 * at : 2 * at + 2] = [float(chosen - rejected), float(chosen)]
        self.model.train()
        found = self.add_up(found)
        return [
            row | {"reference": found[2 * at], "chosen_reference": found[2 * at + 1]} for at, row in enumerate(rows)
        ]


def _both(logits: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """[batch] log-probabilities of the kept and of the shown answers, over the choices where they differ."""
    rows, batch = inputs["rows"], len(inputs["reference"])
    return (
        answer_logprobs(logits, inputs["chosen"], rows, batch),
        answer_logprobs(logits, inputs["rejected"], rows, batch),
    )


def require_ln_2(loss: float) -> None:
    """Before anything was learnt the model prefers what its reference prefers, which costs ln 2 per pair. Raises
    BakeoffError for a first step that costs anything else: the model is compared with another than it started from."""
    if not abs(loss - math.log(2)) <= FIRST_STEP_OFF:
        raise BakeoffError(
            f"the first step of lora_dpo costs {loss:.3f} nats per pair, expected ln 2 = {math.log(2):.3f}: the "
            "references are not those of the model that training starts from"
        )


def forgetting(gains: Sequence[float], steps: int) -> float:
    """Mean gain of the kept answers over the last steps where it shows that they are being forgotten, else 0.

    Args:
        gains: nats per pair and step so far, oldest first.
        steps: steps of the whole run."""
    window = max(WATCHED_STEPS, math.ceil(WATCHED_SHARE * steps))
    if len(gains) < window:
        return 0.0
    mean = math.fsum(gains[-window:]) / window
    return mean if mean < -MAY_FALL else 0.0


def collate_pairs(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """As `collate`, with both sides [n], and for each row whether they differ at all and the references [batch]."""
    return collate(rows) | {
        "chosen": torch.tensor([value for row in rows for value in row["chosen"]]),
        "rejected": torch.tensor([value for row in rows for value in row["rejected"]]),
        "differs": torch.tensor([any(value != UNLABELLED for value in row["chosen"]) for row in rows]),
        "reference": torch.tensor([row["reference"] for row in rows], dtype=torch.float32),
        "chosen_reference": torch.tensor([row["chosen_reference"] for row in rows], dtype=torch.float32),
    }


def _open(
    spec: TrainSpec,
    model: Any,
    encoder: Encoder,
    pairs: Sequence[EncodedPair],
    held_out: Sequence[EncodedRow | EncodedPair],
    scratch: Path,
    on_step: OnStep | None,
    keeping: Keeping | None,
) -> PairTrainer:
    """The references are noted by the trainer itself, in the numbers that it trains in, before the first step."""
    trainer: PairTrainer = open_trainer(
        PairTrainer,
        spec,
        [columns(pair) for pair in pairs],
        on_step=on_step,
        scratch=scratch,
        spec=spec,
        trunk=take_apart(model.get_base_model()),
        dtype=number_format(spec),
        held_out=(),
        keeping=keeping,
        model=model,
        data_collator=collate_pairs,
        processing_class=encoder.tokenizer,
    )
    trainer.learn_from(trainer.note_references([columns(pair) for pair in pairs]))
    trainer.held_out = trainer.note_references([columns(pair) for pair in held_out])
    return trainer
