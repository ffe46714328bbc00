"""Where test rows stand, without what they hold: the requests of a hundred thousand rows are hundreds of megabytes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bakeoff.datasets import files, table
from bakeoff.datasets.build import is_neutral_to
from bakeoff.datasets.model import Split
from bakeoff.events.canonical import loads


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A row of the test split."""

    example_id: str
    unit_id: str
    occurred_at: datetime
    slice: int  # 1 to 4
    metadata: Mapping[str, Any]

    def is_neutral(self, *policy_version_ids: str) -> bool:
        """Whether what people kept was proposed by none of the compared versions (design rule 6)."""
        return is_neutral_to(self.metadata, policy_version_ids)


def places(uri: str) -> Iterator[Place]:
    """Every row of the test split, in the dataset's order. Raises as `files.load`."""
    plain = ["example_id", "unit_id", "occurred_at", "slice"]
    with files.parquet(uri) as file:
        wanted = [name for name in file.schema_arrow.names if name in {*plain, "split", "metadata", "metadata_json"}]
        for number in range(file.num_row_groups):
            group = file.read_row_group(number, columns=wanted)
            group = group.filter(pc.equal(group["split"], pa.scalar(Split.TEST.value)))
            values = [group[name].to_pylist() for name in plain]
            texts = table.texts_of(group, "metadata").to_pylist() if len(group) else []
            for example_id, unit_id, occurred_at, slice_, text in zip(*values, texts, strict=True):
                yield Place(
                    example_id=example_id,
                    unit_id=unit_id,
                    occurred_at=occurred_at,
                    slice=slice_,
                    metadata=loads(text.encode()),
                )
