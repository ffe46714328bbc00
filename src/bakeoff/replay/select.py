"""Which rows are replayed."""

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from bakeoff.datasets.model import Row, Split
from bakeoff.datasets.split import SLICES
from bakeoff.errors import Refused, UsageError


def selection(
    *, split: Split, slices: Sequence[int] | None, sample: int | None, seed: int, neutral_to: Sequence[str]
) -> dict[str, Any]:
    """The choice in words that JSON keeps: part of a replay's identity, equal for two sides that are compared.

    `slices`: numbers of sealed parts of the test split; None: all. Raises UsageError for others."""
    if split is Split.TRAIN:
        raise UsageError("the train split is what models learn from; expected --split test or validation")
    if slices is not None and split is not Split.TEST:
        raise UsageError(f"the {split} split has no slices", cure="name slices of the test split only")
    if slices is not None and not (slices and set(slices) <= set(range(1, SLICES + 1))):
        raise UsageError(f"slices {list(slices)} of the test split; expected some of 1 to {SLICES}")
    return {
        "split": split.value,
        "slices": None if slices is None else sorted(set(slices)),
        "sample": sample,
        "seed": seed,
        "neutral_to": sorted(neutral_to),
    }


def select(rows: Iterable[Row], chosen: Mapping[str, Any], *, first: Container[str] = ()) -> list[Row]:
    """The rows that a selection means, in the order of a seeded hash, so that a larger sample contains the smaller
    one. Rows whose example ids are in `first` come before the others. Raises Refused where there are none."""
    slices, seed = chosen["slices"], chosen["seed"]
    there = [row for row in rows if row.split == chosen["split"] and (slices is None or row.slice in slices)]
    ranked = sorted(there, key=lambda row: (row.example.example_id not in first, _rank(seed, row.example.example_id)))
    found = ranked if chosen["sample"] is None else ranked[: chosen["sample"]]
    if not found:
        raise Refused("there is no held-out example to replay", cure="build a dataset with more units, or sample more")
    return found


def shard_of(example_id: str, shards: int) -> int:
    """1 to `shards`: which of several machines answers this example."""
    return int.from_bytes(hashlib.sha256(f"shard|{example_id}".encode()).digest()[:8], "big") % shards + 1


def _rank(seed: int, example_id: str) -> bytes:
    return hashlib.sha256(f"{seed}|{example_id}".encode()).digest()
