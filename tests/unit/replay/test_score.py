"""What a row says, and all rows together."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

import rows
import toy
from bakeoff.errors import UsageError
from bakeoff.inference.model import PolicyAnswer, PolicySpec
from bakeoff.inference.run_policy import UNRECORDED, run_policy
from bakeoff.replay.model import ReplayRow, rows_digest
from bakeoff.replay.score import aggregate, replay_row
from bakeoff.task import Completion, Example, Violation

TASK = toy.ToyTask()


def example(n: int, drink: str = "tea") -> Example:
    return Example(
        example_id=f"e{n}", unit_id=f"u{n}", occurred_at=rows.START, request={"likes": drink, "day": n},
        target={"drink": drink},
    )  # fmt: skip


def answered(drink: str | None, raw: str = "", **completion: Any) -> PolicyAnswer:
    parsed = None if drink is None else {"drink": drink}
    return PolicyAnswer(
        raw=raw or str(drink), parsed=parsed, violations=(), answer=parsed,
        completion=Completion(text=str(drink), **completion), cost=0.5, action_propensity=None,
    )  # fmt: skip


def row(n: int, drink: str = "tea", **completion: Any) -> ReplayRow:
    return replay_row(TASK, example(n), answered(drink, **completion))


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_an_answer_is_scored_before_any_repair() -> None:
    broken = PolicySpec(task="toy", engine="python", prompt_version="1", function="toy:broken", function_version="1")
    done = replay_row(TASK, example(1), run_policy(TASK, broken, example(1).request, engine=None))
    assert done.metrics == {"right": 0.0, "known_drink": 0.0}
    assert (done.parsed_answer, done.answer) == ({"drink": "petrol"}, {"drink": "tea"})
    assert [v.rule for v in done.violations] == ["unknown_drink"]


def test_an_unreadable_answer_scores_as_an_empty_one() -> None:
    assert replay_row(TASK, example(1), answered(None)).metrics == {"right": 0.0, "known_drink": 0.0}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(number: float) -> None:
    class Wrong(toy.ToyTask):
        def score(self, example: Example, answer: Any) -> Mapping[str, float | None]:
            return {"right": number, "known_drink": None}

    with pytest.raises(UsageError, match="scores example e1 with a number that is none: right"):
        replay_row(Wrong(), example(1), answered("tea"))


def test_the_digest_covers_answers_and_not_order_or_wall_clock() -> None:
    made = [row(n, latency_s=0.1) for n in range(5)]
    slower = [row(n, latency_s=9.0) for n in (3, 1, 4, 0, 2)]
    assert rows_digest(made) == rows_digest(slower)
    for other in (row(2, "coffee"), row(2, prompt_tokens=7), replace(row(2), repeat=1)):
        assert rows_digest([*made[:2], other, *made[3:]]) != rows_digest(made)


# ---- aggregate ----


def test_aggregates_leave_out_what_does_not_apply_and_count_it() -> None:
    class Partly(toy.ToyTask):
        def score(self, example: Example, answer: Any) -> Mapping[str, float | None]:
            return {"right": float(example.request["day"]) if example.request["day"] < 2 else None, "never": None}

    made = [
        replay_row(Partly(), example(n), answered("tea", latency_s=float(n), prompt_tokens=10, completion_tokens=n))
        for n in range(4)
    ]
    figures = aggregate(made)
    assert figures == pytest.approx(
        {
            "rows": 4,
            "right": 0.5,
            "right_coverage": 0.5,
            "never_coverage": 0.0,
            "tokens": 11.5,
            "cost": 0.5,
            "latency_p50_s": 1.5,
            "latency_p95_s": 2.85,
        }
    )


def test_repeats_are_counted_and_so_are_examples_that_they_do_not_agree_on() -> None:
    made = [
        replace(row(n, drink), repeat=repeat) for n in range(4) for repeat, drink in enumerate(("tea", "tea", "tea"))
    ]
    assert aggregate(made)["varying"] == 0.0
    made[5] = replace(row(1, "coffee"), repeat=2)
    figures = aggregate(made)
    assert (figures["rows"], figures["repeats"], figures["varying"]) == (12, 3, 0.25)


def test_an_answer_from_the_cache_counts_like_any_other() -> None:
    made = [row(n) for n in range(3)]
    assert rows_digest([replace(each, from_cache=True) for each in made]) == rows_digest(made)


# ---- the application's own answers ----


def test_what_nobody_recorded_is_unknown_and_not_bad() -> None:
    """None in every metric, so that a gate lacks evidence instead of calling the application worse."""
    missing = Violation(rule=UNRECORDED, where=None, detail="not in the log")
    row = replay_row(TASK, example(1), replace(answered(None, raw=""), violations=(missing,)))
    assert row.metrics == {"right": None, "known_drink": None}
    unreadable = Violation(rule="unparseable", where=None, detail="mumbled")
    row = replay_row(TASK, example(1), replace(answered(None), violations=(unreadable,)))
    assert row.metrics == {"right": 0.0, "known_drink": 0.0}
