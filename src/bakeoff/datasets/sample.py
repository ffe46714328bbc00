"""Some rows of a dataset's file, always the same ones: for what needs whole rows and not all of them."""

from bisect import bisect_left
from collections.abc import Sequence

import mmh3
import pyarrow as pa
import pyarrow.parquet as pq

from bakeoff.datasets import table
from bakeoff.datasets.model import Row, Split

ROW_GROUPS = 16  # read at most
_BATCH = 512  # whole rows


def sample(file: pq.ParquetFile, *, split: Split, most: int) -> list[Row]:
    """At most `most` rows of `split`, in the file's order: those whose ids have the smallest hashes.

    Of a long file only `ROW_GROUPS` row groups, evenly spaced from the first to the last, are looked at; the same file
    gives the same rows everywhere."""
    groups = spread(file.metadata.num_row_groups, ROW_GROUPS)
    if not groups:
        return []
    ids = file.read_row_groups(groups, columns=["example_id", "split"])
    pairs = zip(ids["example_id"].to_pylist(), ids["split"].to_pylist(), strict=True)
    ranked = sorted((mmh3.hash64(name, signed=False)[0], at) for at, (name, its) in enumerate(pairs) if its == split)
    return _rows(file, groups, sorted(at for _, at in ranked[:most]))


def spread(available: int, wanted: int) -> list[int]:
    """At most `wanted` of the numbers 0 to ``available - 1``, evenly spaced, with the first and the last."""
    if available <= wanted:
        return list(range(available))
    return [at * (available - 1) // (wanted - 1) for at in range(wanted)]


def _rows(file: pq.ParquetFile, groups: Sequence[int], wanted: Sequence[int]) -> list[Row]:
    """The rows at these places of the row groups laid end to end, in small batches: whole rows are large."""
    found: list[Row] = []
    begin = 0
    for batch in file.iter_batches(batch_size=_BATCH, row_groups=list(groups), use_threads=False):
        here = [at - begin for at in wanted[bisect_left(wanted, begin) : bisect_left(wanted, begin + len(batch))]]
        if here:
            found += table.rows(pa.Table.from_batches([batch.take(pa.array(here))], file.schema_arrow), "the sample")
        begin += len(batch)
    return found
