"""Planning an experiment before any traffic."""

from dataclasses import replace

import pytest

from bakeoff.experiments.model import ExperimentSpec, Guardrail
from bakeoff.experiments.plan import History, outlook, plan, smallest_start
from bakeoff.stats.power import detectable_difference

SPEC = ExperimentSpec(hypothesis="superiority", primary="accepted", horizon_weeks=8, stages=(1000, 5000))
HISTORY = History(metric="accepted", mean=0.6, sd=0.35, units=4000)


def test_each_stage_says_what_it_could_show() -> None:
    got = plan(SPEC, HISTORY, weeks=4)
    small, large = got.reaches
    assert (small.units_per_arm, large.units_per_arm) == (400, 2000)
    assert large.detectable == pytest.approx(detectable_difference(0.35, 2000, planned=2000))
    assert large.relative == pytest.approx((large.detectable or 0) / 0.6)
    assert (small.detectable or 0) > (large.detectable or 0)


def test_the_smallest_start_reaches_the_burn_in_and_not_one_basis_point_less() -> None:
    start = plan(SPEC, HISTORY, weeks=4).start_bp
    assert start == 250
    assert HISTORY.units * start / 10_000 >= 100 > HISTORY.units * (start - 1) / 10_000


def test_a_thousand_units_are_just_testable_and_999_are_not() -> None:
    assert smallest_start(SPEC, replace(HISTORY, units=1000), weeks=4) == 1000
    got = plan(SPEC, replace(HISTORY, units=999), weeks=4)
    assert got.start_bp is None
    assert got.units_needed == 1000
    assert got.reason.startswith("not testable: 10 % of 999 units give 100 per arm")


def test_new_units_arrive_over_the_weeks() -> None:
    growing = replace(HISTORY, units=500, new_units_per_week=100)
    assert smallest_start(SPEC, growing, weeks=1) is None
    assert smallest_start(SPEC, growing, weeks=6) == 1000
    assert smallest_start(SPEC, replace(HISTORY, units=0), weeks=4) is None


def test_a_stage_below_the_burn_in_promises_nothing() -> None:
    got = plan(SPEC, replace(HISTORY, units=900), weeks=4)
    assert got.reaches[0].detectable is None
    assert got.reaches[1].detectable is not None


def test_it_says_when_no_decision_is_to_be_expected() -> None:
    wishful = replace(SPEC, minimum_effect=0.01)
    assert "expect no decision" in plan(wishful, HISTORY, weeks=4).reason
    assert "expect no decision" not in plan(replace(SPEC, minimum_effect=0.2), HISTORY, weeks=4).reason


GUARDED = replace(
    SPEC,
    guardrails=(
        Guardrail(metric="fallback", margin=0.02, direction="lower", kind="ramp"),
        Guardrail(metric="kept", margin=0.05, direction="higher"),
    ),
)


def past(metric: str, units: int) -> History:
    return replace(HISTORY, metric=metric, units=units)


def test_the_start_serves_every_metric_that_the_ramp_needs() -> None:
    """`kept` may mature later, so that it has few units so far stops nobody."""
    got = outlook(GUARDED, [past("accepted", 4000), past("fallback", 2000), past("kept", 500)], weeks=4)
    assert (got.start_bp, got.unknown) == (500, ())
    assert [found.metric for found in got.plans] == ["accepted", "fallback", "kept"]
    assert got.reason.startswith("fallback: start at 5 %")


def test_what_cannot_be_tested_says_by_which_metric() -> None:
    got = outlook(GUARDED, [past("accepted", 4000), past("fallback", 900)], weeks=4)
    assert (got.start_bp, got.unknown) == (None, ("kept",))
    assert got.reason.startswith("fallback: not testable: 10 % of 900 units")
    nothing = outlook(GUARDED, [], weeks=4)
    assert nothing.reason == "not testable: the log says nothing of accepted, fallback, kept"
