"""One look at an experiment: units, not rows; matured needs only; missing is never a number."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from bakeoff.experiments.analyze import analyze as analyze_cohort
from bakeoff.experiments.model import Analysis, Arm, Budget, ExperimentSpec, Guardrail
from bakeoff.stats.sequential import half_width
from bakeoff.task import Metric
from cohorts import Need, cohort

NOW = datetime(2025, 1, 6, tzinfo=UTC)
ACCEPTED = Metric(name="accepted", unit="share", direction="higher", low=0.0, high=1.0, meaning="")
EDITS = Metric(name="edits", unit="edits", direction="lower", low=0.0, high=None, meaning="")
METRICS = (ACCEPTED, EDITS)
SPEC = ExperimentSpec(
    hypothesis="superiority",
    primary="accepted",
    guardrails=(Guardrail(metric="edits", margin=0.5, direction="lower"),),
    minimum_units=50,
    planned_units=400,
    horizon_units=10_000,
)


def need(arm: Arm, unit: int, *, matured: bool = True, **values: float | None) -> Need:
    return Need(unit_id=f"{arm}-{unit}", arm=arm, matured=matured, values=values)


def analyze(spec: ExperimentSpec, metrics: Sequence[Metric], rows: Sequence[Need], **how: Any) -> Analysis:
    adjustment = how.pop("adjustment", "")
    return analyze_cohort(spec, metrics, cohort(rows, **how), looked_at=NOW, adjustment=adjustment)


def needs(arm: Arm, rate: float, edits: float, *, units: int = 100, each: int = 2) -> list[Need]:
    rng = np.random.default_rng(len(arm))
    return [
        need(arm, u, accepted=float(rng.random() < rate), edits=float(rng.poisson(edits)))
        for u in range(units)
        for _ in range(each)
    ]


BOTH = needs("treated", 0.7, 1.0) + needs("control", 0.5, 1.5)


def test_difference_of_unit_level_means_with_the_confidence_sequence_of_the_notes() -> None:
    got = analyze(SPEC, METRICS, BOTH).of("accepted")
    assert got is not None

    def mean_and_se(arm: str) -> tuple[float, float]:
        units: dict[str, list[float]] = {}
        for row in BOTH:
            if row.arm == arm:
                units.setdefault(row.unit_id, []).append(float(row.values["accepted"] or 0))
        means = [np.mean(values) for values in units.values()]
        return float(np.mean(means)), float(np.std(means, ddof=1) / math.sqrt(len(means)))

    (t, t_se), (c, c_se) = mean_and_se("treated"), mean_and_se("control")
    se = math.hypot(t_se, c_se)
    assert got.estimate == pytest.approx(t - c)
    assert got.se == pytest.approx(se)
    assert got.lower == pytest.approx(t - c - half_width(se, 200, planned=400, alpha=0.05))
    assert got.harm_below == pytest.approx(t - c + half_width(se, 200, planned=400, alpha=0.025, one_sided=True))
    assert got.treated is not None
    assert (got.treated.units, got.treated.needs) == (100, 200)


def test_fewer_edits_are_an_advantage() -> None:
    got = analyze(SPEC, METRICS, BOTH).of("edits")
    assert got is not None
    assert got.estimate == pytest.approx(0.5, abs=0.3)
    assert got.direction == "lower"


def test_swapping_the_arms_mirrors_the_advantage() -> None:
    swap: dict[str, Arm] = {"treated": "control", "control": "treated"}
    mirrored = [replace(row, arm=swap[row.arm]) for row in BOTH]
    ours, theirs = (analyze(SPEC, METRICS, rows).of("accepted") for rows in (BOTH, mirrored))
    assert ours is not None and theirs is not None
    assert ours.estimate == pytest.approx(-(theirs.estimate or 0))


def test_needs_that_have_not_matured_count_as_exposed_and_as_nothing_else() -> None:
    late = [need("treated", u, matured=False, accepted=0.0, edits=9.0) for u in range(100, 140)]
    one, two = analyze(SPEC, METRICS, BOTH), analyze(SPEC, METRICS, BOTH + late)
    assert one.metrics == two.metrics
    assert (one.exposed["treated"], two.exposed["treated"]) == (100, 140)
    assert two.matured["treated"] == 100
    assert two.units == 200


def test_repeating_every_need_of_a_unit_adds_no_evidence() -> None:
    one, five = analyze(SPEC, METRICS, BOTH), analyze(SPEC, METRICS, BOTH * 5)
    first, second = one.of("accepted"), five.of("accepted")
    assert first is not None and second is not None
    assert second.se == pytest.approx(first.se)


def test_what_the_spec_does_not_name_is_shown_after_what_it_names() -> None:
    extra = Metric(name="kept", unit="share", direction="higher", low=0.0, high=1.0, meaning="")
    rows = [replace(row, values={**row.values, "kept": 0.5 + i % 2 / 4}) for i, row in enumerate(BOTH)]
    got = analyze(SPEC, (extra, *METRICS), rows)
    assert [metric.metric for metric in got.metrics] == ["accepted", "edits", "kept"]
    shown = got.of("kept")
    assert shown is not None and shown.treated is not None
    assert shown.treated.value == pytest.approx(0.625)


def test_the_order_of_events_does_not_matter() -> None:
    assert analyze(SPEC, METRICS, BOTH[::-1]) == analyze(SPEC, METRICS, BOTH)


def test_a_unit_in_both_arms_is_left_out_and_counted() -> None:
    stray = [Need(unit_id="stray", arm=arm, values={"accepted": 1.0, "edits": 0.0}) for arm in ("treated", "control")]
    got = analyze(SPEC, METRICS, BOTH + stray)
    assert got.in_two_arms == 1
    assert got.metrics == analyze(SPEC, METRICS, BOTH).metrics


def test_below_the_burn_in_nothing_is_computed() -> None:
    few = needs("treated", 0.7, 1.0, units=49) + needs("control", 0.5, 1.5)
    got = analyze(SPEC, METRICS, few).of("accepted")
    assert got is not None
    assert (got.state, got.estimate, got.harm_below) == ("burn_in", None, None)
    assert "49 matured units in the smaller arm; 50 are needed" in got.reason
    assert got.treated is not None


def test_a_metric_without_values_is_missing_and_not_zero() -> None:
    blind = [replace(row, values={**row.values, "edits": None}) for row in BOTH]
    got = analyze(SPEC, METRICS, blind).of("edits")
    assert got is not None
    assert (got.state, got.reason) == ("missing", "no value in treated and control")


def test_a_metric_that_goes_missing_in_one_arm_is_missing() -> None:
    holes = [
        replace(row, values={**row.values, "edits": None}) if row.arm == "treated" and i % 10 == 0 else row
        for i, row in enumerate(BOTH)
    ]
    got = analyze(SPEC, METRICS, holes).of("edits")
    assert got is not None
    assert got.state == "missing"
    assert "no value on 10.0% of treated and 0.0% of control needs" in got.reason


def test_an_event_that_never_happened_is_not_certain_to_be_absent() -> None:
    quiet = [need(arm, u, accepted=0.0, edits=1.0 + u % 2) for arm in ("treated", "control") for u in range(100)]
    got = analyze(SPEC, METRICS, quiet).of("accepted")
    assert got is not None
    assert got.state == "computed"
    assert got.proven_above is not None
    assert -0.08 < got.proven_above < -0.03


def test_constant_values_of_an_open_range_cannot_be_judged_but_a_constant_price_can() -> None:
    rows = [
        need(arm, u, accepted=float(u % 2), edits=1.0, cost=0.002) for arm in ("treated", "control") for u in range(80)
    ]
    spec = replace(SPEC, budgets=(Budget(metric="cost", maximum=0.01),))
    got = analyze(spec, METRICS, rows)
    edits, cost = got.of("edits"), got.of("cost")
    assert edits is not None and cost is not None
    assert edits.state == "burn_in"
    assert (cost.state, cost.treated_above) == ("computed", pytest.approx(0.002))


def test_every_budget_shares_alpha_with_everything_else_that_can_roll_back() -> None:
    """Primary, one guardrail, two budgets: each is watched at alpha / 4; the treated arm's N* is half of both."""
    budgets = (Budget(metric="latency_s", maximum=1.0), Budget(metric="cost", maximum=1.0))
    rows = [replace(row, values={**row.values, "latency_s": 1 + i % 3, "cost": 0.1}) for i, row in enumerate(BOTH)]
    got = analyze(replace(SPEC, budgets=budgets), METRICS, rows).of("latency_s")
    assert got is not None and got.treated is not None and got.treated.se is not None
    reach = half_width(got.treated.se, got.treated.units, planned=200, alpha=0.05 / 4, one_sided=True)
    assert got.treated_above == pytest.approx(got.treated.value - reach)


