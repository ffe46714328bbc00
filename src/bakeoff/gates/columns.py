"""Pairs: the judged rows as columns, so that a hundred thousand of them take seconds."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bakeoff.errors import UsageError
from bakeoff.gates.model import PairedRow
from bakeoff.stats.paired import unit_codes
from bakeoff.task import Metric

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Columns = Mapping[str, Floats]
"""Metric -> values (n,); NaN stands for None: not applicable, or no value."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """Requests answered by both policies, in order of example id; n rows."""

    example_ids: Sequence[str]  # (n,), ascending, each once
    unit_ids: Sequence[str]  # (n,)
    units: npt.NDArray[np.intp]  # (n,), a number for each unit
    neutral: Mask  # (n,), the logged proposal came from neither compared policy
    candidate: Columns
    incumbent: Columns

    def __len__(self) -> int:
        return len(self.example_ids)

    def side(self, side: str, name: str) -> Floats:
        """Values of 'candidate' or 'incumbent'; all NaN where it has no such metric."""
        found = (self.candidate if side == "candidate" else self.incumbent).get(name)
        return np.full(len(self), np.nan) if found is None else found


def pairs_of(rows: Sequence[PairedRow]) -> Pairs:
    """Rows as columns, whatever their order. Raises UsageError where an example appears twice, and for NaN: missing
    is None, never a number."""
    ordered = sorted(rows, key=lambda row: row.example_id)
    for one, other in pairwise(ordered):
        if one.example_id == other.example_id:
            raise UsageError(
                f"example {one.example_id} appears twice among the paired rows; expected one row per example",
                cure="join the replay reports on example_id before judging",
            )
    unit_ids = [row.unit_id for row in ordered]
    return Pairs(
        example_ids=[row.example_id for row in ordered],
        unit_ids=unit_ids,
        units=unit_codes(unit_ids),
        neutral=np.array([row.neutral for row in ordered], dtype=np.bool_),
        candidate=_columns("candidate", ordered),
        incumbent=_columns("incumbent", ordered),
    )


def check_ranges(pairs: Pairs, known: Mapping[str, Metric], names: Collection[str]) -> None:
    """Raises UsageError for a value of a metric in `names` that is infinite or outside of the declared range."""
    for side in ("candidate", "incumbent"):
        for name in sorted(names):
            metric, values = known[name], pairs.side(side, name)
            low = -np.finfo(np.float64).max if metric.low is None else metric.low - 1e-9
            high = np.finfo(np.float64).max if metric.high is None else metric.high + 1e-9
            wrong = np.flatnonzero((values < low) | (values > high))
            if len(wrong):
                _refuse(pairs.example_ids[wrong[0]], side, metric, values[wrong[0]])


def rows_digest(pairs: Pairs, *, without: Collection[str]) -> str:
    """sha256 over ids, units, neutrality and every value but those of the columns in `without`."""
    found = hashlib.sha256()
    for part in ("\0".join(pairs.example_ids), "\0".join(pairs.unit_ids)):
        found.update(hashlib.sha256(part.encode()).digest())
    found.update(np.packbits(pairs.neutral).tobytes())
    for side, columns in (("candidate", pairs.candidate), ("incumbent", pairs.incumbent)):
        for name in sorted(set(columns) - set(without)):
            values = np.where(np.isnan(columns[name]), np.nan, columns[name] + 0.0)  # one NaN, one zero
            found.update(f"{side}\0{name}\0".encode() + values.astype("<f8").tobytes())
    return "sha256:" + found.hexdigest()


def _columns(side: str, rows: Sequence[PairedRow]) -> Columns:
    values = [row.candidate if side == "candidate" else row.incumbent for row in rows]
    names = sorted({name for each in values for name in each})
    columns = {name: np.array([each.get(name) for each in values], dtype=np.float64) for name in names}
    for name, column in columns.items():
        for at in map(int, np.flatnonzero(np.isnan(column))):
            if values[at].get(name) is not None:
                raise UsageError(
                    f"row {rows[at].example_id}: {side}'s {name} is nan; expected a number, or None where it does "
                    "not apply",
                    cure=f"correct `Task.score` for '{name}'",
                )
    return columns


def _refuse(example_id: str, side: str, metric: Metric, value: float) -> None:
    raise UsageError(
        f"row {example_id}: {side}'s {metric.name} is {value}; "
        f"expected a number from {metric.low} to {metric.high}, or None where it does not apply",
        cure=f"correct `Task.score` for '{metric.name}', or the metric's declared range",
    )
