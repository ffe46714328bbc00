"""Whether our tables, MLflow and the processes that serve agree about who gets what: ``bakeoff doctor``'s last part."""

from datetime import datetime

from bakeoff.cli import checks, lookup
from bakeoff.cli.checks import Check
from bakeoff.experiments import store as experiments
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion import apply as promotion
from bakeoff.promotion import replicas as told


def standing(wired: Deps, *, repair: bool) -> list[Check]:
    """Our own tables. One transaction moves them together, so a difference was written past every command."""
    results: list[Check] = []
    with wired.db.transaction() as conn:
        for policy in policies.all_policies(conn):
            incumbent, last = _serving(conn, policy.policy_id)
            found = checks.standing(policy.policy_id, incumbent, last)
            if repair and incumbent is not None and found[0].cure == "bakeoff doctor --repair":
                policies.set_status(conn, incumbent, "production")
                found = [Check(name=found[0].name, state="note", says=f"{found[0].says}; repaired")]
            results += found
    return results


def _serving(conn: lookup.Conn, policy_id: str) -> tuple[PolicyVersion | None, str | None]:
    last = promotion.last_promotion(conn, policy_id)
    return lookup.find_incumbent(conn, policy_id), None if last is None else str(last["policy_version_id"])


def replicas(wired: Deps, *, repair: bool) -> list[Check]:
    """What serving processes hold. With `repair` the silent ones are forgotten."""
    with wired.db.transaction() as conn:
        known, names = told.replicas(conn), _names(conn)
        found = told.gaps(known, _needed(conn), wired.clock())
        for gap in found if repair else []:
            if gap.kind == "silent":
                told.forget(conn, name=gap.replica.name, pid=gap.replica.pid)
    return checks.replicas(known, found, names, repair=repair)


def _names(conn: lookup.Conn) -> dict[str, str]:
    return {
        version.policy_version_id: version.name
        for policy in policies.all_policies(conn)
        for version in policies.versions(conn, policy.policy_id)
    }


def _needed(conn: lookup.Conn) -> dict[str, datetime]:
    """Versions that bakeoff answers for and that have traffic, with since when."""
    needed: dict[str, datetime] = {}
    for policy in policies.all_policies(conn):
        if not experiments.is_served(conn, policy.policy_id):
            continue
        serving = [experiments.default_experiment(conn, policy.policy_id), *experiments.running(conn, policy.policy_id)]
        for experiment in serving:
            phase = experiments.phases(conn, experiment.experiment_id)[-1]
            for variant in experiments.variants(conn, experiment.experiment_id):
                if variant.variant_id in (phase.control_variant_id, phase.treated_variant_id):
                    needed.setdefault(variant.policy_version_id, phase.began_at)
    return {ident: since for ident, since in needed.items() if not policies.version_by_id(conn, ident).is_external}


def registry(wired: Deps, *, repair: bool) -> list[Check]:
    """MLflow against our tables; with `repair` it follows them."""
    with wired.db.transaction() as conn:
        known = promotion.registered(conn)
    return checks.registry(known, wired.models, repair=repair)
