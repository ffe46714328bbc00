"""What kind of row each one is, kept beside its scores: a gate need not read a hundred thousand requests again.

A replay reads every request anyway, compares it with its digest and knows the task, so it asks `Task.segments` then. A
gate takes the kept answers only where they have the digest that the replay ended with, and that digest speaks of the
dataset and of the code and what it learnt (`scored_by`) as well. Where a row was changed, erased or never had them,
where the dataset is another or the task's code has changed, the gate reads the requests again.

This is as safe as reading: the segments lie in the same append-only rows as the scores that decide the verdict, under a
digest of their own, and the dataset's file has no say in them any more."""

from collections.abc import Mapping

import orjson

from bakeoff.fingerprint import as_stored, digest_bytes
from bakeoff.task import Example, Task

Segments = Mapping[str, str]
"""Feature -> value."""


def segments_of(task: Task, example: Example) -> Segments | None:
    """What `Task.segments` says, where it says texts that JSON can keep. None otherwise, also where it raises: a replay
    does not need them, and the gate that does asks the task itself, which then complains."""
    try:
        found = dict(task.segments(example))
        texts = all(isinstance(part, str) for pair in found.items() for part in pair)
        return found if texts and as_stored(found) == found else None
    except Exception:
        return None


def segments_digest(
    dataset_digest: str, scored_by: Mapping[str, str], rows: Mapping[str, Segments | None]
) -> str | None:
    """sha256 over dataset, code and the segments by example id, whatever their order; None where a row has none."""
    if any(found is None for found in rows.values()):
        return None
    names = sorted(rows)
    said = [dataset_digest, dict(scored_by), names, [rows[name] for name in names]]
    return digest_bytes(orjson.dumps(said, option=orjson.OPT_SORT_KEYS))
