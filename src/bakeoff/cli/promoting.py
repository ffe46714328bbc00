"""``bakeoff promote`` and ``rollback``"""

from collections.abc import Sequence
from typing import Any

import click

from bakeoff import lifecycle
from bakeoff.cli import lookup
from bakeoff.cli.session import answer, as_json, deps
from bakeoff.errors import Refused, UsageError
from bakeoff.experiments.model import Experiment
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion.model import HOLDBACK_BP, HOLDBACK_WEEKS, Carried, FollowRegistry, PromotionPlan
from bakeoff.promotion.plan import holdback_bp

explain_option = click.option("--explain", is_flag=True, help="Print what would be done, and stop.")
by_option = click.option("--by", "signed_by", help="Who decides.  [required without --explain]")
reason_option = click.option("--reason", help="Why.  [required without --explain]")


@click.command()
@click.argument("name")
@click.option(
    "--holdback",
    type=float,
    default=HOLDBACK_BP / 10_000,
    show_default=True,
    metavar="SHARE",
    help="Share of the units that keeps the old version and is compared with as many: 0 (none) to 0.2.",
)
@click.option(
    "--holdback-weeks", type=float, default=HOLDBACK_WEEKS, show_default=True, help="How long they are compared."
)
@explain_option
@by_option
@reason_option
@as_json
def promote(
    name: str,
    holdback: float,
    holdback_weeks: float,
    explain: bool,
    signed_by: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Serve a version that won its test to everyone; the registry's alias follows.

    A few units keep the old version for some weeks more, so that you see whether the win lasts: bakeoff experiment
    watch --holdback looks at them, and goes back by itself where it finds harm.

    \b
    Example: bakeoff promote planner_policy/3 --explain
             bakeoff promote planner_policy/3 --by Ada --reason "fewer edits, nothing worse"
    """
    share = holdback_bp(holdback)
    with deps() as wired:
        if (carried := lifecycle.already(wired, name, follow=not explain)) is not None:
            return _told(name, "promotion", carried, as_json=as_json)
        with wired.db.transaction() as conn:
            test = _decisive_test(conn, policies.find_version(conn, name))
        plan = lifecycle.plan(wired, test, holdback_bp=share, holdback_weeks=holdback_weeks)
        return _carry_out(wired, plan, name, explain=explain, signed_by=signed_by, reason=reason, as_json=as_json)


def _decisive_test(conn: lookup.Conn, version: PolicyVersion) -> Experiment:
    """The newest test of `version`. Raises Refused where a promotion is not the way."""
    if version.status == "retired":
        raise Refused(
            f"{version.name} was in production before and was replaced",
            cure=f"bakeoff rollback {version.name} --explain is the way back",
        )
    tests = lookup.tests_of(conn, version)
    if not tests:
        raise Refused(
            f"{version.name} was never tried on real traffic; a promotion needs a test that says 'ship'",
            cure=f"bakeoff experiment start {version.name} --spec FILE",
        )
    return tests[-1]


@click.command()
@click.argument("name")
@explain_option
@by_option
@reason_option
@as_json
def rollback(name: str, explain: bool, signed_by: str | None, reason: str | None, as_json: bool) -> None:
    """Serve an earlier production version to everyone again, at once.

    It needs neither statistics nor MLflow: where that is away, the alias follows later.

    \b
    Example: bakeoff rollback planner_policy/1 --by Ada --reason "support tickets doubled"
    """
    with deps() as wired:
        if (carried := lifecycle.already(wired, name, follow=not explain)) is not None:
            return _told(name, "rollback", carried, as_json=as_json)
        plan = lifecycle.plan_back(wired, name)
        return _carry_out(wired, plan, name, explain=explain, signed_by=signed_by, reason=reason, as_json=as_json)


def _carry_out(
    wired: Deps,
    plan: PromotionPlan,
    name: str,
    *,
    explain: bool,
    signed_by: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    steps = [stage.text for stage in plan.stages]
    command = "promote" if plan.kind == "promotion" else "rollback"
    to_do_it = f'bakeoff {command} {name} --by "Your Name" --reason "..."'
    if explain:
        body = {"kind": plan.kind, "policy_version": name, "stages": steps, "applied": False}
        text = f"this {plan.kind} would\n{_numbered(steps)}\nto do it: {to_do_it}"
        return answer(as_json, body, text if steps else f"{name} serves everyone already")
    if not (signed_by or "").strip() or not (reason or "").strip():
        raise UsageError(
            f"a {plan.kind} needs a name and a reason",
            cure=f"{to_do_it}, or --explain to see what it does",
        )
    carried = lifecycle.promote(wired, plan, signed_by=str(signed_by), reason=str(reason))
    if not carried.applied:  # somebody was quicker
        return _told(name, plan.kind, carried, as_json=as_json)
    body = _body(name, plan.kind, carried) | {"stages": steps}
    if carried.registry_away is not None:
        steps = [stage.text for stage in plan.stages if not isinstance(stage, FollowRegistry)]
    return answer(as_json, body, "\n".join([f"done:\n{_numbered(steps)}", *_registry(carried)]))


def _numbered(steps: Sequence[str]) -> str:
    return "\n".join(f"  {n}. {text}" for n, text in enumerate(steps, 1))


def _told(name: str, kind: str, carried: Carried, *, as_json: bool) -> None:
    """It serves already: who did that, and when."""
    when = "" if carried.at is None else f", {carried.by} at {carried.at:%Y-%m-%d %H:%M} UTC: {carried.reason}"
    body = _body(name, kind, carried) | {"stages": [], "already": True}
    answer(as_json, body, "\n".join([f"{name} serves everyone already{when}", *_registry(carried)]))


def _body(name: str, kind: str, carried: Carried) -> dict[str, Any]:
    return {
        "kind": kind,
        "policy_version": name,
        "applied": carried.applied,
        "by": carried.by,
        "at": None if carried.at is None else carried.at.isoformat(),
        "reason": carried.reason,
        "registry": "follows later" if carried.registry_away else "follows",
        "registry_away": carried.registry_away,
        "registry_moved": [f"{drift.place}: {drift.found} -> {drift.expected}" for drift in carried.followed],
    }


def _registry(carried: Carried) -> list[str]:
    """What the registry still lacks, in words."""
    if carried.registry_away is None:
        return []
    return [
        f"note: people are served already, but the registry does not say so yet: {carried.registry_away}",
        "      bakeoff doctor --repair lets it follow, or the same command again",
    ]
