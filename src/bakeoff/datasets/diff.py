"""What changed between two datasets: fields, versions, rows, targets, units, distributions.

Reads ids and targets column by column; requests are never loaded. Of rows that are in both only the targets are
compared: a decision's request cannot change, and metadata are compared as distributions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bakeoff.datasets import files, table
from bakeoff.datasets.drift import Comparison, compare
from bakeoff.datasets.model import VERSIONS
from bakeoff.datasets.profile import profile, units

SHOWN = 5  # ids named of each kind
_BATCH = 1 << 13  # rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Some:
    """How many, and the first of them."""

    count: int
    first: tuple[str, ...]  # at most `SHOWN`


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """What changed in schema.json, by path."""

    added: tuple[str, ...]
    gone: tuple[str, ...]
    retyped: tuple[str, ...]  # 'request.budget: int64 -> double'
    nullability: tuple[str, ...]  # 'request.budget: may be null now'


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """By example id."""

    added: Some
    gone: Some
    changed: Some | None  # same id, other target; None where the common rows lie in another order, so nobody looked
    units_added: int
    units_gone: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """From one dataset to another."""

    fields: Fields
    versions: Mapping[str, tuple[str, str]]  # those that changed: before, after
    windows: tuple[tuple[str, str], tuple[str, str]]  # since and until, ISO 8601: before, after
    rows: Rows
    drift: Comparison


def diff(before: str, after: str) -> Difference:
    """Of two dataset folders. Raises UsageError where one is no dataset, and Unreachable."""
    old, new = files.describe_all(before), files.describe_all(after)
    with files.parquet(before) as first, files.parquet(after) as second:
        return Difference(
            fields=diff_fields(old["fields"], new["fields"]),
            versions=_versions(old["dataset"]["summary"], new["dataset"]["summary"]),
            windows=(_window(old), _window(new)),
            rows=diff_rows(first, second),
            drift=compare(_profile(old, first), _profile(new, second)),
        )


def diff_fields(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Fields:
    """Of the ``fields`` of two schema.json."""
    old, new = ({field["name"]: field for field in fields} for fields in (before, after))
    both = sorted(set(old) & set(new))
    return Fields(
        added=tuple(sorted(set(new) - set(old))),
        gone=tuple(sorted(set(old) - set(new))),
        retyped=tuple(
            f"{name}: {old[name]['type']} -> {new[name]['type']}"
            for name in both
            if old[name]["type"] != new[name]["type"]
        ),
        nullability=tuple(
            f"{name}: {'may be null now' if new[name]['nullable'] else 'never null now'}"
            for name in both
            if old[name]["nullable"] != new[name]["nullable"]
        ),
    )


def diff_rows(before: pq.ParquetFile, after: pq.ParquetFile) -> Rows:
    """Of two training.parquet, both in the canonical order (time, then example id)."""
    old, new = (file.read(columns=["example_id"])["example_id"] for file in (before, after))
    kept_old, kept_new = _are_in(old, new), _are_in(new, old)
    changed = None
    if old.filter(kept_old).equals(new.filter(kept_new)):
        pairs = _aligned(_kept(before, kept_old), _kept(after, kept_new))
        changed = _some(name for left, right in pairs for name in _other_targets(left, right))
    units_before, units_after = units(before), units(after)
    return Rows(
        added=_missing(new, kept_new),
        gone=_missing(old, kept_old),
        changed=changed,
        units_added=pc.sum(pc.invert(pc.is_in(units_after, units_before))).as_py() or 0,
        units_gone=pc.sum(pc.invert(pc.is_in(units_before, units_after))).as_py() or 0,
    )


def _are_in(these: pa.ChunkedArray, those: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(these, value_set=those.combine_chunks())


def _missing(ids: pa.ChunkedArray, kept: pa.ChunkedArray) -> Some:
    others = ids.filter(pc.invert(kept))
    return Some(count=len(others), first=tuple(others.slice(0, SHOWN).to_pylist()))


def _some(names: Iterator[str]) -> Some:
    count, first = 0, []
    for name in names:
        count += 1
        if count <= SHOWN:
            first.append(name)
    return Some(count=count, first=tuple(first))


def _kept(file: pq.ParquetFile, mask: pa.ChunkedArray) -> Iterator[pa.Table]:
    """Ids and targets of the rows under `mask`, in batches."""
    wanted = [name for name in ("example_id", "target", "target_json") if name in file.schema_arrow.names]
    begin = 0
    for batch in file.iter_batches(batch_size=_BATCH, columns=wanted, use_threads=False):
        here = mask.slice(begin, len(batch))
        yield pa.Table.from_batches([batch if pc.all(here).as_py() else batch.filter(here.combine_chunks())])
        begin += len(batch)


def _aligned(left: Iterator[pa.Table], right: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The same rows of both, however each is cut."""
    a, b = next(left, None), next(right, None)
    while a is not None and b is not None:
        rows = min(len(a), len(b))
        if rows:
            yield a.slice(0, rows), b.slice(0, rows)
        a = a.slice(rows) if rows < len(a) else next(left, None)
        b = b.slice(rows) if rows < len(b) else next(right, None)


def _other_targets(left: pa.Table, right: pa.Table) -> Iterator[str]:
    """Ids of rows whose targets differ: as JSON values, however the columns of the two files are typed. Where nothing
    differs Arrow's own comparison says so at once."""
    if left.schema.equals(right.schema, check_metadata=True) and left.equals(right):
        return
    differ = pc.not_equal(table.texts_of(left, "target"), table.texts_of(right, "target"))
    yield from left["example_id"].filter(differ).to_pylist()


def _versions(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    pairs = {name: (str(before.get(name)), str(after.get(name))) for name in VERSIONS}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _window(schema: Mapping[str, Any]) -> tuple[str, str]:
    return schema["dataset"]["since"], schema["dataset"]["until"]


def _profile(schema: Mapping[str, Any], file: pq.ParquetFile) -> Mapping[str, Any]:
    known: Mapping[str, Any] | None = schema["dataset"]["summary"].get("profile")
    return profile(file) if known is None else known
