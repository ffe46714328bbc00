"""Training rows as token ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from bakeoff.errors import Refused
from bakeoff.inference.encode import ChoicePoint, Encoder, closed_text, closed_values
from bakeoff.training.model import UNLABELLED, PairRow, TrainingRow, TrainSpec

TOO_LONG_AT_MOST = 0.005
"""Share of rows that may be left out for their length; more would train on another population than is served."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedRow:
    """One row, ready to be batched. c = its choices."""

    input_ids: list[int]
    positions: list[int]  # [c] position whose hidden state predicts the deciding token
    tokens: list[list[int]]  # [c][value] allowed tokens
    targets: list[int]  # [c] index into the allowed values, or UNLABELLED

    @property
    def labelled(self) -> int:
        return sum(target != UNLABELLED for target in self.targets)

    @property
    def carries_loss(self) -> bool:
        return self.labelled > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedPair:
    """Two answers to one request. They share `input_ids`, as both are scored under the same placeholders."""

    input_ids: list[int]
    positions: list[int]  # [c] as in EncodedRow
    tokens: list[list[int]]  # [c][value]
    targets: list[int]  # [c] for the supervised term
    chosen: list[int]  # [c] index of the kept value where the two answers differ, else UNLABELLED
    rejected: list[int]  # [c] index of the shown value where they differ, else UNLABELLED

    @property
    def labelled(self) -> int:
        return sum(target != UNLABELLED for target in self.targets)

    @property
    def differing(self) -> int:
        return sum(value != UNLABELLED for value in self.chosen)

    @property
    def carries_loss(self) -> bool:
        return self.differing > 0


Encoded = TypeVar("Encoded", EncodedRow, EncodedPair)


def encode_row(encoder: Encoder, row: TrainingRow | PairRow, mode: str) -> EncodedRow:
    """What the model will see when it answers this request, and what it should have chosen.

    In mode 'choices' every open place holds the schema's first value, in mode 'greedy' the true one, as each
    way of decoding will show it. Raises UsageError for labels or schemas that cannot be encoded."""
    closed_text(closed_values(row.schema), row.labels)  # raises for a label that the schema does not allow
    encoded = encoder.encode(row.messages, row.schema, row.labels if mode == "greedy" else None)
    return EncodedRow(
        input_ids=encoded.input_ids,
        positions=[encoded.position(choice) for choice in encoded.choices],
        tokens=[list(choice.allowed.values()) for choice in encoded.choices],
        targets=[_index(choice, row.labels) for choice in encoded.choices],
    )


def encode_pair(encoder: Encoder, row: PairRow) -> EncodedPair:
    """Both answers under the placeholders of decoding mode 'choices'. A choice on which one of them is silent, or on
    which they agree, does not tell them apart. Raises like `encode_row`."""
    for labels in (row.chosen, row.rejected):
        closed_text(closed_values(row.schema), labels)
    plain = encode_row(encoder, row, "choices")
    _, choices = encoder.encode_answer(row.schema, {})
    sides = [(_index(choice, row.chosen), _index(choice, row.rejected)) for choice in choices]
    apart = [a != b and UNLABELLED not in (a, b) for a, b in sides]
    return EncodedPair(
        input_ids=plain.input_ids,
        positions=plain.positions,
        tokens=plain.tokens,
        targets=plain.targets,
        chosen=[a if differs else UNLABELLED for (a, _), differs in zip(sides, apart, strict=True)],
        rejected=[b if differs else UNLABELLED for (_, b), differs in zip(sides, apart, strict=True)],
    )


def encode(encoder: Encoder, row: TrainingRow | PairRow, mode: str) -> EncodedRow | EncodedPair:
    return encode_pair(encoder, row) if isinstance(row, PairRow) else encode_row(encoder, row, mode)


def watched(
    encoder: Encoder, rows: Sequence[TrainingRow | PairRow], spec: TrainSpec, most: int
) -> list[EncodedRow | EncodedPair]:
    """The first `most` validation rows that carry a loss and are short enough. Raises Refused where there are rows,
    but none like that: a run without a validation loss cannot be registered."""
    encoded = (encode(encoder, row, spec.decoding_mode) for row in rows)
    found = list(islice((r for r in encoded if r.carries_loss and len(r.input_ids) <= spec.max_tokens), most))
    if rows and not found:
        raise Refused(
            f"none of {len(rows)} validation rows carries a label and has at most --max-tokens {spec.max_tokens}",
            cure="build the dataset from a longer window, or train with more --max-tokens",
        )
    return found


def _index(choice: ChoicePoint, labels: Mapping[str, str]) -> int:
    return list(choice.allowed).index(labels[choice.key]) if choice.key in labels else UNLABELLED


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedRows:
    """The rows to train on, in their order."""

    kept: list[EncodedRow]  # at least one
    too_long: int  # rows left out for their length


def encode_rows(encoder: Encoder, rows: Sequence[TrainingRow], spec: TrainSpec) -> EncodedRows:
    """All rows that have a label and are short enough. Raises Refused where too many are too long, or none is left."""
    encoded = [row for row in (encode_row(encoder, r, spec.decoding_mode) for r in rows) if row.carries_loss]
    kept = _short_enough(encoded, spec.max_tokens)
    if not kept:
        raise Refused("no row carries a label", cure="build the dataset from a window with accepted decisions")
    return EncodedRows(kept=kept, too_long=len(encoded) - len(kept))


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedPairs:
    """The pairs to learn from, in their order."""

    kept: list[EncodedPair]
    too_long: int  # pairs left out for their length
    same: int  # pairs left out because both answers are the same to the schema


def encode_pairs(encoder: Encoder, rows: Sequence[PairRow], spec: TrainSpec) -> EncodedPairs:
    """All pairs whose answers differ and that are short enough. Raises Refused where too many are too long."""
    encoded = [encode_pair(encoder, row) for row in rows]
    different = [pair for pair in encoded if pair.carries_loss]
    kept = _short_enough(different, spec.max_tokens)
    return EncodedPairs(kept=kept, too_long=len(different) - len(kept), same=len(encoded) - len(different))


def _short_enough(rows: list[Encoded], max_tokens: int) -> list[Encoded]:
    kept = [row for row in rows if len(row.input_ids) <= max_tokens]
    if len(rows) - len(kept) > TOO_LONG_AT_MOST * len(rows):
        longest = max(len(row.input_ids) for row in rows)
        raise Refused(
            f"{len(rows) - len(kept)} of {len(rows)} rows have more than --max-tokens {max_tokens} tokens",
            cure=f"at most 0.5 % may be left out; the longest row needs --max-tokens {longest}",
        )
    return kept
