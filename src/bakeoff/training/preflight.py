"""What can be known before the first step, in seconds: better a refusal now than after an hour of training."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bakeoff.datasets.model import Dataset, Row, Split
from bakeoff.errors import BakeoffError, Refused
from bakeoff.inference.encode import Encoder, json_text
from bakeoff.task import Task
from bakeoff.training.model import PairRow, TrainingRow, TrainSpec
from bakeoff.training.rows import TOO_LONG_AT_MOST, encode
from bakeoff.training.tokenizer import tokenizer_problem

Learnable = Sequence[TrainingRow | PairRow]
LOOKED_AT = 64
"""Rows that are encoded here, or 1 % of them if that is more: those with the most text. Encoding takes some 5 ms a row;
the recipe encodes all of them, before its first step too."""


def check(
    task: Task,
    dataset: Dataset,
    rows: Sequence[Row],
    learn: Learnable,
    watch: Learnable,
    *,
    base_dir: Path,
    spec: TrainSpec,
) -> None:
    """Raises Refused with everything that would spoil the run: a split without rows, rows without labels, a chat
    template that cannot render or does not end where the assistant speaks, rows that would be cut off.

    `learn`, `watch`: what train and validation hold for the recipe: labelled rows, or pairs for lora_dpo."""
    problems = [*_split_problems(task, rows, learn, watch), *_base_problems(learn, watch, base_dir, spec)]
    if problems:
        raise Refused(
            f"dataset {dataset.version} cannot be learnt from by {spec.base}:\n"
            + "\n".join(f"  - {problem}" for problem in problems),
            cure="nothing was trained and nothing was logged; `bakeoff task check` looks closer at the rows",
        )


def _split_problems(task: Task, rows: Sequence[Row], learn: Learnable, watch: Learnable) -> Iterator[str]:
    for split, found in ((Split.TRAIN, learn), (Split.VALIDATION, watch)):
        there = sum(row.split is split for row in rows)
        if not there:
            yield f"split {split.value} has no row: build a dataset from a longer window or of more units"
        elif not found:
            yield (
                f"none of the {there} rows of split {split.value} can be learnt from: Task.supervise (or "
                f"Task.preference, for pairs) of {task.name} said nothing about them"
            )


def _base_problems(learn: Learnable, watch: Learnable, base_dir: Path, spec: TrainSpec) -> Iterator[str]:
    try:
        encoder = Encoder.open(base_dir)
    except BakeoffError as error:
        yield str(error)
        return
    yield from filter(None, [tokenizer_problem(base_dir), generation_prompt_problem(encoder.tokenizer)])
    for found in (spec.newest(learn), watch):
        try:
            yield from _length_problems(encoder, found, spec)
        except BakeoffError as error:
            yield str(error)
        except Exception as error:  # a template is a program of its own and may raise anything
            yield f"the chat template cannot render a row: {type(error).__name__}: {error}"


def _length_problems(encoder: Encoder, rows: Learnable, spec: TrainSpec) -> Iterator[str]:
    """Encodes the longest rows. Raises UsageError for labels that the schema does not allow."""
    longest = sorted(rows, key=_text_length, reverse=True)[: max(LOOKED_AT, len(rows) // 100)]
    lengths = [len(encode(encoder, row, spec.decoding_mode).input_ids) for row in longest]
    too_long = sum(length > spec.max_tokens for length in lengths)
    if too_long > TOO_LONG_AT_MOST * len(rows):
        yield (
            f"{too_long} of {len(rows)} rows have more than --max-tokens {spec.max_tokens} tokens, at most 0.5 % may "
            f"be left out; the longest row needs --max-tokens {max(lengths)}"
        )


def _text_length(row: TrainingRow | PairRow) -> int:
    return sum(len(message.content) for message in row.messages) + len(json_text(row.schema))


def generation_prompt_problem(tokenizer: Any) -> str | None:
    """A template must add something after the last message that says: now the assistant speaks."""
    turns = [{"role": "user", "content": "x"}]
    texts = []
    with suppress(Exception):
        texts = [
            str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=wanted))
            for wanted in (False, True)
        ]
    if not texts:
        return "the chat template cannot render a message of a user"
    if texts[0] == texts[1] or not texts[1].startswith(texts[0]):
        return "the chat template has no generation prompt: the model would go on speaking for the user"
    return None
