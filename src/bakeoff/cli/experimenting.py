"""``bakeoff experiment``: the life of a test"""

import re
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from bakeoff import lifecycle, plugins
from bakeoff.cli import lookup
from bakeoff.cli.evidence import describe, evidence, evidence_text, following, row, state
from bakeoff.cli.session import answer, as_json, deps, outline, policy_id, say, table, task_option
from bakeoff.errors import Refused, Unreachable, UsageError
from bakeoff.experiments import store as experiments
from bakeoff.experiments.history import Past
from bakeoff.experiments.load import read_spec
from bakeoff.experiments.model import RULES, Arm, Experiment, ExperimentSpec, Rule
from bakeoff.experiments.plan import ExperimentPlan, Outlook
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.task import Task


@click.group()
def experiment() -> None:
    """Online tests: an approved version meets some units, beside an equal control.

    \b
    Example: bakeoff experiment plan planner_policy/3 --spec experiment.toml
             bakeoff experiment start planner_policy/3 --spec experiment.toml
             bakeoff experiment watch --every 1h
    """


_SPEC: dict[str, Any] = {
    "type": click.Path(exists=True, dir_okay=False, path_type=Path),
    "help": "What the test promises, a TOML file; frozen when it is created. examples/experiments has some.",
}
spec_option = click.option("--spec", "spec_file", required=True, **_SPEC)
spec_if_new_option = click.option("--spec", "spec_file", **_SPEC)
holdback_option = click.option("--holdback", is_flag=True, help="The holdback of the last promotion, not a test.")
name_option = click.option("--name", "test_name", help="Name of the test; each is used once.  [default: test-VERSION]")


def _subject(wired: Deps, name: str) -> tuple[PolicyVersion, Task]:
    """The version to try, and its task."""
    with wired.db.transaction() as conn:
        version = policies.find_version(conn, name)
        return version, plugins.load_task(lookup.task_of(conn, version))


# ---- before any traffic -------------------------------------------------------------------------------------------


@experiment.command()
@click.argument("name")
@spec_option
@click.option("--weeks", type=float, help="How long the test may take.  [default: the spec's horizon, or 4]")
@as_json
def plan(name: str, spec_file: Path, weeks: float | None, as_json: bool) -> None:
    """What a test could show in some weeks, from your own log: by metric and share of your units.

    Says the smallest start, at most 10 %, at which something can be decided at all, or that nothing can.

    \b
    Example: bakeoff experiment plan planner_policy/3 --spec experiment.toml --weeks 6
    """
    spec = read_spec(spec_file)
    weeks = weeks or spec.horizon_weeks or 4.0
    with deps() as wired:
        version, task = _subject(wired, name)
        found, past = lifecycle.plan_experiment(wired, task, spec, weeks=weeks)
    body = {
        "policy_version": version.name,
        "weeks": weeks,
        "testable": found.start_bp is not None,
        "start_bp": found.start_bp,
        "reason": found.reason,
        "unknown": list(found.unknown),
        "history": None if past is None else _past(past),
        "metrics": [_planned(each) for each in found.plans],
    }
    answer(as_json, body, _plan_text(spec, found, past))


def _past(past: Past) -> dict[str, Any]:
    return {"since": past.since.isoformat(), "until": past.until.isoformat(), "needs": past.needs, "units": past.units}


def _planned(found: ExperimentPlan) -> dict[str, Any]:
    return {
        "metric": found.metric,
        "start_bp": found.start_bp,
        "units_needed": found.units_needed,
        "reason": found.reason,
        "stages": [
            {
                "treated_share": reach.treated_bp / 10_000,
                "units_per_arm": reach.units_per_arm,
                "detectable": reach.detectable,
                "relative": reach.relative,
            }
            for reach in found.reaches
        ],
    }


