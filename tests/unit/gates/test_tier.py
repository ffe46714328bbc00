"""The stricter tests' pure parts: how two replays behaved, and what makes two gates the same question."""

import numpy as np

from bakeoff.fingerprint import digest
from bakeoff.gates.judge import judge
from bakeoff.gates.model import Absolute, Gate, PairedRow
from bakeoff.gates.tier import behaviour, question
from bakeoff.replay.scores import Scores
from bakeoff.task import Metric, StressCase

METRIC = Metric(name="right", unit="share", direction="higher", low=0.0, high=1.0, meaning="it was right")
GATE = Gate(name="g", rules=(Absolute(metric="right", column="right", minimum=0.5),))


def scores(latency_s: list[float], tokens: list[float]) -> Scores:
    n = len(latency_s)
    return Scores(
        example_ids=[f"e{k}" for k in range(n)],
        unit_ids=[f"u{k}" for k in range(n)],
        values={"latency_s": np.array(latency_s)},
        answered={
            "completion_tokens": np.array(tokens),
            "unreadable": np.zeros(n),
            "unserved": np.ones(n),
            "violating": np.arange(n) % 2.0,
        },
    )


def test_shares_means_and_percentiles_are_over_the_judged_rows() -> None:
    """Three of four rows: seconds 1, 2 and 4; the 95th percentile lies nine tenths of the way from 2 to 4."""
    side = scores([4.0, 99.0, 1.0, 2.0], [10, 99, 20, 40])
    found = behaviour(side, side, [0, 2, 3], same_answers=2)
    assert (found.rows, found.same_answers) == (3, 0.666666666667)
    assert found.candidate == found.incumbent
    assert (found.candidate.completion_tokens, found.candidate.violating) == (23.3333333333, 0.333333333333)
    assert (found.candidate.unreadable, found.candidate.unserved) == (0.0, 1.0)
    assert (found.candidate.latency_p50_s, found.candidate.latency_p95_s) == (2.0, 3.8)


def test_one_row_is_its_own_percentile() -> None:
    side = scores([3.0], [10])
    assert behaviour(side, side, [0], same_answers=1).candidate.latency_p95_s == 3.0


def test_a_question_is_the_digest_of_report_stress_requests_and_labels_in_order_of_example() -> None:
    """The same bytes whatever writes them: reports of earlier versions are found by it."""
    rows = [PairedRow(example_id="e", unit_id="u", neutral=True, candidate={"right": 1.0}, incumbent={"right": 1.0})]
    report = judge(GATE, (METRIC,), rows)
    case = StressCase(name="hard", request={"x": 1e-07, "n": None}, allowed=frozenset({"b", "a"}))
    labels = {"e2": {"region": "süd", "mode": "x"}, "e1": {"mode": "1e5", "region": "null"}}
    asked = [["hard", {"x": 1e-07, "n": None}, ["a", "b"]]]
    expected = digest([report.digest, asked, [["e1", labels["e1"]], ["e2", labels["e2"]]]])
    assert question(report, [case], labels) == expected
    assert question(report, [case], {**labels, "e1": {"mode": "1e5", "region": ""}}) != expected
    assert question(report, [], labels) != expected
