"""Rows as columns: the same whatever their order, and a digest that every value moves but a clock's."""

from dataclasses import replace

import numpy as np

from bakeoff.gates.columns import pairs_of, rows_digest
from bakeoff.gates.model import PairedRow

ROWS = [
    PairedRow(
        example_id=f"e{i}", unit_id=f"u{i % 2}", neutral=i > 1, candidate={"q": 0.1 * i, "latency_s": 1.0},
        incumbent={"q": None if i == 2 else 0.5},
    )
    for i in range(4)
]  # fmt: skip
CLOCK = {"latency_s"}


def digest(rows: list[PairedRow]) -> str:
    return rows_digest(pairs_of(rows), without=CLOCK)


def test_columns_are_in_order_of_example_id_and_none_is_nan() -> None:
    pairs = pairs_of(ROWS[::-1])
    assert list(pairs.example_ids) == ["e0", "e1", "e2", "e3"]
    assert pairs.units.tolist() == [0, 1, 0, 1]
    assert np.isnan(pairs.incumbent["q"]).tolist() == [False, False, True, False]
    assert np.isnan(pairs.side("incumbent", "unknown")).all()
    assert len(pairs) == 4


def test_the_digest_does_not_depend_on_order_or_on_seconds() -> None:
    slower = [replace(row, candidate={**row.candidate, "latency_s": 2.0}) for row in ROWS]
    assert digest(ROWS) == digest(ROWS[::-1]) == digest(slower)


def test_every_other_change_moves_the_digest() -> None:
    first, *rest = ROWS
    changed = [
        replace(first, unit_id="u9"),
        replace(first, example_id="e"),
        replace(first, neutral=True),
        replace(first, candidate={**first.candidate, "q": 1e-12}),
        replace(first, candidate={**first.candidate, "q": None}),
        replace(first, incumbent={"q": 0.4}),
        replace(first, incumbent={"q": 0.5, "r": 0.0}),
    ]
    assert len({digest(ROWS), *(digest([other, *rest]) for other in changed)}) == 8


def test_minus_zero_is_zero() -> None:
    """A database gives back only one zero."""
    first, *rest = ROWS
    assert digest([replace(first, candidate={**first.candidate, "q": -0.0}), *rest]) == digest(ROWS)