def _plan_text(spec: ExperimentSpec, found: Outlook, past: Past | None) -> str:
    if past is None:
        return f"{found.reason}\nlet the incumbent serve for a week or two, or import history: bakeoff events import"
    lines = [
        f"from {past.needs:,} needs of {past.units:,} units, {past.since:%Y-%m-%d} to {past.until:%Y-%m-%d}; "
        f"the smallest difference that {found.weeks:g} weeks would show (with probability .8, at every look):",
        "",
        table([_plan_row(spec, each) for each in found.plans]),
        "",
        found.reason,
    ]
    if found.unknown:
        lines.append(f"the log says nothing of {', '.join(found.unknown)}")
    if found.start_bp is not None and spec.stages[0] < found.start_bp:
        first = next((stage for stage in spec.stages if stage >= found.start_bp), found.start_bp)
        lines.append(
            f"the spec begins at {spec.stages[0] / 100:g} %, where nothing can be decided in that time: "
            f"let stages begin at {first} or {found.start_bp}"
        )
    return "\n".join(lines)


def _plan_row(spec: ExperimentSpec, found: ExperimentPlan) -> dict[str, Any]:
    cells = {
        f"{reach.treated_bp / 100:g} %": f"burn-in ({reach.units_per_arm})"
        if reach.detectable is None
        else f"{reach.detectable:.3g} ({reach.units_per_arm})"
        for reach in found.reaches
    }
    return {"metric": found.metric, "wanted": _wanted(spec, found.metric), **cells}


def _wanted(spec: ExperimentSpec, name: str) -> str | None:
    """What the spec wants to know of a metric, to compare with what can be seen."""
    guardrail = next((each for each in spec.guardrails if each.metric == name), None)
    if guardrail is not None:
        return f"not worse by {guardrail.margin:g}"
    if spec.primary_margin is not None:
        return f"not worse by {spec.primary_margin:g}"
    return None if spec.minimum_effect is None else f"better by {spec.minimum_effect:g}"


@experiment.command()
@click.argument("name")
@spec_option
@name_option
@as_json
def create(name: str, spec_file: Path, test_name: str | None, as_json: bool) -> None:
    """Store a test and freeze its spec, without any traffic.

    \b
    Example: bakeoff experiment create planner_policy/3 --spec experiment.toml --name spring
    """
    spec = read_spec(spec_file)
    with deps() as wired:
        version, task = _subject(wired, name)
        made = lifecycle.create_experiment(wired, version, spec, name=test_name or f"test-{version.version}", task=task)
        with wired.db.transaction() as conn:
            body = describe(conn, made)
    text = f"test {made.name} of {version.name} is {made.status}, spec {made.spec_digest}"
    answer(as_json, body, "\n".join([text, *following(body)]))


@experiment.command()
@click.argument("name")
@spec_if_new_option
@name_option
@as_json
def start(name: str, spec_file: Path | None, test_name: str | None, as_json: bool) -> None:
    """Let an approved version meet its first units, at most 10 % of them.

    Without --spec it starts the test that was created under that name.

    \b
    Example: bakeoff experiment start planner_policy/3 --spec src/planner/town/experiment.toml --name spring
    """
    spec = None if spec_file is None else read_spec(spec_file)
    with deps() as wired:
        version, task = _subject(wired, name)
        test_name = test_name or f"test-{version.version}"
        started = lifecycle.start_experiment(wired, version, spec, name=test_name, task=task)
        if started.status != "running":
            raise Refused(
                f"test {test_name!r} of {version.policy_id} has ended: it was {started.status}",
                cure="a new test needs a name of its own, which deals the units anew: --name ...",
            )
        with wired.db.transaction() as conn:
            body = describe(conn, started)
    share = f"{body['treated_share']:.0%} of the units, as many are the control"
    text = f"{body['treated']} meets {share}\nexperiment {body['experiment_id']}"
    answer(as_json, body, "\n".join([text, *following(body)]))


