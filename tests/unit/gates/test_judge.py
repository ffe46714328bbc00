"""The gate's rules, one by one: what passes, what fails, and all that must stay inconclusive."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.errors import UsageError
from bakeoff.gates.judge import judge, overall
from bakeoff.gates.model import Absolute, Gate, GateReport, NonInferior, Outcome, PairedRow, Shown, Verdict
from bakeoff.task import Calibration, Metric

QUALITY = Metric(name="quality", unit="share", direction="higher", low=0.0, high=1.0, meaning="")
EFFORT = Metric(name="effort", unit="share", direction="lower", low=0.0, high=1.0, meaning="")
RESPECT = Metric(name="respect", unit="share", direction="higher", low=0.0, high=1.0, meaning="")
METRICS = (QUALITY, EFFORT, RESPECT)
QUALITY_GATE = Gate(name="t", rules=(NonInferior(metric="quality", margin=0.05),))


Value = Callable[[int], float | None] | float | None


def at(value: Value, i: int) -> float | None:
    return value(i) if callable(value) else value


def rows_of(
    candidate: Value,
    incumbent: Value,
    *,
    n: int = 120,
    units: int | None = None,
    metric: str = "quality",
    neutral: Callable[[int], bool] | bool = True,
) -> list[PairedRow]:
    return [
        PairedRow(
            example_id=f"e{i:04}",
            unit_id=f"u{i % (units or n)}",
            neutral=bool(at(neutral, i)),
            candidate={metric: at(candidate, i)},
            incumbent={metric: at(incumbent, i)},
        )
        for i in range(n)
    ]


def noise(i: int, scale: float = 0.1) -> float:
    """A fixed, balanced pattern without ties."""
    return scale * np.sin(1 + 2.399963 * i)


def only(report: GateReport, metric: str = "quality") -> Verdict:
    return next(v for v in report.all_verdicts() if v.metric == metric)


def test_as_good_as_the_incumbent_within_the_margin_passes() -> None:
    report = judge(QUALITY_GATE, METRICS, rows_of(lambda i: 0.6 + noise(i), 0.6))
    verdict = only(report)
    assert report.verdict is Outcome.PASS
    assert verdict.lower is not None
    assert verdict.lower > -0.05
    assert "not worse by more than 0.05" in verdict.reason


def test_a_planted_regression_fails_even_inside_the_margin() -> None:
    gate = Gate(name="t", rules=(NonInferior(metric="quality", margin=0.2),))
    report = judge(gate, METRICS, rows_of(lambda i: 0.55 + noise(i), 0.6))
    verdict = only(report)
    assert verdict.lower is not None
    assert verdict.lower > -0.2
    assert verdict.outcome is report.verdict is Outcome.FAIL
    assert "worse than the incumbent beyond doubt" in verdict.reason


def test_no_significant_difference_is_not_enough_to_pass() -> None:
    report = judge(QUALITY_GATE, METRICS, rows_of(lambda i: 0.5 + noise(i, 0.45), 0.5, n=40))
    verdict = only(report)
    assert verdict.outcome is report.verdict is Outcome.INCONCLUSIVE
    assert verdict.units_needed is not None
    assert verdict.units_needed > 40
    assert "more units would probably settle it" in verdict.reason
    assert report.missing_evidence() == [f"quality: {verdict.reason}"]


def test_fewer_than_30_effective_units_never_pass_however_clear() -> None:
    report = judge(QUALITY_GATE, METRICS, rows_of(lambda i: 0.9 + noise(i, 0.01), 0.5, units=29))
    assert only(report).outcome is Outcome.INCONCLUSIVE
    assert "120 rows of 29 units count as 28.8 independent units" in only(report).reason
    enough = judge(QUALITY_GATE, METRICS, rows_of(lambda i: 0.9 + noise(i, 0.01), 0.5, units=30))
    assert only(enough).outcome is Outcome.PASS
    assert "better than the incumbent" in only(enough).reason


def test_thirty_units_of_which_one_has_most_rows_are_not_thirty_effective_units() -> None:
    rows = rows_of(lambda i: 0.9 + noise(i, 0.01), 0.5, n=120)
    lumpy = [replace(row, unit_id="big") if i < 80 else row for i, row in enumerate(rows)]
    verdict = only(judge(QUALITY_GATE, METRICS, lumpy))
    assert verdict.units == 41
    assert verdict.effective_units < 5
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_significant_harm_fails_even_with_few_units() -> None:
    report = judge(QUALITY_GATE, METRICS, rows_of(lambda i: 0.2 + noise(i, 0.01), 0.5, n=12))
    assert only(report).outcome is Outcome.FAIL


def test_lower_is_better_turns_the_sign_and_nothing_else() -> None:
    gate = Gate(name="t", rules=(NonInferior(metric="effort", margin=0.05),))
    better = rows_of(lambda i: 0.3 + noise(i), 0.6, metric="effort")
    worse = rows_of(0.6, lambda i: 0.3 + noise(i), metric="effort")
    assert only(judge(gate, METRICS, better), "effort").outcome is Outcome.PASS
    assert only(judge(gate, METRICS, worse), "effort").outcome is Outcome.FAIL
    verdict = only(judge(gate, METRICS, better), "effort")
    assert verdict.estimate == pytest.approx(0.3, abs=0.02)
    assert (verdict.candidate, verdict.incumbent) == (pytest.approx(0.3, abs=0.02), pytest.approx(0.6))


def test_all_ties_need_59_units_for_a_margin_of_five_points() -> None:
    """1 - .05^(1/59) = .0495; with 58 units it is .0503."""
    enough = judge(QUALITY_GATE, METRICS, rows_of(0.7, 0.7, n=59))
    short = judge(QUALITY_GATE, METRICS, rows_of(0.7, 0.7, n=58))
    assert only(enough).outcome is Outcome.PASS
    assert only(short).outcome is Outcome.INCONCLUSIVE
    assert only(short).units_needed == 59


@pytest.mark.parametrize("side", ["candidate", "incumbent"])
def test_values_missing_on_one_side_are_inconclusive_above_two_percent(side: str) -> None:
    def values(share: float) -> list[PairedRow]:
        rows = rows_of(lambda i: 0.8 + noise(i), 0.6, n=200)
        holes = round(200 * share)
        return [replace(r, **{side: {"quality": None}}) if i < holes else r for i, r in enumerate(rows)]

    assert only(judge(QUALITY_GATE, METRICS, values(0.02))).outcome is Outcome.PASS
    verdict = only(judge(QUALITY_GATE, METRICS, values(0.025)))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert f"the {side} has no value on 2.5% of 200 rows" in verdict.reason
    assert getattr(verdict, f"missing_{side}") == pytest.approx(0.025)


def test_rows_where_a_metric_applies_to_neither_side_are_left_out_and_not_missing() -> None:
    rows = rows_of(lambda i: 0.8 + noise(i) if i % 2 else None, lambda i: 0.6 if i % 2 else None, n=200)
    verdict = only(judge(QUALITY_GATE, METRICS, rows))
    assert (verdict.pairs, verdict.missing_candidate) == (100, 0.0)
    assert verdict.outcome is Outcome.PASS


def test_a_candidate_that_only_answers_the_easy_rows_does_not_pass() -> None:
    rows = rows_of(lambda i: 0.9 + noise(i, 0.01) if i % 2 else None, 0.6, n=200)
    assert only(judge(QUALITY_GATE, METRICS, rows)).outcome is Outcome.INCONCLUSIVE


def test_no_rows_at_all_are_inconclusive() -> None:
    gate = replace(QUALITY_GATE, rules=(*QUALITY_GATE.rules, Absolute(metric="respect", column="respect", minimum=1)))
    report = judge(gate, METRICS, [])
    assert report.verdict is Outcome.INCONCLUSIVE
    assert len(report.missing_evidence()) == 2
    assert report.rows == report.units == 0


def test_neutral_rules_look_at_neutral_rows_only() -> None:
    """On its own rows the incumbent looks better by far; on neutral rows the candidate is."""
    gate = Gate(name="t", rules=(NonInferior(metric="quality", margin=0.05, rows="neutral"),))
    rows = rows_of(lambda i: (0.8 if i % 2 else 0.2) + noise(i, 0.05), 0.6, n=160, neutral=lambda i: bool(i % 2))
    report = judge(gate, METRICS, rows)
    assert report.neutral_rows == only(report).pairs == 80
    assert only(report).outcome is Outcome.PASS
    anchored = Gate(name="t", rules=(NonInferior(metric="quality", margin=0.05),))
    assert only(judge(anchored, METRICS, rows)).outcome is not Outcome.PASS


def test_too_few_neutral_rows_say_so() -> None:
    gate = Gate(name="t", rules=(NonInferior(metric="quality", margin=0.05, rows="neutral"),))
    rows = rows_of(lambda i: 0.8 + noise(i), 0.6, neutral=lambda i: i < 5)
    assert "5 neutral rows of 5 units" in only(judge(gate, METRICS, rows)).reason
    none = rows_of(lambda i: 0.8 + noise(i), 0.6, neutral=False)
    assert "no neutral row" in only(judge(gate, METRICS, none)).reason


def test_one_violation_in_a_thousand_rows_breaks_a_promise_of_none() -> None:
    gate = Gate(name="t", rules=(Absolute(metric="respect", column="respect", minimum=1.0),))
    kept = rows_of(1.0, 0.5, metric="respect", n=1000)
    broken = [replace(kept[0], candidate={"respect": 0.0}), *kept[1:]]
    assert judge(gate, METRICS, kept).verdict is Outcome.PASS
    report = judge(gate, METRICS, broken)
    assert report.verdict is Outcome.FAIL
    assert "1 of 1000 rows beyond it" in only(report, "respect").reason


def test_a_kept_promise_needs_enough_units_but_a_broken_one_fails_at_once() -> None:
    gate = Gate(name="t", rules=(Absolute(metric="respect", column="respect", minimum=0.98),))
    kept = rows_of(1.0, 1.0, metric="respect", n=10)
    broken = rows_of(0.9, 1.0, metric="respect", n=10)
    assert judge(gate, METRICS, kept).verdict is Outcome.INCONCLUSIVE
    assert judge(gate, METRICS, broken).verdict is Outcome.FAIL


def test_a_promise_about_values_that_are_missing_is_not_kept() -> None:
    gate = Gate(name="t", rules=(Absolute(metric="respect", column="respect", minimum=1.0),))
    rows = rows_of(lambda i: 1.0 if i > 5 else None, None, metric="respect", n=100)
    report = judge(gate, METRICS, rows)
    assert report.verdict is Outcome.INCONCLUSIVE
    assert only(report, "respect").missing_candidate == pytest.approx(0.06)


LATENCY_GATE = Gate(
    name="t",
    rules=(
        NonInferior(metric="quality", margin=0.05),
        Absolute(metric="latency_p95_s", column="latency_s", statistic="p95", maximum=2.0, wall_clock=True),
    ),
)


def timed(seconds: Value, n: int = 120) -> list[PairedRow]:
    rows = rows_of(lambda i: 0.6 + noise(i), 0.6, n=n)
    return [
        replace(
            row, candidate={**row.candidate, "latency_s": at(seconds, i)}, incumbent={**row.incumbent, "latency_s": 9.0}
        )
        for i, row in enumerate(rows)
    ]


def test_latency_is_judged_against_its_budget_and_not_against_the_incumbent() -> None:
    assert judge(LATENCY_GATE, METRICS, timed(lambda i: 1 + i / 240)).verdict is Outcome.PASS
    slow = judge(LATENCY_GATE, METRICS, timed(lambda i: 3.0 if i % 10 == 0 else 1.0))
    assert slow.verdict is Outcome.FAIL
    assert [v.metric for v in slow.wall_clock] == ["latency_p95_s"]
    few = judge(LATENCY_GATE, METRICS, timed(1.0, n=75))
    assert only(few, "latency_p95_s").outcome is Outcome.INCONCLUSIVE
    assert "76 rows" in only(few, "latency_p95_s").reason


def test_measured_seconds_do_not_move_the_digest_but_crossing_the_budget_does() -> None:
    one = judge(LATENCY_GATE, METRICS, timed(lambda i: 1 + i / 240))
    two = judge(LATENCY_GATE, METRICS, timed(lambda i: 1.1 + i / 300))
    slow = judge(LATENCY_GATE, METRICS, timed(3.0))
    assert one.wall_clock != two.wall_clock
    assert one.digest == two.digest != slow.digest


def test_the_digest_covers_rows_gate_and_subject() -> None:
    rows = rows_of(lambda i: 0.6 + noise(i), 0.6)
    base = judge(QUALITY_GATE, METRICS, rows, subject={"dataset": "d1"})
    other_row = [replace(rows[0], candidate={"quality": 0.601}), *rows[1:]]
    stricter = replace(QUALITY_GATE, minimum_effective_units=31)
    digests = {
        base.digest,
        judge(QUALITY_GATE, METRICS, rows, subject={"dataset": "d2"}).digest,
        judge(QUALITY_GATE, METRICS, other_row, subject={"dataset": "d1"}).digest,
        judge(stricter, METRICS, rows, subject={"dataset": "d1"}).digest,
    }
    assert len(digests) == 4


def test_holm_guards_the_family_against_false_alarms_but_not_against_real_harm() -> None:
    """One metric of two at p = .03 alone is no FAIL; alone in its gate it is one."""
    rows = [
        PairedRow(
            example_id=f"e{i:03}",
            unit_id=f"u{i}",
            neutral=True,
            candidate={"quality": 0.5 + noise(i) - 0.0158, "respect": 0.5 + noise(i + 7)},
            incumbent={"quality": 0.5, "respect": 0.5},
        )
        for i in range(60)
    ]
    alone = judge(QUALITY_GATE, METRICS, rows)
    both = replace(QUALITY_GATE, rules=(*QUALITY_GATE.rules, NonInferior(metric="respect", margin=0.05)))
    assert only(alone).outcome is Outcome.FAIL
    assert only(judge(both, METRICS, rows)).outcome is not Outcome.FAIL


def test_a_metric_with_missing_values_does_not_shield_the_others_from_failing() -> None:
    """It is out of the family: its p-value means nothing, and must not cost the others their alpha."""
    rows = rows_of(lambda i: 0.5 + noise(i) - 0.0158, 0.5, n=60)
    holes = [
        replace(
            row,
            candidate={**row.candidate, "respect": None if i < 10 else 0.5 + noise(i)},
            incumbent={**row.incumbent, "respect": 0.5},
        )
        for i, row in enumerate(rows)
    ]
    both = replace(QUALITY_GATE, rules=(*QUALITY_GATE.rules, NonInferior(metric="respect", margin=0.05)))
    report = judge(both, METRICS, holes)
    assert only(report, "respect").outcome is Outcome.INCONCLUSIVE
    assert only(report).outcome is report.verdict is Outcome.FAIL


def test_seconds_stay_out_of_the_digest_even_where_no_rule_reads_them() -> None:
    one, two = (judge(QUALITY_GATE, METRICS, timed(seconds)) for seconds in (0.1, 0.2))
    assert one.digest == two.digest


# ---- where neutral rows are too few: design rule 6 ----

RULE_6 = Gate(
    name="t",
    rules=(
        NonInferior(metric="quality", margin=0.05, rows="neutral", fallback="effort"),
        NonInferior(metric="effort", margin=0.05, maximum_bias=0.1),
    ),
)
TRUE = Calibration(metric="effort", bias=0.01, bias_se=0.02, rows=80, units=40)


def predicted(effort: float, *, neutral: int = 8, n: int = 120) -> list[PairedRow]:
    """Quality as good as the incumbent's on a few neutral rows; predicted effort differs by `effort` on all."""
    return [
        replace(
            row,
            candidate={**row.candidate, "effort": 0.5 + effort + noise(i)},
            incumbent={**row.incumbent, "effort": 0.5},
        )
        for i, row in enumerate(rows_of(lambda i: 0.6 + noise(i), 0.6, n=n, neutral=lambda i: i < neutral))
    ]


