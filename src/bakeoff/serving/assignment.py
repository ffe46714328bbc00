"""Which variant a request meets: read in one short transaction, nothing is written here."""

from datetime import datetime

from bakeoff.errors import Refused
from bakeoff.experiments import store
from bakeoff.experiments.assign import assign, assign_decision, inclusion_bucket
from bakeoff.experiments.model import HASH_VERSION, Exposure, InForce, Phase, Variant
from bakeoff.serving.model import Assigned


def assigned(conn: store.Conn, policy_id: str, *, unit_id: str, key: str, at: datetime) -> Assigned:
    """The holdback or the running test if it takes this unit, else the default experiment. A unit that the holdback
    takes is in no test: whoever keeps the old version is compared with nothing else. Raises UsageError or Refused
    where the policy serves nobody."""
    running = store.in_force(conn, policy_id, unit_id)
    for kind in ("holdback", "test"):
        found = _in_test(running[kind], unit_id, at) if kind in running else None
        if found is not None:
            return found
    if "default" not in running:
        default = store.default_experiment(conn, policy_id)
        raise Refused(f"default experiment {default.experiment_id} of {policy_id} has no phase, so it serves nobody")
    return _in_default(running["default"], key)


def _in_test(test: InForce, unit_id: str, at: datetime) -> Assigned | None:
    if test.met_variant_id is not None and test.met_probability is not None:
        return _assigned(test.variants[test.met_variant_id], test.met_probability, None)
    phase = test.phase
    if test.forced_variant_id is not None:
        return _met(phase, test.variants[test.forced_variant_id], unit_id, at, probability=1.0, forced=True)
    drawn = assign(phase.experiment_id, unit_id, phase.treated_bp)
    if drawn is None:
        return None
    variant = test.variants[str(phase.treated_variant_id if drawn.arm == "treated" else phase.control_variant_id)]
    return _met(phase, variant, unit_id, at, probability=drawn.assignment_probability, forced=False)


def _met(phase: Phase, variant: Variant, unit_id: str, at: datetime, *, probability: float, forced: bool) -> Assigned:
    """The unit's first meeting with the test."""
    exposure = Exposure(
        experiment_id=phase.experiment_id,
        unit_id=unit_id,
        variant_id=variant.variant_id,
        policy_version_id=variant.policy_version_id,
        phase=phase.number,
        bucket=inclusion_bucket(phase.experiment_id, unit_id),
        assignment_probability=probability,
        hash_version=HASH_VERSION,
        occurred_at=at,
        forced=forced,
    )
    return _assigned(variant, probability, exposure)


def _in_default(default: InForce, key: str) -> Assigned:
    phase = default.phase
    drawn = assign_decision(phase.experiment_id, key, phase.treated_bp)
    explores = drawn.variant == "explorer"
    variant = default.variants[str(phase.treated_variant_id if explores else phase.control_variant_id)]
    return _assigned(variant, drawn.assignment_probability, None)


def _assigned(variant: Variant, probability: float, exposure: Exposure | None) -> Assigned:
    return Assigned(
        experiment_id=variant.experiment_id,
        variant_id=variant.variant_id,
        policy_version_id=variant.policy_version_id,
        probability=probability,
        exposure=exposure,
    )