def test_sample_ratio_counts_exposed_units_even_if_they_never_came_back() -> None:
    silent = [need("treated", i) for i in range(1000)] + [need("control", i) for i in range(1300)]
    got = analyze(SPEC, METRICS, [*BOTH, *silent])
    assert (got.exposed["treated"], got.exposed["control"]) == (1000, 1300)
    assert got.srm_alarm
    assert not analyze(SPEC, METRICS, BOTH).srm_alarm


def test_each_phase_tests_its_own_split_and_the_evidence_multiplies() -> None:
    """A phase in which exposures were lost is not made up for by another."""
    rows = [replace(need(arm, n), phase=phase, unit_id=f"{arm}-{phase}-{n}")
            for phase, split in ((1, {"treated": 900, "control": 1300}), (2, {"treated": 1300, "control": 900}))
            for arm, count in split.items() for n in range(count)]  # fmt: skip
    got = analyze(SPEC, METRICS, rows)
    assert got.exposed == {"treated": 2200, "control": 2200}
    assert got.srm_alarm
    assert not analyze(SPEC, METRICS, [replace(row, phase=1) for row in rows]).srm_alarm


def test_an_analysis_survives_json() -> None:
    got = analyze(SPEC, METRICS, BOTH[:3])
    assert Analysis.from_json(json.loads(json.dumps(got.to_json(), allow_nan=False))) == got
    full = analyze(SPEC, METRICS, BOTH)
    assert Analysis.from_json(json.loads(json.dumps(full.to_json(), allow_nan=False))) == full