def test_a_calibrated_prediction_decides_where_neutral_rows_are_too_few() -> None:
    report = judge(RULE_6, METRICS, predicted(-0.1), calibrations=[TRUE])
    verdict = only(report)
    assert report.verdict is verdict.outcome is Outcome.PASS
    assert (verdict.fallback, verdict.pairs, verdict.rows) == ("effort", 8, "neutral")
    assert "8 neutral rows of 8 units are too few, so effort decides over all rows" in verdict.reason
    assert "can prove that it is not worse by 0.05, not that it is better" in verdict.reason
    assert "predicted minus actual +0.01 (standard error 0.02, 80 rows of 40 units)" in verdict.reason
    assert only(report, "effort").fallback is None


def test_where_neutral_rows_are_enough_they_decide_whatever_the_prediction_says() -> None:
    bad = Calibration(metric="effort", bias=0.5, bias_se=0.02, rows=80, units=40)
    report = judge(RULE_6, METRICS, predicted(-0.1, neutral=120), calibrations=[bad])
    assert only(report).outcome is Outcome.PASS
    assert only(report).fallback is None
    assert report.verdict is Outcome.PASS, "its own rule is about the difference, in which a shared bias cancels"


@pytest.mark.parametrize("neutral", [0, 8])
@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "effort was never compared with what people did"),
        ([replace(TRUE, bias=0.08)], "effort is not calibrated"),
        ([replace(TRUE, bias=-0.08)], "so its bias may be 0.114; the gate allows 0.1"),
        ([replace(TRUE, bias_se=None)], "too few to trust it"),
        ([replace(TRUE, units=1)], "too few to trust it"),
        ([replace(TRUE, metric="other")], "effort was never compared"),
    ],
)
def test_a_prediction_that_is_off_or_unchecked_decides_nothing(
    found: list[Calibration], message: str, neutral: int
) -> None:
    report = judge(RULE_6, METRICS, predicted(-0.1, neutral=neutral), calibrations=found)
    assert report.verdict is only(report).outcome is Outcome.INCONCLUSIVE
    assert message in only(report).reason
    assert f"{neutral} neutral rows" in only(report).reason


