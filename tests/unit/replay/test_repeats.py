"""Several answers to one question: where they say something, and one row out of many."""

import random
from dataclasses import replace
from typing import Any, cast

import pytest

from bakeoff.errors import UsageError
from bakeoff.inference.model import PolicySpec
from bakeoff.replay.model import ReplayRow
from bakeoff.replay.repeats import averaged, check_repeats, varying
from bakeoff.task import Violation

SPEC = PolicySpec(task="toy", engine="python", prompt_version="1", function="toy:good", function_version="1")


def row(
    example: str, repeat: int, right: float | None, *, rules: tuple[str, ...] = (), latency: float = 1.0
) -> ReplayRow:
    return ReplayRow(
        example_id=example, unit_id="u", raw_answer=f"{right}", parsed_answer={}, answer={},
        violations=tuple(Violation(rule=rule, where=None, detail="") for rule in rules), metrics={"right": right},
        prompt_tokens=repeat, completion_tokens=1, latency_s=latency, cost=float(repeat), repeat=repeat,
    )  # fmt: skip


def test_metrics_and_cost_are_means_and_nothing_else_is() -> None:
    """A mean of latencies would hide the slow ones, and each breach of a rule stays one."""
    one, other = row("e1", 0, 1.0, rules=("allergy",), latency=9.0), row("e1", 1, 0.5, rules=("time",))
    (found,) = averaged([other, one])
    assert found.metrics == {"right": 0.75}
    assert (found.cost, found.latency_s, found.prompt_tokens, found.raw_answer) == (0.5, 9.0, 0, "1.0")
    assert [violation.rule for violation in found.violations] == ["allergy", "time"]


def test_missing_once_is_missing() -> None:
    (found,) = averaged([row("e1", 0, 1.0), row("e1", 1, None)])
    assert found.metrics == {"right": None}


def test_one_row_per_example_in_order_whatever_the_order_before() -> None:
    rows = [row(f"e{n}", repeat, n + repeat / 10) for n in range(9) for repeat in range(3)]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert averaged(shuffled) == averaged(rows)
    assert [each.example_id for each in averaged(rows)] == [f"e{n}" for n in range(9)]
    assert [each.metrics["right"] for each in averaged(rows)] == pytest.approx([n + 0.1 for n in range(9)])


def test_without_repeats_nothing_changes() -> None:
    rows = [row(f"e{n}", 0, float(n)) for n in range(5)]
    assert averaged(rows) == rows


def test_examples_whose_repeats_do_not_agree() -> None:
    rows = [row("e1", 0, 1.0), row("e1", 1, 1.0), row("e2", 0, 1.0), row("e2", 1, 0.0)]
    assert varying(rows) == 0.5
    assert varying([]) == 0.0


@pytest.mark.parametrize("engine", ["transformers", "logged"])
def test_repeats_that_would_say_nothing_are_not_made(engine: Any) -> None:
    with pytest.raises(UsageError, match="leave out --repeats"):
        check_repeats(replace(SPEC, engine=engine), 2)
    check_repeats(replace(SPEC, engine=engine), 1)


def test_dice_and_remote_engines_may_be_asked_again() -> None:
    check_repeats(SPEC, 5)
    check_repeats(replace(SPEC, engine=cast(Any, "openai")), 5)
    with pytest.raises(UsageError, match="0 repeats; expected 1 or more"):
        check_repeats(SPEC, 0)
