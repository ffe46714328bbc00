"""The scores of a replay as columns: what a gate reads of a hundred thousand rows, without their answers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiosql
import numpy as np
import numpy.typing as npt
from psycopg import Connection, postgres, sql
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format
from psycopg.rows import tuple_row

from bakeoff.replay.segments import Segments

Floats = npt.NDArray[np.float64]
Conn = Connection[dict[str, Any]]
queries = aiosql.from_path(Path(__file__).with_name("scores.sql"), "psycopg")
ANSWERED = {
    "completion_tokens": "completion_tokens",
    "unreadable": "cast(parsed_answer is null as int)",
    "unserved": "cast(answer is null as int)",
    "violating": "cast(violations <> '[]' as int)",
}
"""How an answer came out, and how SQL says it."""
# One row that holds all: a hundred thousand rows take longer to become Python objects than to be read. PostgreSQL makes
# it up to 1 GB, which is five million answers with ten metrics. The metrics are spelt out: a subquery over a list of
# names takes twice as long.
SCORES = sql.SQL(
    "select coalesce(array_agg(example_id), '{{}}'), coalesce(array_agg(unit_id), '{{}}'), "
    "array_agg(array[repeat, latency_s, {values}]::float8[]) from offline_replay_results where replay_id = %s"
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """One value per example and metric; n examples, in order of example id."""

    example_ids: Sequence[str]  # (n,)
    unit_ids: Sequence[str]  # (n,)
    values: Mapping[str, Floats]  # metric -> (n,), NaN where there is no value; with 'latency_s' and 'cost'
    answered: Mapping[str, Floats] = field(default_factory=dict)  # name in `ANSWERED` -> (n,), of the first answers


def scores(conn: Conn, replay_id: str, names: Sequence[str]) -> Scores:
    """Of the metrics in `names`. Where an example was answered several times, metrics and cost are means over the
    answers (a value that is missing in one is missing: never a number), and all else is that of the first."""
    metrics = [sql.SQL("coalesce(cast(metrics ->> {} as float8), 'NaN')").format(name) for name in names]
    values = [*map(sql.SQL, ANSWERED.values()), sql.SQL("cost"), *metrics]
    example_ids, unit_ids, numbers = _arrays(conn, SCORES.format(values=sql.SQL(", ").join(values)), replay_id)
    numbers = np.empty((0, 2 + len(values))) if numbers is None else numbers
    order = sorted(np.argsort(numbers[:, 0], kind="stable").tolist(), key=example_ids.__getitem__)
    numbers = numbers[order]
    first = np.flatnonzero(numbers[:, 0] == 0)
    answers = np.diff(first, append=len(numbers))
    means = np.add.reduceat(numbers, first, axis=0) / answers[:, None] if len(numbers) else numbers
    cost = 2 + len(ANSWERED)
    return Scores(
        example_ids=[example_ids[order[at]] for at in first],
        unit_ids=[unit_ids[order[at]] for at in first],
        values={
            **{name: means[:, n] for n, name in enumerate(names, cost + 1)},
            "cost": means[:, cost],
            "latency_s": numbers[first, 1],
        },
        answered={name: numbers[first, n] for n, name in enumerate(ANSWERED, 2)},
    )


def same_answers(conn: Conn, candidate: str, incumbent: str, example_ids: Collection[str] | None = None) -> int:
    """To how many examples two replays (by id) have the same first answer; `example_ids`: of these only. To name as
    many as the replays have takes longer than to name none."""
    named = None if example_ids is None else list(example_ids)
    return int(queries.same_answers(conn, candidate=candidate, incumbent=incumbent, example_ids=named))


def segments(conn: Conn, replay_id: str) -> dict[str, Segments | None]:
    """By example id, as they were kept. Rows of one kind share one mapping."""
    found = queries.segments(conn, replay_id=replay_id)
    return {example_id: row["segments"] for row in found for example_id in row["example_ids"]}


class _Matrix(Loader):
    """An array of numbers without nulls, in PostgreSQL's binary form: number of dimensions, a flag, the element's type,
    size and lower bound of each dimension; then each element with its length before it."""

    format = Format.BINARY

    def load(self, data: Buffer) -> Floats:
        dimensions = int(np.frombuffer(data, ">i4", 1)[0])
        sizes = np.frombuffer(data, ">i4", 2 * dimensions, offset=12)[::2]
        elements = np.frombuffer(data, [("length", ">i4"), ("value", ">f8")], offset=12 + 8 * dimensions)
        return elements["value"].astype(np.float64).reshape(sizes)


def _arrays(conn: Conn, select: sql.Composed, replay_id: str) -> tuple[list[str], list[str], Floats | None]:
    with conn.cursor(binary=True, row_factory=tuple_row) as cursor:
        cursor.adapters.register_loader(postgres.types["float8"].array_oid, _Matrix)
        found = cursor.execute(select, (replay_id,)).fetchone()
    assert found is not None  # an aggregate has one row
    return found
