"""The ramp: every way to advance, hold, roll back, ship and keep."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.errors import UsageError
from bakeoff.experiments.model import (
    Advice,
    Analysis,
    ArmEstimate,
    Budget,
    Counterweight,
    ExperimentSpec,
    Guardrail,
    MetricAnalysis,
    Phase,
    Rule,
    Threshold,
)
from bakeoff.experiments.ramp import advise

BEGAN = datetime(2025, 1, 6, tzinfo=UTC)
LATER = BEGAN + timedelta(days=8)
SPEC = ExperimentSpec(
    hypothesis="superiority",
    primary="accepted",
    guardrails=(
        Guardrail(metric="edits", margin=0.2, direction="lower"),
        Guardrail(metric="intervention", margin=0.02, direction="lower", kind="ramp"),
    ),
    budgets=(Budget(metric="latency_s", maximum=2.0),),
    stages=(500, 1000, 2500),
    horizon_units=5000,
    horizon_weeks=6,
)


def phase(treated_bp: int) -> Phase:
    return Phase(experiment_id="e", number=1, treated_bp=treated_bp, began_at=BEGAN)


def metric(name: str, at: float, reach: float = 0.05, **changes: Any) -> MetricAnalysis:
    arm = ArmEstimate(value=changes.pop("value", 1.0), se=0.01, units=200, needs=400)
    base = MetricAnalysis(
        metric=name,
        state="computed",
        reason="",
        direction="higher",
        treated=arm,
        control=arm,
        estimate=at,
        se=reach / 3,
        lower=at - reach,
        upper=at + reach,
        proven_above=at - reach,
        harm_below=at + reach,
        treated_above=arm.value - reach,
        treated_floor=arm.value - reach,
        treated_ceiling=arm.value + reach,
        missing=0.0,
    )
    return replace(base, **changes)


def look(spec: ExperimentSpec = SPEC, **metrics: MetricAnalysis) -> Analysis:
    """Everything fine and not a hair better, except what is passed."""
    fine = {"accepted": 0.02, "edits": 0.0, "intervention": 0.0, "latency_s": 0.0}
    found = {name: metric(name, estimate) for name, estimate in fine.items()} | metrics
    return Analysis(
        spec_digest=spec.digest,
        looked_at=LATER,
        exposed={"treated": 220, "control": 215},
        matured={"treated": 200, "control": 200},
        in_two_arms=0,
        srm_log_e=-2.0,
        srm_alarm=False,
        metrics=tuple(found.values()),
    )


def ask(treated_bp: int, analysis: Analysis, now: datetime = LATER, spec: ExperimentSpec = SPEC) -> Advice:
    return advise(spec, phase(treated_bp), analysis, now)


WIN = metric("accepted", 0.10)


def test_no_harm_and_everything_computed_advances_to_the_next_stage() -> None:
    advice = ask(500, look())
    assert (advice.verdict, advice.next_treated_bp) == ("advance", 1000)


@pytest.mark.parametrize("name", ["accepted", "edits", "intervention"])
def test_any_harmed_metric_rolls_back_at_once(name: str) -> None:
    advice = ask(500, look(**{name: metric(name, -0.2)}), now=BEGAN)
    assert (advice.verdict, advice.next_treated_bp) == ("rollback", 0)
    assert f"{name} is harmed: treated is worse by at least 0.15" in advice.reason


def test_a_budget_surely_broken_rolls_back() -> None:
    advice = ask(500, look(latency_s=metric("latency_s", 0.0, value=2.2)))
    assert advice.verdict == "rollback"
    assert "over its budget of 2" in advice.reason


def test_a_constant_price_exactly_at_its_budget_keeps_it() -> None:
    """Sums of equal prices carry a rounding error; it must not roll anything back."""
    at_limit = metric("latency_s", 0.0, value=2.0 * (1 + 1e-15), treated_above=2.0 * (1 + 1e-15))
    assert ask(2500, look(accepted=WIN, latency_s=at_limit)).verdict == "ship"


def test_harm_counts_more_than_a_win_and_more_than_any_doubt() -> None:
    doubtful = replace(look(accepted=WIN, edits=metric("edits", -0.5)), srm_alarm=True)
    assert ask(2500, doubtful).verdict == "rollback"


def test_an_uneven_split_holds_even_a_win() -> None:
    advice = ask(2500, replace(look(accepted=WIN), srm_alarm=True))
    assert (advice.verdict, advice.next_treated_bp) == ("hold", 2500)
    assert "do not arrive evenly" in advice.reason


def test_shipping_asks_for_a_more_even_split_than_the_ramp() -> None:
    doubtful = replace(look(accepted=WIN), srm_log_e=3.1)
    assert ask(500, doubtful).verdict == "advance"
    advice = ask(2500, doubtful)
    assert advice.verdict == "hold"
    assert "the arms may not fill evenly (220 treated, 215 control: 22 to 1 against it)" in advice.reason
    assert ask(2500, replace(doubtful, srm_log_e=2.9)).verdict == "ship"


def test_units_in_both_arms_hold_from_one_percent_on() -> None:
    assert ask(500, replace(look(), in_two_arms=4)).verdict == "advance"
    assert ask(500, replace(look(), in_two_arms=5)).verdict == "hold"


@pytest.mark.parametrize("name", ["accepted", "edits", "intervention", "latency_s"])
def test_a_missing_metric_holds_whatever_the_others_say(name: str) -> None:
    gone = replace(look(accepted=WIN), metrics=tuple(m for m in look(accepted=WIN).metrics if m.metric != name))
    assert ask(2500, gone).verdict == "hold"
    missing = metric(name, 0.0, state="missing", reason="no value in treated", harm_below=None, treated_above=None)
    advice = ask(2500, look(**{"accepted": WIN, name: missing}))
    assert advice.verdict == "hold"
    assert f"{name} is missing: no value in treated" in advice.reason


def test_the_burn_in_holds_and_says_how_many_units_are_missing() -> None:
    young = metric("accepted", 0.0, state="burn_in", reason="30 matured units", estimate=None, se=None, harm_below=None)
    analysis = replace(look(accepted=young), matured={"treated": 30, "control": 31})
    advice = ask(500, analysis)
    assert (advice.verdict, advice.reason, advice.missing_units) == ("hold", "accepted: 30 matured units", 139)


def test_a_stage_lasts_at_least_its_dwell_time() -> None:
    assert ask(500, look(), now=BEGAN + timedelta(hours=23)).verdict == "hold"
    assert ask(500, look(), now=BEGAN + timedelta(hours=24)).verdict == "advance"
    assert ask(2500, look(accepted=WIN), now=BEGAN + timedelta(days=6)).verdict == "hold"


def test_from_ten_percent_on_a_guardrail_that_looks_bad_stops_the_ramp() -> None:
    suspicious = look(edits=metric("edits", -0.25, reach=0.3))
    assert ask(500, suspicious).verdict == "advance"
    advice = ask(1000, suspicious)
    assert advice.verdict == "hold"
    assert "edits looks worse by more than its margin" in advice.reason


def test_a_win_ships_only_at_the_last_stage() -> None:
    assert ask(1000, look(accepted=WIN)).verdict == "advance"
    advice = ask(2500, look(accepted=WIN))
    assert (advice.verdict, advice.next_treated_bp) == ("ship", 2500)
    assert "accepted: +0.1 over the control, at least +0.05" in advice.reason


def test_a_win_does_not_ship_while_a_ship_guardrail_is_not_proven_non_inferior() -> None:
    advice = ask(2500, look(accepted=WIN, edits=metric("edits", 0.0, reach=0.3)))
    assert advice.verdict == "hold"
    assert "edits may be worse by more than 0.2" in advice.reason
    assert advice.missing_units is not None
    assert advice.missing_units > 0


def test_a_ramp_guardrail_is_watched_for_harm_only() -> None:
    assert ask(2500, look(accepted=WIN, intervention=metric("intervention", 0.0, reach=0.3))).verdict == "ship"


def test_a_budget_broken_within_noise_does_not_ship() -> None:
    advice = ask(2500, look(accepted=WIN, latency_s=metric("latency_s", 0.0, value=2.02)))
    assert advice.verdict == "hold"
    assert "latency_s is over its budget of 2, within noise" in advice.reason


def test_the_end_without_a_win_keeps_the_incumbent_and_says_what_was_missing() -> None:
    analysis = replace(look(), matured={"treated": 2500, "control": 2500})
    advice = ask(2500, analysis)
    assert (advice.verdict, advice.next_treated_bp) == ("keep", 0)
    assert "5000 units were seen without a proven win, so the incumbent stays" in advice.reason
    by_time = ask(500, look(), now=BEGAN + timedelta(weeks=6))
    assert by_time.verdict == "keep"
    assert "6 weeks are over" in by_time.reason
    assert by_time.missing_units is not None
    assert f"about {by_time.missing_units} more units" in by_time.reason


def test_the_clock_of_the_horizon_starts_with_the_experiment_and_not_with_the_phase() -> None:
    advice = advise(SPEC, phase(500), look(), LATER, started_at=LATER - timedelta(weeks=6))
    assert advice.verdict == "keep"


def test_a_win_at_the_end_is_still_a_win_but_doubts_at_the_end_are_not() -> None:
    long_after = BEGAN + timedelta(weeks=7)
    assert ask(2500, look(accepted=WIN), now=long_after).verdict == "ship"
    assert ask(2500, replace(look(accepted=WIN), srm_alarm=True), now=long_after).verdict == "keep"


def test_non_inferior_ships_within_its_margin_and_superiority_does_not() -> None:
    spec = replace(SPEC, hypothesis="non_inferior", primary_margin=0.06)
    equal = metric("accepted", 0.0)
    assert ask(2500, look(spec, accepted=equal), spec=spec).verdict == "ship"
    assert ask(2500, look(accepted=equal)).verdict == "hold"
    tight = replace(spec, primary_margin=0.04)
    advice = ask(2500, look(tight, accepted=equal), spec=tight)
    assert advice.verdict == "hold"
    assert "accepted not proven within 0.04 of the control" in advice.reason


def test_thresholds_are_about_the_treated_arm_itself() -> None:
    spec = replace(SPEC, hypothesis="thresholds", thresholds=(Threshold(metric="accepted", minimum=0.6, maximum=0.9),))
    inside = metric("accepted", -0.01, value=0.75)
    assert ask(2500, look(spec, accepted=inside), spec=spec).verdict == "ship"
    for value in (0.62, 0.88):
        advice = ask(2500, look(spec, accepted=metric("accepted", 0.0, value=value)), spec=spec)
        assert advice.verdict == "hold"
        assert "not proven to reach the threshold" in advice.reason


def test_how_many_units_are_missing_is_unknown_while_the_estimate_points_down() -> None:
    advice = ask(2500, look(accepted=metric("accepted", -0.01)))
    assert (advice.verdict, advice.missing_units) == ("hold", None)
    hopeful = replace(SPEC, minimum_effect=0.03)
    advice = ask(2500, look(hopeful, accepted=metric("accepted", -0.01)), spec=hopeful)
    assert advice.missing_units is not None


def test_metrics_that_the_spec_does_not_name_decide_nothing() -> None:
    bad = metric("cost", -9.0, state="missing")
    assert ask(500, replace(look(), metrics=(*look().metrics, bad))).verdict == "advance"


# ---- what may mature later -----------------------------------------------------------------------------------------


def young(name: str, **changes: Any) -> MetricAnalysis:
    unknown = {"estimate": None, "se": None, "harm_below": None, "proven_above": None, "treated_above": None}
    return metric(name, 0.0, state="burn_in", reason="nothing has matured yet", **{**unknown, **changes})


def test_a_ship_guardrail_that_has_not_matured_lets_the_ramp_go_on_and_keeps_it_from_shipping() -> None:
    waiting = look(accepted=WIN, edits=young("edits"))
    assert ask(500, waiting).verdict == "advance"
    advice = ask(2500, waiting)
    assert (advice.verdict, advice.reason) == ("hold", "not proven yet: edits: nothing has matured yet")
    assert ask(2500, look(accepted=WIN)).verdict == "ship"


def test_a_ramp_guardrail_that_has_not_matured_stops_the_ramp() -> None:
    assert ask(500, look(intervention=young("intervention"))).verdict == "hold"
    assert SPEC.needed_to_widen == ("accepted", "intervention", "latency_s")


def test_a_ship_guardrail_rolls_back_as_soon_as_harm_is_sure() -> None:
    assert ask(500, look(edits=metric("edits", -0.2))).verdict == "rollback"


# ---- silence and loss ----------------------------------------------------------------------------------------------


def test_a_log_that_has_gone_silent_holds_even_a_win() -> None:
    heard = replace(look(accepted=WIN), last_event_at=LATER - timedelta(hours=168))
    assert ask(2500, heard).verdict == "ship"
    advice = ask(2500, replace(heard, last_event_at=LATER - timedelta(hours=169)))
    assert (advice.verdict, advice.reason) == ("hold", "no event of this test for 169 h: is the log still written?")


def test_a_stage_without_traffic_in_an_arm_opens_no_other() -> None:
    quiet = replace(look(), fresh={"treated": 12, "control": 0})
    advice = ask(500, quiet)
    assert (advice.verdict, advice.reason) == ("hold", "nothing has begun in this stage in control: is there traffic?")
    assert ask(2500, replace(look(accepted=WIN), fresh={"treated": 0, "control": 9})).verdict == "hold"
    assert ask(500, replace(quiet, fresh={"treated": 12, "control": 1})).verdict == "advance"


def test_units_without_an_exposure_hold_from_one_percent_on() -> None:
    assert ask(500, replace(look(), unexposed=4)).verdict == "advance"
    advice = ask(500, replace(look(), unexposed=5))
    assert advice.verdict == "hold" and "no exposure" in advice.reason


def test_arms_that_differed_before_the_test_hold() -> None:
    advice = ask(500, look(edits=replace(metric("edits", 0.0), differed_before=True)))
    assert advice.verdict == "hold" and "edits differed between the arms before the test" in advice.reason


# ---- a win that looks bought ---------------------------------------------------------------------------------------

WEIGHED = replace(SPEC, counterweights=(Counterweight(metric="variety", margin=0.1, direction="higher"),))


def test_a_primary_that_rises_while_a_counterweight_falls_is_flagged_and_held() -> None:
    fallen = metric("variety", -0.15, reach=0.5)
    for treated_bp in (500, 2500):
        advice = ask(treated_bp, look(WEIGHED, accepted=WIN, variety=fallen), spec=WEIGHED)
        assert advice.verdict == "hold"
        assert advice.flags == (advice.reason,)
        assert "accepted looks better while variety looks worse by 0.15 (margin 0.1)" in advice.reason
    assert Advice.from_json(json.loads(json.dumps(advice.to_json()))) == advice


@pytest.mark.parametrize(
    ("accepted", "variety", "verdict"),
    [(0.1, -0.09, "ship"), (0.1, 0.3, "ship"), (-0.01, -0.15, "hold")],
    ids=["within its margin", "up as well", "nothing is bought"],
)
def test_a_counterweight_says_nothing_else(accepted: float, variety: float, verdict: str) -> None:
    seen = look(WEIGHED, accepted=metric("accepted", accepted), variety=metric("variety", variety, reach=0.5))
    advice = ask(2500, seen, spec=WEIGHED)
    assert (advice.verdict, advice.flags) == (verdict, ())


def test_a_counterweight_must_be_known_before_shipping() -> None:
    seen = look(WEIGHED, accepted=WIN, variety=young("variety"))
    assert ask(500, seen, spec=WEIGHED).verdict == "advance"
    assert ask(2500, seen, spec=WEIGHED).reason == "not proven yet: variety: nothing has matured yet"


# ---- cheaper -------------------------------------------------------------------------------------------------------


def test_non_inferior_and_cheaper_must_be_both() -> None:
    spec = replace(SPEC, hypothesis="non_inferior", primary_margin=0.06, cheaper="cost")
    equal = metric("accepted", 0.0)
    for saved, verdict in ((0.001, "ship"), (-0.001, "hold")):
        seen = look(spec, accepted=equal, cost=metric("cost", saved, reach=0.0))
        advice = ask(2500, seen, spec=spec)
        assert advice.verdict == verdict
    assert advice.reason == "not proven yet: cost not proven lower"


# ---- budgets of a quantile -----------------------------------------------------------------------------------------


def test_a_p95_budget_is_broken_where_surely_more_than_one_need_in_twenty_is_slower() -> None:
    spec = replace(SPEC, budgets=(Budget(metric="latency_s", maximum=2.0, statistic="p95"),))
    name = spec.budgets[0].name

    def seen(share: float, reach: float) -> Analysis:
        return look(spec, accepted=WIN, **{name: metric(name, 0.0, reach=reach, value=share)})

    advice = ask(500, seen(0.2, 0.1), spec=spec)
    assert advice.verdict == "rollback"
    assert "p95 of latency_s is over its budget of 2: at least 10.0% of needs above 2" in advice.reason
    assert "p95 of latency_s is over its budget of 2, within noise" in ask(2500, seen(0.06, 0.05), spec=spec).reason
    assert ask(2500, seen(0.05, 0.02), spec=spec).verdict == "ship"


# ---- waivers -------------------------------------------------------------------------------------------------------


def waiving(
    treated_bp: int, analysis: Analysis, *rules: Rule, hours: float = 1000, spec: ExperimentSpec = SPEC
) -> Advice:
    return advise(spec, phase(treated_bp), analysis, BEGAN + timedelta(hours=hours), waived=rules)


def test_a_waived_dwell_lets_a_stage_be_left_sooner_and_is_named() -> None:
    assert waiving(500, look(), hours=1).verdict == "hold"
    advice = waiving(500, look(), "dwell", hours=1)
    assert (advice.verdict, advice.waived, advice.next_treated_bp) == ("advance", ("dwell",), 1000)
    assert "dwell waived" in advice.reason
    assert waiving(500, look(), "dwell").waived == (), "a rule that would not have held was not needed"


def test_waived_minimum_units_let_a_stage_be_left_with_fewer() -> None:
    few = look(accepted=young("accepted"))
    assert waiving(500, few).verdict == "hold"
    assert waiving(500, few, "minimum_units").waived == ("minimum_units",)
    worse = ArmEstimate(value=1.3, se=None, units=20, needs=20)
    seen = look(accepted=young("accepted"), edits=young("edits", treated=worse, direction="lower"))
    advice = waiving(500, seen, "minimum_units")
    assert advice.verdict == "hold" and "edits looks worse by more than its margin of 0.2" in advice.reason


BOTH: tuple[Rule, Rule] = ("dwell", "minimum_units")


@pytest.mark.parametrize(
    "seen",
    [
        look(edits=metric("edits", -0.2)),
        replace(look(), srm_alarm=True),
        replace(look(), in_two_arms=50),
        replace(look(), unexposed=50),
        replace(look(), last_event_at=BEGAN - timedelta(days=30)),
        replace(look(), fresh={"treated": 0, "control": 0}),
        look(accepted=metric("accepted", 0.0, state="missing", reason="no value")),
    ],
    ids=["harm", "uneven", "both arms", "lost", "stale", "no traffic", "missing"],
)
def test_nothing_else_is_waived(seen: Analysis) -> None:
    assert waiving(500, seen, *BOTH, hours=100).verdict in ("hold", "rollback")


def test_a_waiver_never_ships() -> None:
    advice = waiving(2500, look(accepted=WIN), *BOTH, hours=24)
    assert (advice.verdict, advice.waived) == ("hold", ())


# ---- every combination ---------------------------------------------------------------------------------------------

ODD = st.sampled_from(["fine", "win", "harm", "suspicious", "missing", "burn_in", "absent"])


def odd(name: str, kind: str) -> list[MetricAnalysis]:
    unknown = {"estimate": None, "se": None, "harm_below": None, "proven_above": None, "treated_above": None}
    if kind in ("missing", "burn_in"):
        return [metric(name, 0.0, state=kind, reason="r", **unknown)]
    at = {"fine": 0.02, "win": 0.2, "harm": -0.2, "suspicious": -0.02}
    return [] if kind == "absent" else [metric(name, at[kind])]


@settings(deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys(("accepted", "edits", "intervention", "latency_s"), ODD)),
    st.booleans(),
    st.integers(0, 20),
    st.sampled_from([500, 1000, 2500]),
    st.floats(0, 2000),
)
def test_nothing_goes_forward_without_every_number_and_every_harm_goes_back(
    kinds: dict[str, str], srm: bool, twice: int, treated_bp: int, hours: float
) -> None:
    found = tuple(one for name, kind in kinds.items() for one in odd(name, kind))
    analysis = replace(look(), metrics=found, srm_alarm=srm, in_two_arms=twice)
    advice = ask(treated_bp, analysis, now=BEGAN + timedelta(hours=hours))
    harmed = [name for name, kind in kinds.items() if kind == "harm" and name != "latency_s"]
    assert (advice.verdict == "rollback") == bool(harmed)
    if advice.verdict in ("advance", "ship"):
        assert not srm
        assert twice < 5
        assert not set(kinds.values()) & {"missing", "absent"}
        assert "burn_in" not in {kind for name, kind in kinds.items() if name != "edits"}
        assert hours >= 24
    if advice.verdict == "ship":
        assert "burn_in" not in kinds.values()
        assert kinds["accepted"] == "win"
        assert treated_bp == 2500
        assert hours >= 168
    if advice.verdict == "advance":
        assert advice.next_treated_bp > treated_bp
    if hours >= 6 * 7 * 24:
        assert advice.verdict != "hold" or kinds["accepted"] == "win"
    assert advice.reason
    assert json.dumps(advice.to_json())


def test_an_analysis_for_another_spec_is_refused() -> None:
    with pytest.raises(UsageError, match="another experiment spec"):
        ask(500, look(), spec=replace(SPEC, alpha=0.1))
