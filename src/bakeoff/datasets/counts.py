"""Rows of a dataset's file, counted by where they come from; read in batches of a few columns."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bakeoff.datasets.build import UNAIDED
from bakeoff.datasets.model import Split

PAIRED = 8  # policy versions, the most frequent proposers, for which neutral rows are counted
_BATCH = 1 << 13  # rows; larger ones are no faster and take more memory


class Group(NamedTuple):
    """Rows that are alike in all that is counted here."""

    split: str
    slice: int | None
    proposed_by: str  # policy version
    origin: str
    fell_back: bool
    unaided: bool  # people made the plan without a proposal
    explorer: bool  # a randomised policy answered

    def is_neutral(self, compared: Collection[str]) -> bool:
        """The rule of `build.is_neutral`."""
        return self.unaided or self.proposed_by not in compared


Groups = Mapping[Group, int]
"""Group -> rows; every row is in one group."""


def groups(file: pq.ParquetFile) -> Groups:
    """Of the whole file."""
    found: Counter[Group] = Counter()
    names = ("proposed_by", "origin", "fell_back", "action_propensity", "built_by")
    known = {part.name for part in file.schema_arrow.field("metadata").type}
    columns = ["split", "slice", *(f"metadata.{name}" for name in names if name in known)]
    for batch in file.iter_batches(batch_size=_BATCH, use_threads=False, columns=columns):
        for row in _grouped(batch, known).to_pylist():
            found[Group(**{name: row[name] for name in Group._fields})] += row["count_all"]
    return found


def rows(counted: Groups, keep: Callable[[Group], bool]) -> int:
    """How many rows are in the groups to keep."""
    return sum(count for group, count in counted.items() if keep(group))


def by(counted: Groups, value: Callable[[Group], object]) -> dict[str, int]:
    """Rows by a value of their group, as text, sorted; None is left out."""
    found: Counter[str] = Counter()
    for group, count in counted.items():
        if value(group) is not None:
            found[str(value(group))] += count
    return dict(sorted(found.items()))


def neutral(counted: Groups) -> dict[str, Any]:
    """Rows on which policy versions may be compared (design rule 6): those that none of them proposed, or that people
    built without a proposal. ``to_one``: against a version that has proposed nothing yet. Of many versions the `PAIRED`
    most frequent ones are paired."""
    proposers = by(counted, lambda group: group.proposed_by)
    ranked = sorted(proposers, key=lambda name: (-proposers[name], name))
    paired = sorted(ranked[:PAIRED])
    return {
        "unaided": rows(counted, lambda group: group.unaided),
        "explorer": rows(counted, lambda group: group.explorer),
        "to_one": {name: _neutral_to(counted, (name,)) for name in paired},
        "to_both": [{"versions": list(pair), **_neutral_to(counted, pair)} for pair in combinations(paired, 2)],
        "versions_not_paired": len(ranked) - len(paired),
    }


def total(file: pq.ParquetFile, name: str) -> int | None:
    """Sum of a whole-number field of the metadata; None where there is no such field."""
    kind = file.schema_arrow.field("metadata").type
    if kind.get_field_index(name) < 0 or not pa.types.is_integer(kind.field(name).type):
        return None
    batches = file.iter_batches(batch_size=_BATCH, use_threads=False, columns=[f"metadata.{name}"])
    return sum(pc.sum(pc.struct_field(batch["metadata"], name)).as_py() or 0 for batch in batches)


def first_to_last(file: pq.ParquetFile) -> list[str] | None:
    """Time of the first and of the last row, ISO 8601; None for no rows."""
    ends = [
        moment
        for batch in file.iter_batches(batch_size=_BATCH, use_threads=False, columns=["occurred_at"])
        for moment in pc.min_max(batch["occurred_at"]).as_py().values()
    ]
    return [min(ends).isoformat(), max(ends).isoformat()] if ends else None


def _neutral_to(counted: Groups, compared: Sequence[str]) -> dict[str, int]:
    free = {group: count for group, count in counted.items() if group.is_neutral(compared)}
    return {"rows": sum(free.values()), "test": rows(free, lambda group: group.split == Split.TEST)}


def _grouped(batch: pa.RecordBatch, known: Collection[str]) -> pa.Table:
    def field(name: str) -> pa.Array:
        return pc.struct_field(batch["metadata"], name) if name in known else pa.nulls(len(batch), pa.string())

    table = pa.table(
        {
            "split": batch["split"],
            "slice": batch["slice"],
            **{name: field(name) for name in ("proposed_by", "origin", "fell_back")},
            "unaided": pc.fill_null(pc.equal(field("built_by"), UNAIDED), False),
            "explorer": pc.is_valid(field("action_propensity")),
        }
    )
    return table.group_by(list(Group._fields)).aggregate([([], "count_all")])
