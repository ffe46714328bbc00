"""``bakeoff experiment``, ``promote`` and ``rollback``"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bakeoff import lifecycle, plugins
from bakeoff.cli import lookup
from bakeoff.cli.session import answer, as_json, deps, outline, policy_id, table, task_option
from bakeoff.errors import Refused, UsageError
from bakeoff.experiments import store as experiments
from bakeoff.experiments.load import read_spec
from bakeoff.experiments.model import Advice, Analysis, Experiment, MetricAnalysis, Phase
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion.model import PromotionPlan


@click.group()
def experiment() -> None:
    """Online tests: an approved version meets some units, beside an equal control.

    \b
    Example: bakeoff experiment start planner_policy/3 --spec experiment.toml
             bakeoff experiment watch
    """


@experiment.command()
@click.argument("name")
@click.option(
    "--spec",
    "spec_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the test promises, a TOML file; frozen when it starts.",
)
@click.option("--name", "test_name", help="Name of the test; each is used once.  [default: test-VERSION]")
@as_json
def start(name: str, spec_file: Path, test_name: str | None, as_json: bool) -> None:
    """Let an approved version meet its first units, at most 10 % of them.

    \b
    Example: bakeoff experiment start planner_policy/3 --spec src/planner/town/experiment.toml --name spring
    """
    spec = read_spec(spec_file)
    with deps() as wired:
        with wired.db.transaction() as conn:
            version = policies.find_version(conn, name)
        test_name = test_name or f"test-{version.version}"
        started = lifecycle.start_experiment(wired, version, spec, name=test_name)
        if started.status != "running":
            raise Refused(
                f"test {test_name!r} of {version.policy_id} has ended: it was {started.status}",
                cure="a new test needs a name of its own: --name ...",
            )
        with wired.db.transaction() as conn:
            body = _body(conn, started)
    share = f"{body['treated_share']:.0%} of the units, as many are the control"
    answer(as_json, body, f"{body['treated']} meets {share}\nexperiment {body['experiment_id']}\nnext: {_watch(body)}")


@experiment.command()
@task_option
@click.option("--dry-run", is_flag=True, help="Print the evidence and the advice; store nothing, change nothing.")
@as_json
def watch(task_name: str, dry_run: bool, as_json: bool) -> None:
    """Look at the running test once, store what is seen as evidence, and do what it says.

    Harm rolls back at once, enough evidence widens the test or ends it. Shipping itself is left to a person:
    `bakeoff promote`. Run it by the hour or by the day, as you like: the intervals hold at every look.

    \b
    Example: bakeoff experiment watch --dry-run
    """
    task = plugins.load_task(task_name)
    with deps() as wired:
        with wired.db.transaction() as conn:
            running = lookup.running_test(conn, policy_id(task_name))
        now = wired.clock()
        if dry_run:
            analysis, advice = lifecycle.look(wired, task, running, now=now)
        else:
            snapshot = lifecycle.monitor(wired, task, running, now=now)
            analysis, advice = snapshot.analysis, snapshot.advice
            running = lifecycle.act_on(wired, running, snapshot, now=now)
        with wired.db.transaction() as conn:
            body = _body(conn, running) | _evidence(analysis, advice) | {"dry_run": dry_run}
    answer(as_json, body, "\n".join([_evidence_text(analysis, advice), "", _state(body), *_next(body)]))


@experiment.command()
@task_option
@as_json
def status(task_name: str, as_json: bool) -> None:
    """The tests of a task's policy: the newest with its phases and its last evidence. Looks at nothing new.

    \b
    Example: bakeoff experiment status
    """
    with deps() as wired, wired.db.transaction() as conn:
        known = experiments.tests(conn, policies.find_policy(conn, policy_id(task_name)).policy_id)
        bodies = [_body(conn, each) for each in known]
        last = lookup.last_look(conn, known[-1]) if known else None
    if not bodies:
        return answer(as_json, {"experiments": []}, f"no test of {policy_id(task_name)} yet")
    newest = bodies[-1]
    text = [table([_row(body) for body in bodies]), "", outline(newest)]
    if last is not None:
        newest |= _evidence(last.analysis, last.advice)
        text += ["", f"last look at {last.taken_at:%Y-%m-%d %H:%M} UTC", _evidence_text(last.analysis, last.advice)]
    return answer(as_json, {"experiments": bodies}, "\n".join([*text, *_next(newest)]))


@experiment.command()
@task_option
@click.option("--reason", required=True, help="What you saw.")
@as_json
def stop(task_name: str, reason: str, as_json: bool) -> None:
    """End the running test without a verdict; everyone is served by the incumbent again.

    \b
    Example: bakeoff experiment stop --reason "the recipe feed was down"
    """
    with deps() as wired:
        with wired.db.transaction() as conn:
            running = lookup.running_test(conn, policy_id(task_name))
        stopped = lifecycle.stop_experiment(wired, running, reason=reason)
        with wired.db.transaction() as conn:
            body = _body(conn, stopped)
    answer(as_json, body, _state(body))


def _body(conn: lookup.Conn, test: Experiment) -> dict[str, Any]:
    phases = experiments.phases(conn, test.experiment_id)
    roles = {variant.role: variant for variant in experiments.variants(conn, test.experiment_id)}
    control = policies.version_by_id(conn, roles["control"].policy_version_id)
    return {
        "experiment_id": test.experiment_id,
        "status": test.status,
        "treated": lookup.treated(conn, test).name,
        "control": control.name,
        "phase": phases[-1].number,
        "treated_share": phases[-1].treated_bp / 10_000,
        "units": len(experiments.exposures(conn, test.experiment_id)),
        "started_at": None if test.started_at is None else test.started_at.isoformat(),
        "ended_at": None if test.ended_at is None else test.ended_at.isoformat(),
        "reason": test.reason,
        "phases": [_phase(phase) for phase in phases],
    }


def _phase(phase: Phase) -> dict[str, Any]:
    return {"phase": phase.number, "treated_share": phase.treated_bp / 10_000, "began_at": phase.began_at.isoformat()}


def _row(body: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: body[name] for name in ("treated", "control", "status", "phase", "units", "reason")}
    return {"experiment": body["experiment_id"][:8], **named}


def _evidence(analysis: Analysis, advice: Advice) -> dict[str, Any]:
    return {"advice": advice.to_json(), "analysis": analysis.to_json()}


def _evidence_text(analysis: Analysis, advice: Advice) -> str:
    matured = analysis.matured
    missing = f"; about {advice.missing_units} more units would probably settle it" if advice.missing_units else ""
    return "\n".join(
        [
            table([_metric_row(found) for found in analysis.metrics]),
            f"matured units: {matured.get('treated', 0)} treated, {matured.get('control', 0)} control",
            f"advice: {advice.verdict}, {advice.reason}{missing}",
        ]
    )


def _metric_row(found: MetricAnalysis) -> dict[str, Any]:
    interval = found.reason if found.lower is None else f"[{found.lower:+.3f}, {found.upper:+.3f}]"
    return {
        "metric": found.metric,
        "treated": None if found.treated is None else f"{found.treated.value:.3f}",
        "control": None if found.control is None else f"{found.control.value:.3f}",
        "advantage": None if found.estimate is None else f"{found.estimate:+.3f}",
        "interval (at every look)": interval,
    }


def _state(body: Mapping[str, Any]) -> str:
    if body["status"] == "running":
        return f"{body['treated']} meets {body['treated_share']:.0%} of the units (phase {body['phase']})"
    return f"{body['treated']}: the test is {body['status']}, {body['reason']}"


def _next(body: Mapping[str, Any]) -> list[str]:
    """What to type after a look."""
    if body["status"] == "shipped":
        return [f"next: bakeoff promote {body['treated']} --explain"]
    return [f"next: {_watch(body)}"] if body["status"] == "running" else []


def _watch(body: Mapping[str, Any]) -> str:
    task_name = str(body["treated"]).partition("/")[0].removesuffix("_policy")
    return "bakeoff experiment watch" + ("" if task_name == "planner" else f" --task {task_name}")


# ---- who gets it ------------------------------------------------------------------------------------------------

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