def test_the_bound_of_the_bias_is_that_of_two_one_sided_tests() -> None:
    """|-.03| + t(.95, 39 df) * .02 = .03 + 1.684875 * .02, from a t table."""
    (check,) = judge(RULE_6, METRICS, predicted(0), calibrations=[replace(TRUE, bias=-0.03)]).calibrations
    assert check.bound == pytest.approx(0.03 + 1.684875 * 0.02, abs=1e-7)
    assert (check.maximum, check.holds) == (0.1, True)


def test_a_prediction_of_more_work_fails_and_one_that_is_open_stays_open() -> None:
    worse = judge(RULE_6, METRICS, predicted(0.1), calibrations=[TRUE])
    assert only(worse).outcome is only(worse, "effort").outcome is Outcome.FAIL
    few = judge(RULE_6, METRICS, predicted(-0.1, n=20), calibrations=[TRUE])
    assert only(few).outcome is Outcome.INCONCLUSIVE
    assert "30 are needed" in only(few).reason


def test_harm_on_few_neutral_rows_fails_although_the_prediction_is_fine() -> None:
    rows = [
        replace(row, candidate={**row.candidate, "quality": 0.2 + noise(i, 0.01)}) if i < 12 else row
        for i, row in enumerate(predicted(-0.1, neutral=12))
    ]
    report = judge(RULE_6, METRICS, rows, calibrations=[TRUE])
    assert only(report).outcome is Outcome.FAIL
    assert only(report).fallback is None


