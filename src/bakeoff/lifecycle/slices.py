"""Which held-out rows a gate may read: sealed slices are opened here, before any answer is seen."""

from collections.abc import Sequence

from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset
from bakeoff.datasets.places import Places, places
from bakeoff.gates import store as gates
from bakeoff.gates.model import Gate
from bakeoff.gates.slices import Asked, Reading, next_opening
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.task import Task


def open_slices(
    deps: Deps,
    task: Task,
    dataset: Dataset,
    rules: Gate,
    compared: Sequence[PolicyVersion],
    *,
    slices: int | None = None,
    fresh: bool = False,
) -> Reading:
    """What a gate reads of the test split: what is open, after opening what is missing.

    The first gate of a task opens as many slices as its minimum of units needs, or `slices` of them, or as the gate
    file says; later ones read the same. `fresh` opens the next ones, unless those that are open were not judged on
    yet; where all have been read, only weeks count that no gate has read. Raises Refused where nothing is left."""
    ids = [version.policy_version_id for version in compared]
    return read(deps, task, dataset, rules, places(dataset.uri), ids, Asked(slices=slices, fresh=fresh))


def read(
    deps: Deps, task: Task, dataset: Dataset, rules: Gate, rows: Places, compared: Sequence[str], asked: Asked
) -> Reading:
    """As `open_slices`, over rows that were read already."""
    with deps.db.transaction() as conn:
        gates.lock(conn, task.name)
        judged = [datasets.by_digest(conn, digest) for digest in gates.judged_datasets(conn, task.name)]
        opening = next_opening(
            rules,
            rows,
            compared,
            current=gates.reading(conn, task.name),
            sealed=gates.sealed(conn, task.name),
            judged_until=max((known.until for known in judged if known is not None), default=None),
            asked=asked,
        )
        if opening is not None:
            gates.open_slices(conn, task.name, opening, dataset_digest=dataset.digest, now=deps.clock())
        found = gates.reading(conn, task.name)
    assert found is not None  # the first gate opens some
    return found