# ---- while it runs ------------------------------------------------------------------------------------------------

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> timedelta:
    """'30m', '1h', '2d'. For `click.option(type=...)`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{text!r} is no duration; expected for instance 30m, 1h or 1d")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


@experiment.command()
@task_option
@holdback_option
@click.option("--every", type=duration, metavar="DURATION", help="Look again and again, for instance 1h.")
@click.option("--times", type=click.IntRange(min=1), help="How many looks.  [default: until the test ends]")
@click.option("--dry-run", is_flag=True, help="Print the evidence and the advice; keep no evidence, change nothing.")
@click.option("--afresh", is_flag=True, help="Read the whole log again instead of what is new in it.")
@as_json
def watch(
    task_name: str,
    holdback: bool,
    every: timedelta | None,
    times: int | None,
    dry_run: bool,
    afresh: bool,
    as_json: bool,
) -> None:
    """Look at the running test, store what is seen as evidence, and do what it says.

    Harm rolls back at once, enough evidence widens the test or ends it. Shipping itself is left to a person:
    `bakeoff promote`. Run it by the hour or by the day, as you like: the intervals hold at every look.
    With --holdback it looks at the units that kept the old version after a promotion: harm goes back to that version.

    \b
    Example: bakeoff experiment watch --dry-run
             bakeoff experiment watch --every 1h
    """
    if times is not None and every is None:
        raise UsageError("--times says how often, but not how far apart", cure="add --every 1h")
    task = plugins.load_task(task_name)
    looks: list[dict[str, Any]] = []
    with deps() as wired:
        with wired.db.transaction() as conn:
            running = _running(conn, policy_id(task_name), holdback=holdback)
        body, text = _look(wired, task, running, dry_run=dry_run, afresh=afresh)
        looks.append(_short(body))
        while every is not None and body["status"] == "running" and len(looks) != times:
            say(_progress(looks, times, every))
            time.sleep(every.total_seconds())
            try:
                body, text = _look(wired, task, running, dry_run=dry_run, afresh=False)
                looks.append(_short(body))
            except Unreachable as error:
                looks.append({"looked_at": None, "verdict": None, "reason": str(error)})
    answer(as_json, body if every is None else body | {"looks": looks}, text)


def _running(conn: lookup.Conn, policy: str, *, holdback: bool) -> Experiment:
    return lookup.running_holdback(conn, policy) if holdback else lookup.running_test(conn, policy)


def _look(wired: Deps, task: Task, test: Experiment, *, dry_run: bool, afresh: bool) -> tuple[dict[str, Any], str]:
    """One look at the test as it stands now (somebody else may have ended it), and what it says in words."""
    with wired.db.transaction() as conn:
        test = experiments.find_experiment(conn, test.experiment_id)
    now = wired.clock()
    if dry_run:
        analysis, advice = lifecycle.look(wired, task, test, now=now, afresh=afresh)
    else:
        snapshot = lifecycle.monitor(wired, task, test, now=now, afresh=afresh)
        analysis, advice = snapshot.analysis, snapshot.advice
        test = lifecycle.act_on(wired, test, snapshot, now=now)
    with wired.db.transaction() as conn:
        body = describe(conn, test) | evidence(analysis, advice) | {"dry_run": dry_run}
    by_hand = advice.verdict == "advance" and test.spec is not None and test.spec.widened_by == "person"
    return body, "\n".join([evidence_text(analysis, advice), "", state(body), *following(body, by_hand=by_hand)])


def _short(body: Mapping[str, Any]) -> dict[str, Any]:
    advice = body["advice"]
    return {"looked_at": body["analysis"]["looked_at"], "verdict": advice["verdict"], "reason": advice["reason"]}


def _progress(looks: list[dict[str, Any]], times: int | None, every: timedelta) -> str:
    last, of = looks[-1], "" if times is None else f" of {times}"
    return (
        f"look {len(looks)}{of}: {last['verdict'] or 'no answer'}, {last['reason']}; the next in {every} "
        "(Ctrl-C ends the watch, not the test)"
    )


@experiment.command()
@task_option
@click.option("--waive", "rules", type=click.Choice(RULES), multiple=True, help="Set a rule aside for this phase.")
@click.option("--by", "signed_by", default="", help="Who decides.  [required with --waive]")
@click.option("--reason", default="", help="Why.  [required with --waive]")
@as_json
def ramp(task_name: str, rules: tuple[Rule, ...], signed_by: str, reason: str, as_json: bool) -> None:
    """Widen the running test by hand, where the evidence says advance.

    A person may set two rules aside for one phase, with a name and a reason that stay on record: how long the phase
    lasts, and how many units it needs. Never harm, an uneven split, missing numbers, the first 10 % or shipping.

    \b
    Example: bakeoff experiment ramp
             bakeoff experiment ramp --waive dwell --by Ada --reason "the sale ends on Friday"
    """
    task = plugins.load_task(task_name)
    with deps() as wired:
        with wired.db.transaction() as conn:
            running = lookup.running_test(conn, policy_id(task_name))
        if rules:
            lifecycle.waive(wired, running, rules, signed_by=signed_by, reason=reason)
        after, snapshot = lifecycle.ramp(wired, task, running, now=wired.clock())
        with wired.db.transaction() as conn:
            body = describe(conn, after) | evidence(snapshot.analysis, snapshot.advice)
    text = [evidence_text(snapshot.analysis, snapshot.advice), "", state(body), *following(body)]
    answer(as_json, body, "\n".join(text))


@experiment.command()
@task_option
@as_json
def status(task_name: str, as_json: bool) -> None:
    """The tests and holdbacks of a task's policy: the newest with its phases, waivers and last evidence.

    \b
    Example: bakeoff experiment status
    """
    with deps() as wired, wired.db.transaction() as conn:
        known = lookup.all_experiments(conn, policies.find_policy(conn, policy_id(task_name)).policy_id)
        bodies = [describe(conn, each) for each in known]
        last = lookup.last_look(conn, known[-1]) if known else None
    if not bodies:
        return answer(as_json, {"experiments": []}, f"no test of {policy_id(task_name)} yet")
    newest = bodies[-1]
    text = [table([row(body) for body in bodies]), "", outline(newest)]
    if last is not None:
        newest |= evidence(last.analysis, last.advice)
        text += ["", f"last look at {last.taken_at:%Y-%m-%d %H:%M} UTC", evidence_text(last.analysis, last.advice)]
    return answer(as_json, {"experiments": bodies}, "\n".join([*text, *following(newest)]))


@experiment.command()
@task_option
@holdback_option
@click.option("--reason", required=True, help="What you saw.")
@click.option("--rollback", "rolled_back", is_flag=True, help="You saw harm: record it as rolled back.")
@as_json
def stop(task_name: str, holdback: bool, reason: str, rolled_back: bool, as_json: bool) -> None:
    """End the running test without a verdict; everyone is served by the incumbent again, from the next decision on.

    It needs no statistics and no other process, and nothing starts the test again: another try is another test.

    \b
    Example: bakeoff experiment stop --reason "the recipe feed was down"
             bakeoff experiment stop --rollback --reason "support tickets doubled"
    """
    with deps() as wired:
        with wired.db.transaction() as conn:
            running = _running(conn, policy_id(task_name), holdback=holdback)
            if holdback and rolled_back:
                kept = describe(conn, running)["control"]
                raise UsageError(
                    "ending a holdback gives everyone the new version, which is no rollback",
                    cure=f'to go back: bakeoff rollback {kept} --by "Your Name" --reason "..."',
                )
        stopped = lifecycle.stop_experiment(wired, running, reason=reason, rolled_back=rolled_back)
        with wired.db.transaction() as conn:
            body = describe(conn, stopped)
    answer(as_json, body, state(body))


@experiment.command()
@click.argument("unit")
@task_option
@click.option("--variant", type=click.Choice(["treated", "control"]), default="treated", show_default=True)
@click.option("--by", "forced_by", required=True, help="Who decides.")
@as_json
def force(unit: str, task_name: str, variant: Arm, forced_by: str, as_json: bool) -> None:
    """Put a test unit (yourself, an automated check) into an arm. It is marked, and left out of every analysis.

    \b
    Example: bakeoff experiment force household-of-ada --variant treated --by Ada
    """
    with deps() as wired:
        with wired.db.transaction() as conn:
            test = lookup.open_test(conn, policy_id(task_name))
        forced = lifecycle.force_variant(wired, test, unit, variant, forced_by=forced_by)
    body = {"experiment_id": test.experiment_id, "unit_id": unit, "variant": variant, "by": forced.forced_by}
    answer(as_json, body, f"{unit} is {variant} in test {test.name}, and left out of its analysis")