def test_nothing_seen_yet() -> None:
    got = analyze(SPEC, METRICS, [])
    assert [metric.state for metric in got.metrics] == ["missing", "missing"]
    young = analyze(SPEC, METRICS, [need("treated", 1, matured=False, accepted=1.0, edits=0.0)])
    assert [(metric.state, metric.reason) for metric in young.metrics] == [("burn_in", "nothing has matured yet")] * 2
    assert (got.units, got.srm_alarm) == (0, False)


# ---- the weeks before ----------------------------------------------------------------------------------------------


def with_past(
    effect: float = 0.0, *, units: int = 400, shift: float = 0.0
) -> tuple[list[Need], dict[str, dict[str, float]]]:
    """Units whose taste shows in one need before the test and in one during it."""
    rng = np.random.default_rng(5)
    rows, before = [], {}
    for n in range(units):
        arm: Arm = "treated" if n % 2 else "control"
        taste = rng.normal(0, 0.2)
        value = 0.5 + taste + rng.normal(0, 0.1) + effect * (arm == "treated")
        rows.append(need(arm, n, accepted=value, edits=rng.random()))
        before[f"{arm}-{n}"] = {"accepted": 0.5 + taste + rng.normal(0, 0.1) + shift * (arm == "treated"), "edits": 1.0}
    return rows, before


def test_what_units_did_before_makes_the_interval_narrower_and_leaves_the_arms_as_they_are() -> None:
    rows, before = with_past(0.1)
    plain, sharp = (
        analyze(SPEC, METRICS, rows).of("accepted"),
        analyze(SPEC, METRICS, rows, before=before).of("accepted"),
    )
    assert plain is not None and sharp is not None
    assert plain.se is not None and sharp.se is not None
    assert sharp.se < 0.75 * plain.se
    assert sharp.variance_cut == pytest.approx(1 - (sharp.se / plain.se) ** 2, abs=0.02)
    assert (plain.variance_cut, plain.unadjusted) == (None, plain.estimate)
    assert sharp.unadjusted == plain.estimate
    assert sharp.estimate == pytest.approx(0.1, abs=3 * sharp.se)
    assert (sharp.treated, sharp.control) == (plain.treated, plain.control)
    assert sharp.treated_above == plain.treated_above, "the arm's own value is not adjusted"


def test_the_past_is_used_only_where_it_may_be_and_where_enough_units_have_one() -> None:
    rows, before = with_past()
    few = dict(list(before.items())[:60])
    for how in ({"before": before, "adjustment": "test x was rolled back"}, {"before": few}):
        got = analyze(SPEC, METRICS, rows, **how)
        found = got.of("accepted")
        assert found is not None and found.variance_cut is None
        assert got.adjustment == how.get("adjustment", "")


def test_arms_that_differed_before_the_test_are_called_out() -> None:
    for shift, expected in ((0.0, False), (0.3, True)):
        rows, before = with_past(shift=shift)
        found = analyze(SPEC, METRICS, rows, before=before).of("accepted")
        assert found is not None and found.differed_before is expected


# ---- budgets of a quantile -----------------------------------------------------------------------------------------


def test_a_quantile_is_watched_by_the_share_of_needs_above_it() -> None:
    budget = Budget(metric="latency_s", maximum=2.0, statistic="p95")
    rows = [
        need(arm, u, accepted=float(u % 2), edits=1.0 + u % 3, **{budget.name: float(u % 4 == 0)})
        for arm in ("treated", "control") for u in range(100)
    ]  # fmt: skip
    spec = replace(SPEC, budgets=(budget,))
    found = analyze(spec, METRICS, rows).of("latency_s over 2")
    assert found is not None and found.treated is not None and found.treated_above is not None
    assert (found.treated.value, found.direction) == (0.25, "lower")
    assert budget.limit == pytest.approx(0.05) and found.treated_above > budget.limit
