"""Act second: one stage after the other, in the caller's one transaction; the registry follows after it."""

import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql

from bakeoff.errors import Refused
from bakeoff.experiments import store as experiments
from bakeoff.fingerprint import canonical_json
from bakeoff.policies import store as policies
from bakeoff.promotion.model import (
    EndExperiment,
    MoveDefault,
    OpenHoldback,
    PromotionPlan,
    RecordPromotion,
    Registered,
    SetStatus,
)

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
_NAMESPACE = uuid.UUID("c1d5c7de-7a2a-5b44-9e56-2a8d3f60b1aa")


def apply_database(conn: experiments.Conn, plan: PromotionPlan, *, signed_by: str, reason: str, now: datetime) -> bool:
    """Everything but the registry. False where the plan's version serves already, and nothing is done. Of two people
    who promote at once the second waits for the first, and is refused where its plan was made for another incumbent.
    The database refuses a promotion without evidence."""
    policies.lock(conn, plan.policy_id)
    serving = experiments.incumbent(conn, plan.policy_id)
    if serving == plan.policy_version_id:
        return False
    if serving != plan.replaces:
        raise _overtaken(conn, plan, serving)
    for stage in plan.stages:
        if isinstance(stage, RecordPromotion):
            _record(conn, plan, signed_by=signed_by, reason=reason, now=now)
        elif isinstance(stage, EndExperiment):
            experiments.end(conn, stage.experiment_id, status=stage.status, reason=stage.reason, now=now)
        elif isinstance(stage, OpenHoldback):
            _open_holdback(conn, plan, stage, now)
        elif isinstance(stage, MoveDefault):
            _move_default(conn, plan, now)
        elif isinstance(stage, SetStatus):
            version = policies.version_by_id(conn, stage.policy_version_id)
            policies.set_status(conn, version, stage.status)
    return True


def promotions(conn: experiments.Conn, policy_id: str) -> list[dict[str, Any]]:
    """Oldest first."""
    return [dict(row) for row in queries.promotions(conn, policy_id=policy_id)]


def last_promotion(conn: experiments.Conn, policy_id: str) -> dict[str, Any] | None:
    """The last promotion or rollback; None where a policy still serves what it started from."""
    row = queries.last_promotion(conn, policy_id=policy_id)
    return None if row is None else dict(row)


def registered(conn: experiments.Conn) -> list[Registered]:
    """Every version that has a registered model, of all policies, and which of them serve."""
    known = [policy.policy_id for policy in policies.all_policies(conn)]
    serving = {experiments.incumbent(conn, name) for name in known if experiments.is_served(conn, name)}
    return [
        Registered(version=version, serves=version.policy_version_id in serving)
        for name in known
        for version in policies.versions(conn, name)
        if version.mlflow_model_name is not None
    ]


def _overtaken(conn: experiments.Conn, plan: PromotionPlan, serving: str) -> Refused:
    """Somebody else moved the default since the plan was made."""
    was = "nothing" if plan.replaces is None else policies.version_by_id(conn, plan.replaces).name
    last = last_promotion(conn, plan.policy_id)
    who = "" if last is None else f": {last['signed_by']} moved it at {last['promoted_at']:%Y-%m-%d %H:%M} UTC"
    return Refused(
        f"this {plan.kind} would replace {was}, but {policies.version_by_id(conn, serving).name} serves by now{who}"
        + ("" if last is None else f" ({last['reason']})"),
        cure="look again: the same command with --explain",
    )


def _record(conn: experiments.Conn, plan: PromotionPlan, *, signed_by: str, reason: str, now: datetime) -> None:
    last = last_promotion(conn, plan.policy_id)
    number = 1 if last is None else last["number"] + 1
    queries.insert_promotion(
        conn,
        promotion_id=str(uuid.uuid5(_NAMESPACE, canonical_json([plan.policy_id, number]))),
        policy_id=plan.policy_id,
        number=number,
        policy_version_id=plan.policy_version_id,
        replaces=plan.replaces,
        kind=plan.kind,
        experiment_id=plan.experiment_id,
        snapshot_id=plan.snapshot_id,
        signed_by=signed_by,
        reason=reason,
        promoted_at=now,
    )


def _open_holdback(conn: experiments.Conn, plan: PromotionPlan, stage: OpenHoldback, now: datetime) -> None:
    made = experiments.insert_experiment(
        conn, policy_id=plan.policy_id, kind="holdback", name=stage.name, spec=stage.spec, now=now
    )
    arms = {
        role: experiments.insert_variant(
            conn, experiment_id=made.experiment_id, name=role, role=role, policy_version_id=version
        )
        for role, version in (("treated", plan.policy_version_id), ("control", str(plan.replaces)))
    }
    experiments.insert_phase(
        conn,
        experiment_id=made.experiment_id,
        treated=arms["treated"],
        control=arms["control"],
        treated_bp=stage.bp,
        snapshot_id=None,
        now=now,
    )
    experiments.set_running(conn, made.experiment_id, now=now)


def _move_default(conn: experiments.Conn, plan: PromotionPlan, now: datetime) -> None:
    default = experiments.default_experiment(conn, plan.policy_id)
    phase = experiments.phases(conn, default.experiment_id)[-1]
    known = {variant.variant_id: variant for variant in experiments.variants(conn, default.experiment_id)}
    version = policies.version_by_id(conn, plan.policy_version_id)
    incumbent = experiments.insert_variant(
        conn,
        experiment_id=default.experiment_id,
        name=f"incumbent-{version.version}",
        role="incumbent",
        policy_version_id=version.policy_version_id,
    )
    experiments.insert_phase(
        conn,
        experiment_id=default.experiment_id,
        treated=known.get(str(phase.treated_variant_id)),
        control=incumbent,
        treated_bp=phase.treated_bp,
        snapshot_id=None,
        now=now,
    )
