"""A sample answered twice: equality of a local engine, noise of a remote one, by worked numbers."""

from dataclasses import replace

import pytest

from bakeoff.inference.model import PolicySpec
from bakeoff.replay.certificate import certify, sample_size
from bakeoff.replay.model import ReplayRow
from bakeoff.stats.paired import compare_pairs
from bakeoff.task import Metric

SHARE = Metric(name="right", unit="share", direction="higher", low=0.0, high=1.0, meaning="right")
COUNT = Metric(name="edits", unit="edits", direction="lower", low=0.0, high=None, meaning="edits")
LOCAL = PolicySpec(task="toy", engine="python", prompt_version="1", function="toy:good", function_version="1")
REMOTE = replace(LOCAL, engine="openai")


def row(n: int, right: float | None, edits: float = 1.0, raw: str = "") -> ReplayRow:
    return ReplayRow(
        example_id=f"e{n}", unit_id=f"u{n // 2}", raw_answer=raw or str(right), parsed_answer={}, answer={},
        violations=(), metrics={"right": right, "edits": edits}, prompt_tokens=1, completion_tokens=1, latency_s=0.1,
        cost=0.0,
    )  # fmt: skip


FIRST = [row(n, float(n % 2)) for n in range(20)]


def test_equal_answers_are_counted() -> None:
    found = certify(LOCAL, FIRST, FIRST, [SHARE])
    assert (found.kind, found.rows, found.equal, found.deterministic, dict(found.noise)) == ("exact", 20, 20, True, {})
    other = [*FIRST[:-1], replace(FIRST[-1], raw_answer="else")]
    found = certify(LOCAL, FIRST, other, [SHARE])
    assert (found.equal, found.deterministic) == (19, False)


def test_the_same_words_read_differently_are_not_equal() -> None:
    other = [replace(FIRST[0], parsed_answer={"drink": "tea"}), *FIRST[1:]]
    assert certify(LOCAL, FIRST, other, [SHARE]).equal == 19


def test_noise_is_the_bound_of_the_mean_difference_clustered_by_unit() -> None:
    second = [row(n, 1.0 - (n % 2), edits=1.0 + 0.1 * n, raw="again") for n in range(20)]
    found = certify(REMOTE, FIRST, second, [SHARE, COUNT])
    assert (found.kind, found.equal, found.deterministic) == ("noise", 0, False)
    moved = [1.0 - 2 * (n % 2) for n in range(20)]
    shares = compare_pairs(moved, [f"u{n // 2}" for n in range(20)], alpha=0.025, span=1.0)
    edits = compare_pairs([0.1 * n for n in range(20)], [f"u{n // 2}" for n in range(20)], alpha=0.025)
    assert found.noise["right"] == max(-shares.lower, shares.upper)
    assert found.noise["edits"] == pytest.approx(max(-edits.lower, edits.upper))
    assert found.noise["edits"] > 0.95, "the mean moved by .95, and nobody knows it exactly"


def test_equal_answers_of_few_units_do_not_prove_silence() -> None:
    """Ten units without any difference leave room for 1 - .025^(1/10) = .31 of them."""
    found = certify(REMOTE, FIRST, FIRST, [SHARE, COUNT])
    assert found.deterministic
    assert found.noise == {"right": pytest.approx(1 - 0.025 ** (1 / 10))}, "without an end to its range: unknown"


def test_a_metric_that_never_applied_may_have_moved_by_all_of_its_range() -> None:
    nothing = [row(n, None) for n in range(4)]
    assert certify(REMOTE, nothing, nothing, [SHARE]).noise == {"right": 1.0}


def test_rows_that_lack_a_value_once_are_left_out() -> None:
    second = [row(0, None, raw="again"), *FIRST[1:]]
    found = certify(REMOTE, FIRST, second, [SHARE])
    moved = compare_pairs([0.0] * 19, [f"u{n // 2}" for n in range(1, 20)], alpha=0.025, span=1.0)
    assert (found.equal, found.noise["right"]) == (19, moved.upper)


def test_how_many_rows_are_answered_again() -> None:
    assert (sample_size(LOCAL, None), sample_size(REMOTE, None), sample_size(REMOTE, 3)) == (16, 40, 3)