def test_values_missing_on_neutral_rows_are_not_too_few_rows() -> None:
    """Else a candidate could dodge the metric and let the prediction speak for it."""
    rows = [replace(row, candidate={**row.candidate, "quality": None}) for row in predicted(-0.1)]
    report = judge(RULE_6, METRICS, rows, calibrations=[TRUE])
    assert only(report).outcome is Outcome.INCONCLUSIVE
    assert only(report).fallback is None


def test_a_score_that_must_not_fall_below_does_so_by_the_prediction_too() -> None:
    strict = replace(RULE_6, rules=(replace(RULE_6.rules[0], not_below=True), RULE_6.rules[1]))
    assert only(judge(RULE_6, METRICS, predicted(0.005), calibrations=[TRUE])).outcome is Outcome.PASS
    report = judge(strict, METRICS, predicted(0.005), calibrations=[TRUE])
    assert only(report).outcome is Outcome.INCONCLUSIVE
    assert "below the incumbent, although within the margin" in only(report).reason


def test_anchored_rows_are_shown_apart_and_decide_nothing() -> None:
    """On its own rows the incumbent looks better by far; that is no verdict."""
    rows = [
        replace(row, candidate={**row.candidate, "quality": 0.1}) if i >= 60 else row
        for i, row in enumerate(predicted(-0.1, neutral=60))
    ]
    report = judge(RULE_6, METRICS, rows, calibrations=[TRUE])
    (anchored,) = report.anchored
    assert (anchored.metric, anchored.rows, anchored.outcome, anchored.pairs) == (
        "quality", "anchored", Outcome.SHOWN, 60,
    )  # fmt: skip
    assert anchored.estimate == pytest.approx(-0.5)
    assert report.verdict is Outcome.PASS
    assert judge(QUALITY_GATE, METRICS, rows).anchored == (), "what is judged on all rows has no other side"


