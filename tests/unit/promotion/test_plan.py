"""Decide first: which stages a promotion and a rollback have, in which order, and when there is no plan."""

from dataclasses import replace

import pytest

from bakeoff.errors import Refused
from bakeoff.inference.model import PolicySpec
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion.model import MoveDefault, RecordPromotion, SetAlias, SetStatus
from bakeoff.promotion.plan import plan_promotion, plan_rollback

SPEC = PolicySpec(task="toy", engine="python", prompt_version="1", function="toy:good", function_version="1")
NEW = PolicyVersion(
    policy_version_id="new", policy_id="p", version=2, spec=SPEC, fingerprint="f", status="approved",
    mlflow_model_name="toy_model", mlflow_model_version="7",
)  # fmt: skip
OLD = PolicyVersion(
    policy_version_id="old", policy_id="p", version=1, spec=SPEC, fingerprint="g", status="production"
)  # fmt: skip


def test_a_promotion_records_moves_retires_and_points_the_alias_in_this_order() -> None:
    plan = plan_promotion(NEW, OLD, experiment_id="x", snapshot_id="s", verdict="ship")
    assert [type(stage) for stage in plan.stages] == [RecordPromotion, MoveDefault, SetStatus, SetStatus, SetAlias]
    assert [stage.text for stage in plan.stages] == [
        "record the promotion of p/2, which replaces p/1",
        "serve p/2 to everyone in the default experiment",
        "p/1 becomes retired",
        "p/2 becomes production",
        "alias production -> toy_model/7",
    ]
    assert (plan.kind, plan.policy_version_id, plan.replaces) == ("promotion", "new", "old")
    assert (plan.experiment_id, plan.snapshot_id) == ("x", "s")


@pytest.mark.parametrize("verdict", ["advance", "hold", "rollback", "keep"])
def test_only_evidence_that_says_ship_makes_a_plan(verdict: str) -> None:
    with pytest.raises(Refused, match=f"on p/2 says '{verdict}'; a promotion needs 'ship'"):
        plan_promotion(NEW, OLD, experiment_id="x", snapshot_id="s", verdict=verdict)


def test_a_version_without_a_model_has_no_alias_to_point() -> None:
    bare = replace(NEW, mlflow_model_name=None, mlflow_model_version=None)
    plan = plan_promotion(bare, OLD, experiment_id="x", snapshot_id="s", verdict="ship")
    assert not any(isinstance(stage, SetAlias) for stage in plan.stages)


def test_a_rollback_needs_no_evidence_but_a_version_that_was_there() -> None:
    plan = plan_rollback(replace(OLD, status="retired"), NEW)
    assert (plan.kind, plan.policy_version_id, plan.replaces, plan.snapshot_id) == ("rollback", "old", "new", None)
    for status in ("registered", "candidate", "approved", "production", "rejected"):
        with pytest.raises(Refused, match=f"p/1 is {status}"):
            plan_rollback(replace(OLD, status=status), NEW)  # type: ignore[arg-type]
