"""Act second: one stage after the other, all of PostgreSQL in the caller's transaction, the registry after it."""

import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql

from bakeoff.errors import Refused
from bakeoff.experiments import store as experiments
from bakeoff.fingerprint import canonical_json
from bakeoff.policies import store as policies
from bakeoff.promotion.model import MoveDefault, PromotionPlan, RecordPromotion, RetireModel, SetAlias, SetStatus
from bakeoff.registry.model import ModelRegistry

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
_NAMESPACE = uuid.UUID("c1d5c7de-7a2a-5b44-9e56-2a8d3f60b1aa")
ALIAS = "production"


def apply_database(conn: experiments.Conn, plan: PromotionPlan, *, signed_by: str, reason: str, now: datetime) -> None:
    """Everything but the registry. A plan that was carried out already is nothing; one that was made for another
    incumbent is refused. The database refuses a promotion without evidence."""
    policies.lock(conn, plan.policy_id)
    serving = experiments.incumbent(conn, plan.policy_id)
    if serving == plan.policy_version_id:
        return
    if serving != plan.replaces:
        raise Refused(
            f"the plan replaces policy version {plan.replaces}, but {serving} serves by now",
            cure="make the plan again: the same command with --explain shows it",
        )
    for stage in plan.stages:
        if isinstance(stage, RecordPromotion):
            _record(conn, plan, signed_by=signed_by, reason=reason, now=now)
        elif isinstance(stage, MoveDefault):
            _move_default(conn, plan, now)
        elif isinstance(stage, SetStatus):
            version = policies.version_by_id(conn, stage.policy_version_id)
            policies.set_status(conn, version, stage.status)


def apply_registry(models: ModelRegistry, plan: PromotionPlan) -> None:
    """The alias follows our table; running it again is harmless, so a crash in between is healed by a rerun."""
    for stage in plan.stages:
        if isinstance(stage, SetAlias):
            models.set_alias(stage.model_name, ALIAS, stage.model_version)
            models.set_tag(stage.model_name, stage.model_version, "stage", ALIAS)
        elif isinstance(stage, RetireModel):
            models.set_tag(stage.model_name, stage.model_version, "stage", "retired")


def promotions(conn: experiments.Conn, policy_id: str) -> list[dict[str, Any]]:
    """Oldest first."""
    return [dict(row) for row in queries.promotions(conn, policy_id=policy_id)]


def _record(conn: experiments.Conn, plan: PromotionPlan, *, signed_by: str, reason: str, now: datetime) -> None:
    number = len(promotions(conn, plan.policy_id)) + 1
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
