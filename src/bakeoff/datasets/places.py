"""Where test rows stand, without what they hold: the requests of a hundred thousand rows are hundreds of megabytes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bakeoff.datasets import files, table
from bakeoff.datasets.build import UNAIDED
from bakeoff.datasets.model import Split
from bakeoff.datasets.shape import Mark
from bakeoff.events.canonical import loads

Mask = npt.NDArray[np.bool_]
_WHO = ("proposed_by", "built_by")  # of the metadata: what decides whether a row is neutral


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Places:
    """The rows of the test split as columns, in the dataset's order; n rows."""

    example_ids: Sequence[str]  # (n,)
    unit_ids: Sequence[str]  # (n,)
    slices: npt.NDArray[np.intp]  # (n,), 1 to 4
    occurred_at: npt.NDArray[np.datetime64]  # (n,), microseconds, UTC
    proposed_by: Sequence[str]  # (n,), policy version ids
    unaided: Mask  # (n,), built without a proposal

    def neutral(self, *policy_version_ids: str) -> Mask:
        """Which rows' kept answers were proposed by none of the compared versions (design rule 6), (n,)."""
        return self.unaided | ~_among(self.proposed_by, policy_version_ids)

    def within(self, slices: Collection[int], since: datetime | None = None) -> Mask:
        """Which rows are in these slices and not before `since`, (n,)."""
        inside = np.isin(self.slices, list(slices))
        return inside if since is None else inside & (self.occurred_at >= np.datetime64(since.replace(tzinfo=None)))


def places(uri: str) -> Places:
    """Every row of the test split. Raises as `files.load`."""
    plain = ("example_id", "unit_id", "slice", "occurred_at")
    with files.parquet(uri) as file:
        there = set(file.schema_arrow.names)
        wanted = [name for name in (*plain, "split", "metadata", "metadata_json") if name in there]
        whole = file.read(columns=wanted)
    rows = whole.filter(pc.equal(whole["split"], pa.scalar(Split.TEST.value)))
    proposed_by, built_by = _who(rows)
    return Places(
        example_ids=rows["example_id"].to_pylist(),
        unit_ids=rows["unit_id"].to_pylist(),
        slices=rows["slice"].to_numpy().astype(np.intp),
        occurred_at=rows["occurred_at"].to_numpy().astype("datetime64[us]"),
        proposed_by=proposed_by,
        unaided=_among(built_by, (UNAIDED,)),
    )


def _who(rows: pa.Table) -> tuple[Sequence[Any], Sequence[Any]]:
    """Proposer and builder of each row: columns where they are plain texts, else read from the JSON of each row."""
    column = rows["metadata"].combine_chunks()
    kind = column.type
    odd = "metadata_json" in rows.column_names and rows["metadata_json"].null_count < len(rows)
    known = {part.name: part for part in kind} if pa.types.is_struct(kind) else {}
    if odd or any(name in known and not _is_plain(known[name]) for name in _WHO):
        values = [loads(text.encode()) for text in table.texts_of(rows, "metadata").to_pylist()] if len(rows) else []
        return [value["proposed_by"] for value in values], [value.get("built_by") for value in values]
    nobody = [None] * len(rows)
    found = [pc.struct_field(column, name).to_pylist() if name in known else nobody for name in _WHO]
    return found[0], found[1]


def _is_plain(part: pa.Field) -> bool:
    return bool(pa.types.is_string(part.type)) and not Mark.JSON.on(part)


def _among(values: Sequence[Any], wanted: Collection[str]) -> Mask:
    return np.fromiter((value in wanted for value in values), dtype=np.bool_, count=len(values))
