"""How fast is a training step, against TRL's own and against the floor? On the same rows, base model and LoRA.

    python benchmarks/bench_training.py [--rows 48] [--dtype auto] [--threads 0] [--layers 10] [--base smollm2|tiny]

Rows are requests of the planner's town, as the planner renders them. Four ways, one after the other:

    TRL, whole answer    SFTTrainer with its defaults, labels on every token of the true answer: what its docs show
    TRL, choices         the same with labels where ours has them, so that both learn the same thing
    bakeoff              lora_sft with everything on: logging at every step, checkpoints
    floor                bare forward and backward of bakeoff's very tensors in a loop, no trainer, no optimizer

Tokens per second count trained tokens without padding; loading and validation are left out. The validation loss is the
mean per choice over unseen households, as decoding will compare them, for every way alike. Prints Markdown tables."""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import planner_town
import tiny
from bakeoff.adapters.generation.hardware import pick_dtype, usable_cores
from bakeoff.adapters.generation.weights import BaseModel, base_digest, resolve_base
from bakeoff.datasets.model import Split
from bakeoff.datasets.split import split_of
from bakeoff.inference.encode import Encoder
from bakeoff.task import Example
from bakeoff.training.model import TrainingRow, TrainSpec
from bakeoff.training.rows import EncodedRow, encode_row
from planner import policies
from planner.task import PlannerTask

TASK = PlannerTask()
UNITS, VALIDATION = 60, 16
IGNORED = -100  # TRL's mark of a token that carries no loss


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One way to train."""

    name: str
    seconds: float
    tokens: int  # trained, without padding
    loss: float | None  # validation, nats per choice; None for the floor, which learns nothing
    parts: dict[str, float]  # seconds by what they were spent on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--base", default="smollm2", choices=["smollm2", "tiny"])
    asked = parser.parse_args()
    import torch

    threads = asked.threads or usable_cores()
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch, redirect_stdout(sys.stderr):  # trainers print what they log
        base = find_base(asked.base, Path(scratch))
        spec = TrainSpec(
            task="planner", dataset_digest="bench", base=base.name, base_digest=base.digest, prompt_version="1",
            dtype=pick_dtype(override=None if asked.dtype == "auto" else asked.dtype),
            lora_layers=min(asked.layers, 2) if asked.base == "tiny" else asked.layers,
        )  # fmt: skip
        train, held_out = rows(asked.rows, base)
        found = measure(spec, base, train, held_out, Path(scratch), threads)
    print(report(found, spec, threads))


def find_base(name: str, scratch: Path) -> BaseModel:
    if name == "tiny":
        folder = tiny.write_model(scratch / "tiny")
        return BaseModel(name="tiny", path=folder, digest=base_digest(folder))
    return resolve_base(name, scratch.parent / "bakeoff-bench-models", offline=True)


def rows(count: int, base: BaseModel) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """Train rows, and rows of other households. The tiny model reads 512 bytes: it gets the first words only."""
    episodes = planner_town.live(UNITS, max(2, count // 25), lambda *given: policies.explorer(given[3], seed=1))
    parts: dict[Split, list[TrainingRow]] = {part: [] for part in Split}
    for example in TASK.examples(episodes):
        labels = TASK.supervise(example) if isinstance(example, Example) else None
        if labels and isinstance(example, Example):
            request = example.request
            row = TrainingRow(messages=TASK.render(request), schema=TASK.answer_schema(request), labels=labels)
            parts[split_of("planner", example.unit_id)].append(shortened(row) if base.name == "tiny" else row)
    return parts[Split.TRAIN][-count:], parts[Split.TEST][-VALIDATION:]


def shortened(row: TrainingRow) -> TrainingRow:
    keys = list(row.schema["properties"])[:3]
    names = {key: key.split(":")[0][:12] + f" {n}" for n, key in enumerate(keys)}
    labels = {names[key]: row.labels[key] for key in keys if key in row.labels} or {names[keys[0]]: tiny.NO}
    return tiny.row(row.messages[-1].content[:60], list(names.values()), labels)


def measure(
    spec: TrainSpec,
    base: BaseModel,
    train: Sequence[TrainingRow],
    held_out: Sequence[TrainingRow],
    scratch: Path,
    threads: int,
) -> list[Measured]:
    from bakeoff.training.choice_trainer import no_trace

    encoder = Encoder.open(base.path)
    encoded = [encode_row(encoder, row, "choices") for row in train]
    unseen = [encode_row(encoder, row, "choices") for row in held_out]
    plain = [plain_row(encoder, row) for row in train]
    ways: list[tuple[str, Callable[[], Measured]]] = [
        ("TRL, whole answer", lambda: trl("TRL, whole answer", spec, base, encoder, plain, unseen, scratch)),
        (
            "TRL, choices",
            lambda: trl("TRL, choices", spec, base, encoder, [*map(choice_row, encoded)], unseen, scratch),
        ),
        ("bakeoff", lambda: ours(spec, base, encoder, encoded, unseen, scratch)),
        ("floor", lambda: floor(spec, base, encoded)),
    ]
    found = []
    for name, run in ways:
        with no_trace(threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(run())
        print(f"{name}: {found[-1].tokens / found[-1].seconds:.0f} tokens/s", file=sys.stderr, flush=True)
    return found


def plain_row(encoder: Encoder, row: TrainingRow) -> dict[str, list[int]]:
    """The true answer after the prompt, every token of it labelled; 'no' where nothing is known, as people would."""
    encoded = encoder.encode(row.messages, row.schema, row.labels)
    labels = [*[IGNORED] * len(encoded.prompt_ids), *encoded.answer_ids]
    return {"input_ids": encoded.input_ids, "labels": labels}


def choice_row(row: EncodedRow) -> dict[str, list[int]]:
    """Placeholders in, the true token as label of the place that decides it."""
    labels = [IGNORED] * len(row.input_ids)
    for place, tokens, target in zip(row.positions, row.tokens, row.targets, strict=True):
        if target != IGNORED:
            labels[place + 1] = tokens[target]  # TRL shifts: the label stands one place after what predicts it
    return {"input_ids": row.input_ids, "labels": labels}


def load(spec: TrainSpec, base: BaseModel) -> Any:
    from bakeoff.training.choice_trainer import number_format
    from bakeoff.training.lora import load_causal

    return load_causal(base.path, number_format(spec))


def trl(
    name: str,
    spec: TrainSpec,
    base: BaseModel,
    encoder: Encoder,
    train: Sequence[dict[str, list[int]]],
    unseen: Sequence[EncodedRow],
    scratch: Path,
) -> Measured:
    """Everything that decides what is learnt as in `bakeoff`, everything else TRL's default."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from bakeoff.training.choice_trainer import arguments
    from bakeoff.training.lora import lora_config

    same = arguments(spec, len(train), scratch)
    model = load(spec, base)
    config = SFTConfig(
        output_dir=str(scratch / "trl"),
        **{
            key: getattr(same, key)
            for key in (
                "num_train_epochs", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "seed",
                "data_seed", "per_device_train_batch_size", "gradient_accumulation_steps", "max_length", "report_to",
                "save_strategy", "disable_tqdm", "use_cpu",
            )
        },
        bf16=spec.dtype == "bfloat16",
    )  # fmt: skip
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=Dataset.from_list(list(train)), processing_class=encoder.tokenizer,
        peft_config=lora_config(spec, model),
    )  # fmt: skip
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    torch.manual_seed(0)
    tokens = sum(len(row["input_ids"]) for row in train) * spec.epochs
    return Measured(name=name, seconds=seconds, tokens=tokens, loss=validation(spec, model, unseen), parts={})


