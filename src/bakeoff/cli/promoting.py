"""``bakeoff promote`` and ``rollback``"""

import click

from bakeoff import lifecycle
from bakeoff.cli import lookup
from bakeoff.cli.session import answer, as_json, deps
from bakeoff.errors import Refused, UsageError
from bakeoff.experiments.model import Experiment
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion.model import PromotionPlan

explain_option = click.option("--explain", is_flag=True, help="Print what would be done, and stop.")
by_option = click.option("--by", "signed_by", help="Who decides.  [required without --explain]")
reason_option = click.option("--reason", help="Why.  [required without --explain]")


@click.command()
@click.argument("name")
@explain_option
@by_option
@reason_option
@as_json
def promote(name: str, explain: bool, signed_by: str | None, reason: str | None, as_json: bool) -> None:
    """Serve a version that won its test to everyone; the registry's alias follows.

    \b
    Example: bakeoff promote planner_policy/3 --explain
             bakeoff promote planner_policy/3 --by Ada --reason "fewer edits, nothing worse"
    """
    with deps() as wired:
        with wired.db.transaction() as conn:
            version = policies.find_version(conn, name)
            test = _decisive_test(conn, version)
        plan = lifecycle.plan(wired, test)
        _carry_out(wired, plan, name, explain=explain, signed_by=signed_by, reason=reason, as_json=as_json)


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
    """Serve an earlier production version to everyone again.

    \b
    Example: bakeoff rollback planner_policy/1 --by Ada --reason "support tickets doubled"
    """
    with deps() as wired:
        plan = lifecycle.plan_back(wired, name)
        _carry_out(wired, plan, name, explain=explain, signed_by=signed_by, reason=reason, as_json=as_json)


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
    body = {"kind": plan.kind, "policy_version": name, "stages": steps, "applied": False}
    numbered = "\n".join(f"  {n}. {text}" for n, text in enumerate(steps, 1))
    if plan.replaces == plan.policy_version_id:
        if not explain:
            lifecycle.promote(wired, plan, signed_by="", reason="")  # nothing but the registry is left to follow
        return answer(as_json, body | {"already": True}, f"{name} serves everyone already")
    command = "promote" if plan.kind == "promotion" else "rollback"
    if explain:
        text = f'this {plan.kind} would\n{numbered}\nto do it: bakeoff {command} {name} --by "Your Name" --reason "..."'
        return answer(as_json, body, text)
    if not (signed_by or "").strip() or not (reason or "").strip():
        raise UsageError(
            f"a {plan.kind} needs a name and a reason",
            cure=f'bakeoff {command} {name} --by "Your Name" --reason "...", or --explain to see what it does',
        )
    lifecycle.promote(wired, plan, signed_by=str(signed_by), reason=str(reason))
    return answer(as_json, body | {"applied": True}, f"done:\n{numbered}")
