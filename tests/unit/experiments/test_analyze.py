"""One look at an experiment: units, not rows; matured needs only; missing is never a number."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from bakeoff.experiments.analyze import analyze
from bakeoff.experiments.model import Analysis, Arm, Budget, ExperimentSpec, Guardrail, NeedOutcome
from bakeoff.stats.sequential import half_width
from bakeoff.task import Metric

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


def need(arm: Arm, unit: int, *, matured: bool = True, **values: float | None) -> NeedOutcome:
    return NeedOutcome(unit_id=f"{arm}-{unit}", arm=arm, exposed_at=NOW, matured=matured, values=values)


def needs(arm: Arm, rate: float, edits: float, *, units: int = 100, each: int = 2) -> list[NeedOutcome]:
    rng = np.random.default_rng(len(arm))
    return [
        need(arm, u, accepted=float(rng.random() < rate), edits=float(rng.poisson(edits)))
        for u in range(units)
        for _ in range(each)
    ]


BOTH = needs("treated", 0.7, 1.0) + needs("control", 0.5, 1.5)


def test_difference_of_unit_level_means_with_the_confidence_sequence_of_the_notes() -> None:
    got = analyze(SPEC, METRICS, BOTH, looked_at=NOW).of("accepted")
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
    got = analyze(SPEC, METRICS, BOTH, looked_at=NOW).of("edits")
    assert got is not None
    assert got.estimate == pytest.approx(0.5, abs=0.3)
    assert got.direction == "lower"


def test_swapping_the_arms_mirrors_the_advantage() -> None:
    swap: dict[str, Arm] = {"treated": "control", "control": "treated"}
    mirrored = [replace(row, arm=swap[row.arm]) for row in BOTH]
    ours, theirs = (analyze(SPEC, METRICS, rows, looked_at=NOW).of("accepted") for rows in (BOTH, mirrored))
    assert ours is not None and theirs is not None
    assert ours.estimate == pytest.approx(-(theirs.estimate or 0))


def test_needs_that_have_not_matured_count_as_exposed_and_as_nothing_else() -> None:
    late = [need("treated", u, matured=False, accepted=0.0, edits=9.0) for u in range(100, 140)]
    one, two = analyze(SPEC, METRICS, BOTH, looked_at=NOW), analyze(SPEC, METRICS, BOTH + late, looked_at=NOW)
    assert one.metrics == two.metrics
    assert (one.exposed["treated"], two.exposed["treated"]) == (100, 140)
    assert two.matured["treated"] == 100
    assert two.units == 200


def test_repeating_every_need_of_a_unit_adds_no_evidence() -> None:
    one, five = analyze(SPEC, METRICS, BOTH, looked_at=NOW), analyze(SPEC, METRICS, BOTH * 5, looked_at=NOW)
    first, second = one.of("accepted"), five.of("accepted")
    assert first is not None and second is not None
    assert second.se == pytest.approx(first.se)


def test_what_the_spec_does_not_name_is_shown_after_what_it_names() -> None:
    extra = Metric(name="kept", unit="share", direction="higher", low=0.0, high=1.0, meaning="")
    rows = [replace(row, values={**row.values, "kept": 0.5 + i % 2 / 4}) for i, row in enumerate(BOTH)]
    got = analyze(SPEC, (extra, *METRICS), rows, looked_at=NOW)
    assert [metric.metric for metric in got.metrics] == ["accepted", "edits", "kept"]
    shown = got.of("kept")
    assert shown is not None and shown.treated is not None
    assert shown.treated.value == pytest.approx(0.625)


def test_the_order_of_events_does_not_matter() -> None:
    assert analyze(SPEC, METRICS, BOTH[::-1], looked_at=NOW) == analyze(SPEC, METRICS, BOTH, looked_at=NOW)


def test_a_unit_in_both_arms_is_left_out_and_counted() -> None:
    stray = [
        NeedOutcome(unit_id="stray", arm=arm, exposed_at=NOW, matured=True, values={"accepted": 1.0, "edits": 0.0})
        for arm in ("treated", "control")
    ]
    got = analyze(SPEC, METRICS, BOTH + stray, looked_at=NOW)
    assert got.in_two_arms == 1
    assert got.metrics == analyze(SPEC, METRICS, BOTH, looked_at=NOW).metrics


def test_below_the_burn_in_nothing_is_computed() -> None:
    few = needs("treated", 0.7, 1.0, units=49) + needs("control", 0.5, 1.5)
    got = analyze(SPEC, METRICS, few, looked_at=NOW).of("accepted")
    assert got is not None
    assert (got.state, got.estimate, got.harm_below) == ("burn_in", None, None)
    assert "49 matured units in the smaller arm; 50 are needed" in got.reason
    assert got.treated is not None


def test_a_metric_without_values_is_missing_and_not_zero() -> None:
    blind = [replace(row, values={"accepted": row.values["accepted"]}) for row in BOTH]
    got = analyze(SPEC, METRICS, blind, looked_at=NOW).of("edits")
    assert got is not None
    assert (got.state, got.reason) == ("missing", "no value in treated and control")


def test_a_metric_that_goes_missing_in_one_arm_is_missing() -> None:
    holes = [
        replace(row, values={**row.values, "edits": None}) if row.arm == "treated" and i % 10 == 0 else row
        for i, row in enumerate(BOTH)
    ]
    got = analyze(SPEC, METRICS, holes, looked_at=NOW).of("edits")
    assert got is not None
    assert got.state == "missing"
    assert "no value on 10.0% of treated and 0.0% of control needs" in got.reason


def test_an_event_that_never_happened_is_not_certain_to_be_absent() -> None:
    quiet = [need(arm, u, accepted=0.0, edits=1.0 + u % 2) for arm in ("treated", "control") for u in range(100)]
    got = analyze(SPEC, METRICS, quiet, looked_at=NOW).of("accepted")
    assert got is not None
    assert got.state == "computed"
    assert got.proven_above is not None
    assert -0.08 < got.proven_above < -0.03


def test_constant_values_of_an_open_range_cannot_be_judged_but_a_constant_price_can() -> None:
    rows = [
        need(arm, u, accepted=float(u % 2), edits=1.0, cost=0.002) for arm in ("treated", "control") for u in range(80)
    ]
    spec = replace(SPEC, budgets=(Budget(metric="cost", maximum=0.01),))
    got = analyze(spec, METRICS, rows, looked_at=NOW)
    edits, cost = got.of("edits"), got.of("cost")
    assert edits is not None and cost is not None
    assert edits.state == "burn_in"
    assert (cost.state, cost.treated_above) == ("computed", pytest.approx(0.002))


def test_every_budget_shares_alpha_with_everything_else_that_can_roll_back() -> None:
    """Primary, one guardrail, two budgets: each is watched at alpha / 4; the treated arm's N* is half of both."""
    budgets = (Budget(metric="latency_s", maximum=1.0), Budget(metric="cost", maximum=1.0))
    rows = [replace(row, values={**row.values, "latency_s": 1 + i % 3, "cost": 0.1}) for i, row in enumerate(BOTH)]
    got = analyze(replace(SPEC, budgets=budgets), METRICS, rows, looked_at=NOW).of("latency_s")
    assert got is not None and got.treated is not None and got.treated.se is not None
    reach = half_width(got.treated.se, got.treated.units, planned=200, alpha=0.05 / 4, one_sided=True)
    assert got.treated_above == pytest.approx(got.treated.value - reach)