def ours(
    spec: TrainSpec,
    base: BaseModel,
    encoder: Encoder,
    train: Sequence[EncodedRow],
    unseen: Sequence[EncodedRow],
    scratch: Path,
) -> Measured:
    """As `lora_sft.train`, with a clock around the parts of a step."""
    from transformers import TrainerCallback

    from bakeoff.inference.choice_logits import take_apart
    from bakeoff.training.choice_trainer import (
        ChoiceTrainer,
        Keeping,
        about,
        collate,
        columns,
        fit,
        number_format,
        open_trainer,
    )
    from bakeoff.training.lora import lora_config

    parts = dict.fromkeys(("forward", "backward", "optimizer"), 0.0)

    class Timed(ChoiceTrainer):
        def compute_loss(self, *given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            loss = super().compute_loss(*given, **named)
            parts["forward"] += time.perf_counter() - began
            return loss

        def training_step(self, *given: Any, **named: Any) -> Any:
            began, before = time.perf_counter(), parts["forward"]
            loss = super().training_step(*given, **named)
            parts["backward"] += time.perf_counter() - began - (parts["forward"] - before)
            return loss

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, *given: Any, **named: Any) -> None:
            self.began = time.perf_counter()

        def on_optimizer_step(self, *given: Any, **named: Any) -> None:
            parts["optimizer"] += time.perf_counter() - self.began

    model = load(spec, base)
    trainer = open_trainer(
        Timed, spec, [columns(row) for row in train], on_step=lambda *_: None, scratch=scratch,
        trunk=take_apart(model), dtype=number_format(spec), held_out=(), keeping=Keeping(root=scratch / "checkpoints"),
        model=model, data_collator=collate, processing_class=encoder.tokenizer, peft_config=lora_config(spec, model),
    )  # fmt: skip
    trainer.add_callback(Clock())
    fitted = fit(trainer, about(trainer, spec, train, 0))
    parts["logging and checkpoints"] = fitted.bookkeeping
    parts["rest of the loop"] = fitted.seconds - sum(parts.values())
    tokens = sum(len(row.input_ids) for row in train) * spec.epochs
    loss = validation(spec, model, unseen)
    return Measured(name="bakeoff", seconds=fitted.seconds, tokens=tokens, loss=loss, parts=parts)