# ---- remote engines ----


@pytest.mark.parametrize(
    ("moved", "outcome"),
    [({"quality": 0.049}, "PASS"), ({"quality": 0.05}, "INCONCLUSIVE"), ({}, "INCONCLUSIVE"), (None, "PASS")],
)
def test_an_engine_whose_mean_moves_by_the_margin_proves_nothing(moved: dict[str, float] | None, outcome: str) -> None:
    """What was not measured may move without limit; None: the answers are the same in every run."""
    report = judge(QUALITY_GATE, METRICS, rows_of(lambda i: 0.9 + noise(i), 0.6), noise=moved)
    assert report.verdict is Outcome(outcome)
    assert only(report).noise == (moved or {}).get("quality")
    if outcome == "INCONCLUSIVE":
        assert "a remote engine may answer differently in the next run" in only(report).reason


def test_noise_is_no_excuse_for_harm() -> None:
    report = judge(QUALITY_GATE, METRICS, rows_of(lambda i: 0.2 + noise(i), 0.6), noise={"quality": 0.5})
    assert report.verdict is Outcome.FAIL


SCORE_GATE = Gate(
    name="t",
    rules=(NonInferior(metric="offline_eval_score", margin=0.05, not_below=True),),
    weights={"quality": 3.0, "effort": 1.0},
)


