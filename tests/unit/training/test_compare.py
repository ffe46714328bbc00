"""A lucky run is not crowned, a better one is."""

import numpy as np
import pytest

from bakeoff.errors import UsageError
from bakeoff.training.compare import LEVEL, Scored, rank, verdict


def run(values: list[float]) -> list[Scored]:
    return [Scored(example_id=f"e{n}", unit_id=f"u{n // 2}", value=value) for n, value in enumerate(values)]


def test_runs_are_ranked_by_their_mean_and_ties_by_id() -> None:
    ranked = rank({"c": run([0.5, 0.5]), "a": run([0.2, 0.4]), "b": run([0.4, 0.6])})
    assert [(each.run_id, round(each.mean, 3)) for each in ranked] == [("b", 0.5), ("c", 0.5), ("a", 0.3)]
    assert ranked[0].to_leader is None


def test_a_run_that_wins_on_every_unit_is_the_best() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.5, 80)
    ranked = rank({"good": run(list(base + rng.uniform(0.1, 0.3, 80))), "poor": run(list(base))})
    assert [each.standing for each in ranked] == ["best", "worse"]
    found = ranked[1].to_leader
    assert found is not None
    assert found.lower < -0.2 < found.upper < 0
    assert verdict(ranked) == "good is better than every other run"


def test_equal_rows_are_not_distinguishable() -> None:
    ranked = rank({"a": run([0.5, 0.6, 0.7]), "b": run([0.5, 0.6, 0.7])}, span=1.0)
    assert [each.standing for each in ranked] == ["leads", "not distinguishable"]
    assert "not distinguishable from 1 of 1 others" in verdict(ranked)


def test_one_run_alone_has_nothing_to_beat() -> None:
    assert "nothing to compare" in verdict(rank({"a": run([0.5])}))


def test_the_lucky_one_of_six_equal_runs_is_crowned_no_more_often_than_promised() -> None:
    """300 times six runs that differ by chance alone: somebody is called worse than the leader in at most 5 %."""
    rng = np.random.default_rng(7)
    told_apart = 0
    for _ in range(300):
        units = rng.normal(0, 0.1, 20).repeat(2)
        runs = {f"r{k}": run(list(0.5 + units + rng.normal(0, 0.1, 40))) for k in range(6)}
        told_apart += any(each.standing == "worse" for each in rank(runs))
    assert told_apart / 300 <= LEVEL + 2 * (LEVEL * (1 - LEVEL) / 300) ** 0.5


def test_a_run_without_rows_or_without_shared_rows_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="run b has no scored"):
        rank({"a": run([0.5]), "b": []})
    with pytest.raises(UsageError, match="no validation row in common"):
        rank({"a": run([0.5]), "b": [Scored(example_id="other", unit_id="u", value=0.1)]})
