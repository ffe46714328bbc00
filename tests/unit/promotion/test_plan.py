"""Decide first: which stages a promotion and a rollback have, in which order, and when there is no plan."""

from dataclasses import replace

import pytest

from bakeoff.errors import Refused, UsageError
from bakeoff.experiments.model import Experiment, ExperimentSpec, Guardrail
from bakeoff.inference.model import PolicySpec
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion.model import (
    EndExperiment,
    FollowRegistry,
    MoveDefault,
    OpenHoldback,
    PromotionPlan,
    RecordPromotion,
    SetStatus,
)
from bakeoff.promotion.plan import holdback_bp, make_holdback, plan_promotion, plan_rollback

SPEC = PolicySpec(task="toy", engine="python", prompt_version="1", function="toy:good", function_version="1")
NEW = PolicyVersion(
    policy_version_id="new", policy_id="p", version=2, spec=SPEC, fingerprint="f", status="approved",
    mlflow_model_name="toy_model", mlflow_model_version="7",
)  # fmt: skip
OLD = PolicyVersion(
    policy_version_id="old", policy_id="p", version=1, spec=SPEC, fingerprint="g", status="production"
)  # fmt: skip
TEST = ExperimentSpec(
    hypothesis="superiority", primary="accepted", horizon_weeks=8, stages=(1000, 2500),
    guardrails=(Guardrail(metric="intervention", margin=0.02, direction="lower"),),
)  # fmt: skip


def test_a_promotion_records_moves_retires_and_points_the_alias_in_this_order() -> None:
    plan = plan_promotion(NEW, OLD, experiment_id="x", snapshot_id="s", verdict="ship")
    assert [type(stage) for stage in plan.stages] == [
        RecordPromotion, MoveDefault, SetStatus, SetStatus, FollowRegistry,
    ]  # fmt: skip
    assert [stage.text for stage in plan.stages] == [
        "record the promotion of p/2, which replaces p/1",
        "serve p/2 to everyone in the default experiment",
        "p/1 becomes retired",
        "p/2 becomes production",
        "alias production -> toy_model/7, tag stage=production",
    ]
    assert (plan.kind, plan.policy_version_id, plan.replaces) == ("promotion", "new", "old")
    assert (plan.experiment_id, plan.snapshot_id) == ("x", "s")


@pytest.mark.parametrize("verdict", ["advance", "hold", "rollback", "keep"])
def test_only_evidence_that_says_ship_makes_a_plan(verdict: str) -> None:
    with pytest.raises(Refused, match=f"on p/2 says '{verdict}'; a promotion needs 'ship'"):
        plan_promotion(NEW, OLD, experiment_id="x", snapshot_id="s", verdict=verdict)


def test_a_holdback_opens_before_the_default_moves_and_its_share_is_said() -> None:
    plan = plan_promotion(
        NEW, OLD, experiment_id="x", snapshot_id="s", verdict="ship", holdback=make_holdback(TEST, 500, 3)
    )
    kinds = [type(stage) for stage in plan.stages]
    assert kinds.index(OpenHoldback) < kinds.index(MoveDefault)
    assert [stage.text for stage in plan.stages][1:3] == [
        "let 5 % of the units keep p/1 for 3 weeks, beside 5 % that get p/2 and are compared with them",
        "serve p/2 to everyone else in the default experiment",
    ]


@pytest.mark.parametrize(("share", "bp"), [(0.0, 0), (0.05, 500), (0.2, 2000), (0.0001, 1)])
def test_a_share_of_the_units_is_basis_points(share: float, bp: int) -> None:
    assert holdback_bp(share) == bp


@pytest.mark.parametrize("share", [-0.01, 0.201, 5.0, 0.00001, float("nan"), float("inf")])
def test_a_share_that_is_none_is_told_what_to_type(share: float) -> None:
    with pytest.raises(UsageError, match="from 0 .none. to 0.2(.|\n)*--holdback 0.05"):
        holdback_bp(share)


