"""Training rows as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

from bakeoff.errors import Refused
from bakeoff.inference.encode import Encoder, closed_text, closed_values
from bakeoff.training.choice_loss import UNLABELLED
from bakeoff.training.model import TrainingRow, TrainSpec

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


def encode_row(encoder: Encoder, row: TrainingRow, mode: str) -> EncodedRow:
    """What the model will see when it answers this request, and what it should have chosen.

    In mode 'choices' every open place holds the schema's first value, in mode 'greedy' the true one, as each
    way of decoding will show it. Raises UsageError for labels or schemas that cannot be encoded."""
    closed_text(closed_values(row.schema), row.labels)  # raises for a label that the schema does not allow
    encoded = encoder.encode(row.messages, row.schema, row.labels if mode == "greedy" else None)
    allowed = [list(choice.allowed) for choice in encoded.choices]
    return EncodedRow(
        input_ids=encoded.input_ids,
        positions=[encoded.position(choice) for choice in encoded.choices],
        tokens=[list(choice.allowed.values()) for choice in encoded.choices],
        targets=[
            texts.index(row.labels[choice.key]) if choice.key in row.labels else UNLABELLED
            for choice, texts in zip(encoded.choices, allowed, strict=True)
        ],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedRows:
    """The rows to train on, in their order."""

    kept: list[EncodedRow]  # at least one
    too_long: int  # rows left out for their length


def encode_rows(encoder: Encoder, rows: Sequence[TrainingRow], spec: TrainSpec) -> EncodedRows:
    """All rows that have a label and are short enough. Raises Refused where too many are too long, or none is left."""
    encoded = [row for row in (encode_row(encoder, r, spec.decoding_mode) for r in rows) if row.labelled]
    kept = [row for row in encoded if len(row.input_ids) <= spec.max_tokens]
    if len(encoded) - len(kept) > TOO_LONG_AT_MOST * len(encoded):
        longest = max(len(row.input_ids) for row in encoded)
        raise Refused(
            f"{len(encoded) - len(kept)} of {len(encoded)} rows have more than --max-tokens {spec.max_tokens} tokens",
            cure=f"at most 0.5 % may be left out; the longest row needs --max-tokens {longest}",
        )
    if not kept:
        raise Refused("no row carries a label", cure="build the dataset from a window with accepted decisions")
    return EncodedRows(kept=kept, too_long=len(encoded) - len(kept))
