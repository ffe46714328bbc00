"""What a gate reads of a replay as columns is what its rows say."""

import math
import uuid
from dataclasses import replace

import replayed
import stages
from bakeoff import lifecycle
from bakeoff.lifecycle import Deps
from bakeoff.replay import scores, store
from bakeoff.replay.model import ReplayRow
from bakeoff.replay.repeats import averaged

ODD = ("a,b", 'quo"te', "back\\slash", "{curly}", "new\nline", "Größe", "日本", "NULL", "Zebra", "ape", "")
ROW = ReplayRow(
    example_id="", unit_id="", raw_answer="", parsed_answer=None, answer=None, violations=(), metrics={},
    prompt_tokens=1, completion_tokens=1, latency_s=0.1, cost=0.0,
)  # fmt: skip


def rows() -> list[ReplayRow]:
    """Three answers to each of eleven examples with ids that texts of arrays have to escape, last first; some without
    a value, one number that only its shortest text gives back, one that JSON writes with an exponent."""
    return [
        replace(
            ROW,
            example_id=name,
            unit_id=f"unit {name}",
            repeat=repeat,
            metrics={"right": None if (n + repeat) % 5 == 0 else 0.1 * n + 1e-17 * repeat, "it's": 1e-07 / (n + 1)},
            latency_s=0.3 * n + repeat,
            cost=0.1 + 0.2 * repeat,
            completion_tokens=7 * n + repeat,
        )
        for n, name in reversed(list(enumerate(ODD)))
        for repeat in (2, 0, 1)
    ]


def test_columns_say_what_rows_say(deps: Deps) -> None:
    replay = lifecycle.replay(
        deps, replayed.TASK, stages.python_version(deps, "good"), replayed.shop_dataset(deps), sample=3
    )
    with deps.db.transaction() as conn:
        conn.execute("set local bakeoff.erasure = 'on'")
        conn.execute("delete from offline_replay_results")
        for row in rows():
            store.insert_row(conn, replay.replay_id, row)
        found = scores.scores(conn, replay.replay_id, ["right", "it's"])
        expected = averaged(store.rows(conn, replay.replay_id))
    assert list(found.example_ids) == [row.example_id for row in expected] == sorted(ODD)
    assert list(found.unit_ids) == [row.unit_id for row in expected]
    for name in ("right", "it's"):
        read = [None if math.isnan(value) else value for value in found.values[name].tolist()]
        assert read == [row.metrics[name] for row in expected]
    assert None in [row.metrics["right"] for row in expected]
    assert found.values["cost"].tolist() == [row.cost for row in expected]
    assert found.values["latency_s"].tolist() == [row.latency_s for row in expected]
    assert found.answered["completion_tokens"].tolist() == [float(row.completion_tokens) for row in expected]
    assert found.answered["unserved"].tolist() == [1.0] * len(ODD)


def test_a_replay_without_rows_has_empty_columns(deps: Deps) -> None:
    with deps.db.transaction() as conn:
        found = scores.scores(conn, str(uuid.uuid4()), ["right"])
        assert scores.segments(conn, str(uuid.uuid4())) == {}
    assert (list(found.example_ids), found.values["right"].shape, found.answered["violating"].shape) == ([], (0,), (0,))
