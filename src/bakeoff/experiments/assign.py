"""assign: which arm a unit belongs to. A pure hash: no state, no I/O, the same in every process.

murmur3_x86_32, seed 0, over "hv1|{salt}|{unit}" in UTF-8, cut into 10,000 buckets. Inclusion and variant use
different salts, so widening the ramp never moves a unit that is already in, and the arms stay balanced within
every width. The salt is the experiment's id: another experiment deals the units anew.
"""

import mmh3

from bakeoff.errors import UsageError
from bakeoff.experiments.model import (
    BASIS_POINTS,
    HASH_VERSION,
    MAX_TREATED_BP,
    Assignment,
    DecisionAssignment,
)


def bucket(salt: str, unit: str) -> int:
    """Bucket of `unit`, 0..9999, uniform over units. Raises UsageError for an empty id."""
    if not unit:
        raise UsageError("the unit id is empty; assignment needs a stable id of the unit that is randomised")
    return mmh3.mmh3_32_uintdigest(f"{HASH_VERSION}|{salt}|{unit}".encode()) * BASIS_POINTS >> 32


def inclusion_bucket(experiment_id: str, unit_id: str) -> int:
    """0..9999: a test takes the units below twice its treated share in basis points."""
    return bucket(f"{experiment_id}/inclusion", unit_id)


def assign(experiment_id: str, unit_id: str, treated_bp: int) -> Assignment | None:
    """The unit's arm at a treated share of `treated_bp` basis points (0..5000); None: not taking part."""
    if not 0 <= treated_bp <= MAX_TREATED_BP:
        raise UsageError(f"treated share {treated_bp} bp; expected 0 to {MAX_TREATED_BP}: the control gets as much")
    included = inclusion_bucket(experiment_id, unit_id)
    if included >= 2 * treated_bp:
        return None
    is_treated = bucket(f"{experiment_id}/variant", unit_id) < BASIS_POINTS // 2
    return Assignment(
        arm="treated" if is_treated else "control",
        bucket=included,
        assignment_probability=treated_bp / BASIS_POINTS,
    )


def assign_decision(experiment_id: str, key: str, explorer_bp: int) -> DecisionAssignment:
    """Variant of one decision in a default experiment, at an explorer share in basis points (0..10000).

    `key` names the decision, so a retry gets the same variant."""
    if not 0 <= explorer_bp <= BASIS_POINTS:
        raise UsageError(f"explorer share {explorer_bp} basis points; expected 0 to {BASIS_POINTS}")
    drawn = bucket(f"{experiment_id}/decision", key)
    explores = drawn < explorer_bp
    share = explorer_bp if explores else BASIS_POINTS - explorer_bp
    return DecisionAssignment(
        variant="explorer" if explores else "incumbent",
        bucket=drawn,
        assignment_probability=share / BASIS_POINTS,
    )
