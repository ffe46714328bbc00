"""The scores of a replay as columns: what a gate reads of a hundred thousand rows, without their answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosql
import numpy as np
import numpy.typing as npt
from psycopg import Connection, sql
from psycopg.rows import tuple_row

Floats = npt.NDArray[np.float64]
Conn = Connection[dict[str, Any]]
queries = aiosql.from_path(Path(__file__).with_name("scores.sql"), "psycopg")
# Of each answer the values of some metrics. They are spelt out: a subquery over a list of names takes twice as long.
SCORES = sql.SQL(
    "select example_id, unit_id, repeat, latency_s, cost, array[{values}]::float8[] as metrics "
    'from offline_replay_results where replay_id = %s order by example_id collate "C", repeat'
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """One value per example and metric; n examples, in order of example id."""

    example_ids: Sequence[str]  # (n,)
    unit_ids: Sequence[str]  # (n,)
    values: Mapping[str, Floats]  # metric -> (n,), NaN where there is no value; with 'latency_s' and 'cost'


def scores(conn: Conn, replay_id: str, names: Sequence[str]) -> Scores:
    """Of the metrics in `names`. Where an example was answered several times, metrics and cost are means over the
    answers (a value that is missing in one is missing: never a number), and the latency is that of the first."""
    values = sql.SQL(", ").join([sql.SQL("cast(metrics ->> {} as float8)").format(name) for name in names])
    with conn.cursor(binary=True, row_factory=tuple_row) as cursor:
        rows = cursor.execute(SCORES.format(values=values), (replay_id,)).fetchall()
    first = np.flatnonzero([row[2] == 0 for row in rows])
    numbers = np.array([(row[4], *row[5]) for row in rows], dtype=np.float64).reshape(len(rows), 1 + len(names))
    answers = np.diff(first, append=len(rows))
    means = np.add.reduceat(numbers, first, axis=0) / answers[:, None] if len(rows) else numbers
    return Scores(
        example_ids=[rows[at][0] for at in first],
        unit_ids=[rows[at][1] for at in first],
        values={
            **{name: means[:, 1 + n] for n, name in enumerate(names)},
            "cost": means[:, 0],
            "latency_s": np.array([rows[at][3] for at in first], dtype=np.float64),
        },
    )


def behaviour(conn: Conn, candidate: str, incumbent: str, example_ids: Sequence[str]) -> Mapping[str, Any] | None:
    """How two replays (by id) behaved on these examples: counts, shares and latencies as `scores.sql` names them.
    None where they share none."""
    found: Mapping[str, Any] | None = queries.behaviour(
        conn, candidate=candidate, incumbent=incumbent, example_ids=list(example_ids)
    )
    return None if found is None or not found["rows"] else found