def test_a_holdback_watches_what_the_test_watched_and_is_over_in_time() -> None:
    held = make_holdback(TEST, 2000, 4)
    assert (held.spec.primary, held.spec.guardrails, held.spec.alpha) == (TEST.primary, TEST.guardrails, TEST.alpha)
    assert (held.spec.last_dwell_hours, held.spec.horizon_weeks) == (672.0, 4.0)
    with pytest.raises(UsageError, match="holdback of 0 weeks"):
        make_holdback(TEST, 500, 0)


def test_evidence_against_a_version_that_was_replaced_since_is_none() -> None:
    third = replace(OLD, policy_version_id="third", version=3)
    with pytest.raises(Refused, match="compared p/2 with p/1, but p/3 serves by now(.|\n)*experiment start p/2"):
        plan_promotion(NEW, third, experiment_id="x", snapshot_id="s", verdict="ship", compared_with=OLD)
    assert plan_promotion(NEW, OLD, experiment_id="x", snapshot_id="s", verdict="ship", compared_with=OLD).stages


def test_an_application_is_told_that_it_answers_on_for_the_few() -> None:
    spec = replace(SPEC, engine="logged")
    plan = plan_promotion(
        NEW, replace(OLD, spec=spec), experiment_id="x", snapshot_id="s", verdict="ship",
        holdback=make_holdback(TEST, 500),
    )  # fmt: skip
    assert "your application answers for those that keep it: decide(..., own=...)" in plan.stages[1].text


def test_a_promotion_waits_for_a_test_whose_control_it_would_replace() -> None:
    other = Experiment(experiment_id="y", policy_id="p", kind="test", status="running", name="spring")
    with pytest.raises(Refused, match="test spring is running with p/1 as its control(.|\n)*experiment stop"):
        plan_promotion(NEW, OLD, experiment_id="x", snapshot_id="s", verdict="ship", running=(other,))


def test_a_promotion_ends_its_own_test_and_the_holdback_before_and_a_rollback_whatever_runs() -> None:
    test = Experiment(experiment_id="x", policy_id="p", kind="test", status="running", name="spring")
    held = Experiment(experiment_id="h", policy_id="p", kind="holdback", status="running", name="holdback-1")

    def ended(plan: PromotionPlan) -> list[tuple[str, str, str]]:
        found = [stage for stage in plan.stages if isinstance(stage, EndExperiment)]
        return [(stage.experiment_id, stage.status, stage.text) for stage in found]

    running = (test, held)
    plan = plan_promotion(NEW, OLD, experiment_id="x", snapshot_id="s", verdict="ship", running=running)
    assert ended(plan) == [
        ("x", "shipped", "end test spring"),
        ("h", "kept", "end holdback holdback-1: what it keeps is two promotions old"),
    ]
    back = plan_rollback(replace(OLD, status="retired"), NEW, running=running)
    assert ended(back) == [
        ("x", "stopped", "end test spring: its control is p/2"),
        ("h", "rolled_back", "end holdback holdback-1: what it watches is p/2"),
    ]


def test_a_version_without_a_model_has_no_alias_to_point() -> None:
    bare = replace(NEW, mlflow_model_name=None, mlflow_model_version=None)
    plan = plan_promotion(bare, OLD, experiment_id="x", snapshot_id="s", verdict="ship")
    assert not any(isinstance(stage, FollowRegistry) for stage in plan.stages)


def test_a_rollback_needs_no_evidence_but_a_version_that_was_there() -> None:
    plan = plan_rollback(replace(OLD, status="retired"), NEW)
    assert (plan.kind, plan.policy_version_id, plan.replaces, plan.snapshot_id) == ("rollback", "old", "new", None)
    for status in ("registered", "candidate", "approved", "production", "rejected"):
        with pytest.raises(Refused, match=f"p/1 is {status}"):
            plan_rollback(replace(OLD, status=status), NEW)  # type: ignore[arg-type]