def scored(quality: float, effort: float) -> list[PairedRow]:
    return [
        replace(
            row,
            candidate={"quality": quality + noise(i, 0.02), "effort": effort},
            incumbent={"quality": 0.6, "effort": 0.4},
        )
        for i, row in enumerate(rows_of(0.0, 0.0, n=200))
    ]


def test_the_score_is_the_declared_weighted_mean_with_1_as_the_best() -> None:
    verdict = only(judge(SCORE_GATE, METRICS, scored(0.8, 0.4)), "offline_eval_score")
    assert verdict.incumbent == pytest.approx((3 * 0.6 + 1 * 0.6) / 4)
    assert verdict.estimate == pytest.approx(0.75 * 0.2, abs=0.002)
    assert verdict.outcome is Outcome.PASS


def test_the_score_must_also_be_at_least_the_incumbents() -> None:
    """A hair below: within the margin, not significant, and still not enough."""
    rows = scored(0.5999, 0.4)
    verdict = only(judge(SCORE_GATE, METRICS, rows), "offline_eval_score")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "below the incumbent, although within the margin" in verdict.reason
    lenient = replace(SCORE_GATE, rules=(NonInferior(metric="offline_eval_score", margin=0.05),))
    assert only(judge(lenient, METRICS, rows), "offline_eval_score").outcome is Outcome.PASS


def test_the_score_moves_at_most_as_much_as_its_noisiest_part() -> None:
    rows = scored(0.8, 0.4)
    for moved, outcome in ((0.04, Outcome.PASS), (0.06, Outcome.INCONCLUSIVE)):
        report = judge(SCORE_GATE, METRICS, rows, noise={"quality": 0.01, "effort": moved})
        assert only(report, "offline_eval_score").outcome is outcome
    report = judge(SCORE_GATE, METRICS, rows, noise={"quality": 0.01})
    assert only(report, "offline_eval_score").outcome is Outcome.INCONCLUSIVE