def test_sample_ratio_counts_exposed_units_even_if_they_never_came_back() -> None:
    exposed = {
        "treated": frozenset(f"treated-{i}" for i in range(1000)),
        "control": frozenset(f"control-{i}" for i in range(1300)),
    }
    got = analyze(SPEC, METRICS, BOTH, looked_at=NOW, exposed=exposed)
    assert (got.exposed["treated"], got.exposed["control"]) == (1000, 1300)
    assert got.srm_alarm
    assert not analyze(SPEC, METRICS, BOTH, looked_at=NOW).srm_alarm


def test_an_analysis_survives_json() -> None:
    got = analyze(SPEC, METRICS, BOTH[:3], looked_at=NOW)
    assert Analysis.from_json(json.loads(json.dumps(got.to_json(), allow_nan=False))) == got
    full = analyze(SPEC, METRICS, BOTH, looked_at=NOW)
    assert Analysis.from_json(json.loads(json.dumps(full.to_json(), allow_nan=False))) == full


def test_nothing_seen_yet() -> None:
    got = analyze(SPEC, METRICS, [], looked_at=NOW)
    assert [metric.state for metric in got.metrics] == ["missing", "missing"]
    assert (got.units, got.srm_alarm) == (0, False)


def test_values_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(ValueError, match="expected a finite number or None"):
        analyze(SPEC, METRICS, [need("treated", 1, accepted=math.nan)], looked_at=NOW)
