"""TrainSpec (what was asked for) and TrainResult (what was really done)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

from bakeoff.errors import UsageError
from bakeoff.fingerprint import digest
from bakeoff.task import JsonSchema, Message

Row = TypeVar("Row")
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM serves; any other would train here and fail there."""
OnStep = Callable[[int, int, Mapping[str, float]], None]
"""(steps done, steps in total, metrics of this step): for a progress bar and live logging."""
UNLABELLED = -100
"""Target of a choice about which nothing is known; it carries no loss."""
RECIPES = ("lora_sft", "qlora_sft", "lora_dpo")
"""Files of `bakeoff.training.recipes`."""
DPO_DEFAULTS = {"beta": 0.1, "sft_weight": 0.5, "min_pairs": 200}
LEARNING_RATES = {"lora_dpo": 2e-4}
"""Peak learning rate where nobody names one; 2e-3 for recipes that are not here. A tenth for preferences: the adapter
has learnt already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRow:
    """One example as the task renders it."""

    messages: Sequence[Message]  # `Task.render`
    schema: JsonSchema  # `Task.answer_schema`
    labels: Mapping[str, str]  # `Task.supervise`: property -> JSON text; properties left out carry no loss


@dataclass(frozen=True, kw_only=True, slots=True)
class PairRow:
    """What people kept over what they were shown, as the task labels both."""

    messages: Sequence[Message]  # `Task.render`
    schema: JsonSchema  # `Task.answer_schema`
    labels: Mapping[str, str]  # `Task.supervise` of the same example, for the supervised term
    chosen: Mapping[str, str]  # `Task.labels` of what was kept
    rejected: Mapping[str, str]  # `Task.labels` of what was shown


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSpec:
    """Everything that decides what a training run makes. Same spec and threads, same adapter.

    Raises UsageError, naming the flag, for values that cannot work."""

    task: str  # name of the task
    dataset_digest: str  # content digest of the dataset
    base: str  # alias, hub id or path of the base model
    base_digest: str  # of its weights and tokenizer
    prompt_version: str  # of the task that rendered the rows
    dtype: Literal["float32", "bfloat16"]  # number format of the frozen base; the adapter trains in float32
    recipe: str = "lora_sft"
    epochs: int = 1
    learning_rate: float = 2e-3  # peak; rises over the first steps, then falls linearly to 0
    batch_size: int = 4  # rows per optimizer step
    micro_batch: int = 2  # rows per forward pass; divides batch_size, changes speed but not the result
    lora_r: int = 16  # rank
    lora_alpha: int = 32  # scale is lora_alpha / lora_r
    lora_layers: int | None = 10  # last n layers get an adapter; None = all
    max_rows: int | None = None  # the last n rows are used (rows come oldest first); None = all
    max_tokens: int = 1024  # rows with more tokens are left out; more than 0.5 % of them stops the run
    seed: int = 0
    decoding_mode: Literal["greedy", "choices"] = "choices"  # what the model sees at the open places of a row
    start: str | None = None  # lora_dpo: digest of the adapter that training goes on from
    beta: float | None = None  # lora_dpo: how far the model may move from the start, larger is nearer; default 0.1
    sft_weight: float | None = None  # lora_dpo: weight of the supervised loss beside the preference loss; default 0.5
    min_pairs: int | None = None  # lora_dpo: fewer pairs are refused; default 200

    def __post_init__(self) -> None:
        _one_of("--recipe", self.recipe, RECIPES)
        _fill_dpo(self)
        _at_least_one(self, ("epochs", "batch_size", "micro_batch", "lora_alpha", "max_tokens"))
        _at_least_one(self, tuple(name for name in ("lora_layers", "max_rows") if getattr(self, name) is not None))
        if not 0 < self.learning_rate < 1:
            raise UsageError(
                f"--learning-rate {self.learning_rate} is out of range",
                cure="expected more than 0 and less than 1, for instance --learning-rate 2e-3",
            )
        if self.batch_size % self.micro_batch:
            raise UsageError(
                f"--batch-size {self.batch_size} is no multiple of --micro-batch {self.micro_batch}",
                cure=f"for instance --batch-size {self.micro_batch * max(1, self.batch_size // self.micro_batch)}",
            )
        if self.lora_r not in LORA_RANKS:
            raise UsageError(
                f"--lora-r {self.lora_r} cannot be served everywhere",
                cure=f"expected one of {', '.join(map(str, LORA_RANKS))}",
            )
        _one_of("--dtype", self.dtype, ("float32", "bfloat16"))
        _one_of("--decoding-mode", self.decoding_mode, ("greedy", "choices"))
        if self.recipe == "lora_dpo":
            _check_dpo(self)

    def newest(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Those of `rows` (oldest first) that are used: the last `max_rows`."""
        return rows if self.max_rows is None else rows[-self.max_rows :]

    def accumulation(self, processes: int) -> int:
        """Forward passes of each process per optimizer step, so that all together see `batch_size` rows.

        Raises UsageError where that is no whole number."""
        together = self.micro_batch * processes
        if self.batch_size % together:
            fitting = -(-self.batch_size // together) * together
            raise UsageError(
                f"--batch-size {self.batch_size} cannot be shared by {processes} processes with --micro-batch "
                f"{self.micro_batch} each",
                cure=f"--batch-size {fitting}, or any multiple of {together}; or fewer processes, or a smaller "
                "--micro-batch, as long as their product divides the batch",
            )
        return self.batch_size // together

    @property
    def fingerprint(self) -> str:
        """sha256 over all fields."""
        return digest(asdict(self))


def _fill_dpo(spec: TrainSpec) -> None:
    """Defaults for the preference recipe; other recipes take none of its settings."""
    for name, default in DPO_DEFAULTS.items():
        if spec.recipe == "lora_dpo" and getattr(spec, name) is None:
            object.__setattr__(spec, name, default)
    given = [name for name in ("start", *DPO_DEFAULTS) if getattr(spec, name) is not None]
    if spec.recipe != "lora_dpo" and given:
        flag = "--from-run" if given[0] == "start" else "--" + given[0].replace("_", "-")
        raise UsageError(f"{flag} means nothing to recipe {spec.recipe}", cure=f"leave it out, or {flag} with lora_dpo")


def _check_dpo(spec: TrainSpec) -> None:
    assert spec.beta is not None  # filled in before
    assert spec.sft_weight is not None
    _at_least_one(spec, ("min_pairs",))
    if spec.start is None:
        raise UsageError(
            "lora_dpo goes on from an adapter that lora_sft made", cure="--from-run RUN, or --from-run ADAPTER_FOLDER"
        )
    if spec.decoding_mode != "choices":
        raise UsageError(
            "lora_dpo compares answers choice by choice, as decoding mode 'choices' does",
            cure="train the adapter that it starts from with --decoding-mode choices",
        )
    for flag, value, least in (("--beta", spec.beta, 1e-6), ("--sft-weight", spec.sft_weight, 0.0)):
        if not least <= value <= 100:
            raise UsageError(f"{flag} {value} is out of range", cure=f"expected {least:g} to 100")


def _at_least_one(spec: TrainSpec, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(spec, name) < 1:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} {getattr(spec, name)} is out of range", cure=f"expected 1 or more: {flag} 1")


def _one_of(flag: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{flag} {value} is unknown", cure=f"expected one of {', '.join(allowed)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """One measured value during training."""

    step: int  # optimizer steps done; 0 = before the first
    name: str  # 'training_loss', 'validation_loss', 'learning_rate'; lora_dpo has more, see its docstring
    value: float  # losses: mean natural-log loss per labelled choice; lora_dpo: per pair, plus the supervised term


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """What a run really did; the contract compares it with the spec."""

    adapter_dir: Path  # adapter_config.json, adapter_model.safetensors, encoding.json
    adapter_digest: str  # over the three files
    base_digest: str  # of the base model that was really loaded
    template_digest: str  # how requests were encoded; engines refuse an adapter trained with another one
    rows: int  # rows trained on, per epoch
    rows_too_long: int  # rows left out for their length
    validation_rows: int
    steps: int  # optimizer steps
    resumed_at: int  # step of the checkpoint that training went on from; 0 = from the beginning
    choices: int  # labelled choices, per epoch
    tokens: int  # tokens seen in training, all epochs, without padding
    trainable_parameters: int
    total_parameters: int
    threads: int  # of each process
    processes: int  # that trained side by side, each on its share of every batch
    curves: tuple[CurvePoint, ...]
    seconds: float  # wall-clock of all attempts, without loading the model; never part of a digest
    bookkeeping_seconds: float  # of those, spent on checkpoints and logging
    versions: Mapping[str, str]  # of the libraries that trained