def test_dropping_a_metric_does_not_raise_the_score() -> None:
    rows = [replace(row, candidate={"quality": 0.9, "effort": None}) for row in scored(0.9, 0.9)]
    assert only(judge(SCORE_GATE, METRICS, rows), "offline_eval_score").outcome is Outcome.INCONCLUSIVE


def test_what_is_not_gated_is_shown_and_does_not_decide() -> None:
    gate = replace(QUALITY_GATE, rules=(*QUALITY_GATE.rules, Shown(metric="effort", rows="neutral")))
    rows = [
        replace(
            row,
            candidate={**row.candidate, "effort": 0.9, "respect": 0.1},
            incumbent={**row.incumbent, "effort": 0.1, "respect": 0.9},
        )
        for row in rows_of(lambda i: 0.6 + noise(i), 0.6)
    ]
    report = judge(gate, METRICS, rows)
    assert report.verdict is Outcome.PASS
    assert {v.metric: v.outcome for v in report.verdicts if v.metric != "quality"} == {
        "effort": Outcome.SHOWN,
        "respect": Outcome.SHOWN,
    }
    assert only(report, "effort").estimate == pytest.approx(-0.8)


def test_a_gate_without_rules_passes_nobody() -> None:
    report = judge(Gate(name="empty", rules=()), METRICS, rows_of(1.0, 0.0))
    assert report.verdict is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [("PPS", "PASS"), ("PIP", "INCONCLUSIVE"), ("PIF", "FAIL"), ("S", "INCONCLUSIVE"), ("", "INCONCLUSIVE")],
)
def test_overall_verdict(outcomes: str, expected: str) -> None:
    names = {"P": Outcome.PASS, "I": Outcome.INCONCLUSIVE, "F": Outcome.FAIL, "S": Outcome.SHOWN}
    assert overall([names[letter] for letter in outcomes]) is Outcome(expected)


def test_mistakes_in_the_input_are_named() -> None:
    rows = rows_of(0.5, 0.5)
    with pytest.raises(UsageError, match="rules about nonsense"):
        judge(Gate(name="t", rules=(NonInferior(metric="nonsense", margin=0.1),)), METRICS, rows)
    with pytest.raises(UsageError, match="effort, which needs a non_inferior rule"):
        judge(Gate(name="t", rules=RULE_6.rules[:1]), METRICS, rows)
    with pytest.raises(UsageError, match="e0000 appears twice"):
        judge(QUALITY_GATE, METRICS, [*rows, rows[0]])
    with pytest.raises(UsageError, match="expected a number from"):
        judge(QUALITY_GATE, METRICS, rows_of(1.5, 0.5))
    with pytest.raises(UsageError, match="candidate's quality is nan"):
        judge(QUALITY_GATE, METRICS, rows_of(float("nan"), 0.5))


values = st.one_of(st.none(), st.floats(0, 1).map(lambda x: round(x, 4)))


@settings(max_examples=60)
@given(st.lists(st.tuples(values, values, st.integers(0, 40), st.booleans()), max_size=80), st.randoms())
def test_the_report_does_not_depend_on_the_order_of_rows_and_survives_json(data, random) -> None:
    rows = [
        PairedRow(
            example_id=f"e{i}",
            unit_id=f"u{unit}",
            neutral=neutral,
            candidate={"quality": ours, "effort": theirs, "latency_s": 0.1},
            incumbent={"quality": theirs, "effort": ours, "latency_s": 0.2},
        )
        for i, (ours, theirs, unit, neutral) in enumerate(data)
    ]
    gate = replace(LATENCY_GATE, weights={"quality": 1.0}, rules=(*LATENCY_GATE.rules, *SCORE_GATE.rules))
    report = judge(gate, METRICS, rows)
    assert judge(gate, METRICS, random.sample(rows, len(rows))) == report
    assert GateReport.from_json(report.to_json()) == report