def floor(spec: TrainSpec, base: BaseModel, train: Sequence[EncodedRow]) -> Measured:
    """Micro-batches of the same rows through the same model and loss, forward and backward, nothing else."""
    import torch
    from peft import get_peft_model

    from bakeoff.inference.choice_logits import take_apart
    from bakeoff.training.choice_loss import choice_loss
    from bakeoff.training.choice_trainer import collate
    from bakeoff.training.lora import lora_config

    model = load(spec, base)
    trunk = take_apart(model)
    adapted = get_peft_model(model, lora_config(spec, model)).train()
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(spec.seed)).tolist()
    batches = [
        collate([train[n] for n in order[at : at + spec.micro_batch]]) for at in range(0, len(train), spec.micro_batch)
    ]
    parts = {"forward": 0.0, "backward": 0.0}
    for batch in [*batches[:1], *batches]:  # the first once more: it warms up
        started = time.perf_counter()
        loss = choice_loss(logits_of(spec, trunk, batch), batch["targets"], 1)
        halfway = time.perf_counter()
        loss.backward()
        done = time.perf_counter()
        parts["forward"] += halfway - started
        parts["backward"] += done - halfway
        if batch is batches[0] and parts["forward"] == halfway - started:
            parts = {"forward": 0.0, "backward": 0.0}
    adapted.zero_grad()
    tokens = sum(len(row.input_ids) for row in train)
    return Measured(name="floor", seconds=sum(parts.values()), tokens=tokens, loss=None, parts=parts)


def logits_of(spec: TrainSpec, trunk: Any, batch: dict[str, Any]) -> Any:
    import torch

    from bakeoff.inference.choice_logits import ChoiceIndex, allowed_logits

    index = ChoiceIndex(**{name: batch[name] for name in ("rows", "positions", "tokens", "allowed")})
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=spec.dtype == "bfloat16"):
        hidden = trunk.body(input_ids=batch["input_ids"], use_cache=False).last_hidden_state
    return allowed_logits(hidden, trunk.head, index, trunk.cap)


def validation(spec: TrainSpec, model: Any, unseen: Sequence[EncodedRow]) -> float:
    """Nats per labelled choice. `model` is the base, into whose layers the adapter was put."""
    import torch

    from bakeoff.inference.choice_logits import take_apart
    from bakeoff.training.choice_loss import choice_loss
    from bakeoff.training.choice_trainer import collate

    model.eval()
    trunk, labelled = take_apart(model), sum(row.labelled for row in unseen)
    with torch.no_grad():
        batches = [collate([row]) for row in unseen]
        losses = [choice_loss(logits_of(spec, trunk, each), each["targets"], labelled) for each in batches]
    return float(sum(losses))


def report(found: Sequence[Measured], spec: TrainSpec, threads: int) -> str:
    by_name = {each.name: each for each in found}
    speed = {name: each.tokens / each.seconds for name, each in by_name.items()}
    lines = [
        f"{spec.base}, {spec.dtype}, {threads} threads, LoRA r{spec.lora_r} on the last {spec.lora_layers} layers, "
        f"batch {spec.batch_size} as {spec.batch_size // spec.micro_batch} x {spec.micro_batch}, "
        f"{by_name['bakeoff'].tokens} tokens",
        "",
        "| way | tokens/s | times TRL, whole answer | times TRL, choices | of the floor | validation loss |",
        "|---|---|---|---|---|---|",
    ]
    for each in found:
        ratios = [speed[each.name] / speed[other] for other in ("TRL, whole answer", "TRL, choices", "floor")]
        loss = "-" if each.loss is None else f"{each.loss:.4f}"
        lines.append(
            f"| {each.name} | {speed[each.name]:.0f} | " + " | ".join(f"{r:.2f}" for r in ratios) + f" | {loss} |"
        )
    ours_, bare = by_name["bakeoff"], by_name["floor"]
    lines += ["", "| where the time goes | bakeoff, s | share | floor, s |", "|---|---|---|---|"]
    for name, seconds in ours_.parts.items():
        under = f"{bare.parts[name]:.2f}" if name in bare.parts else "-"
        lines.append(f"| {name} | {seconds:.2f} | {100 * seconds / ours_.seconds:.1f} % | {under} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
