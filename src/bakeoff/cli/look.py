"""``bakeoff status`` and ``doctor``"""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from bakeoff import bootstrap, plugins, settings
from bakeoff.cli import agreement, checks, lineage, lookup
from bakeoff.cli.session import answer, as_json, deps, table
from bakeoff.cli.standing import Next, RunningTest, Standing, VersionFacts, first_command, next_command
from bakeoff.datasets import store as datasets
from bakeoff.errors import UsageError
from bakeoff.events import health
from bakeoff.events import store as events
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import Experiment
from bakeoff.gates import store as gates
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import Policy, PolicyVersion
from bakeoff.settings import Settings


@click.command()
@as_json
def status(as_json: bool) -> None:
    """Where each policy stands: its versions, what serves, the running test, and the next command to type.

    \b
    Example: bakeoff status
    """
    found = settings.load()
    if untouched(found):
        return _nothing(as_json, f"nothing here yet (no database in {found.home})", has_settings=is_set_up())
    with deps(found) as wired, wired.db.transaction() as conn:
        now = wired.clock()
        standings = [read_standing(conn, policy) for policy in policies.all_policies(conn)]
    if not standings:
        return _nothing(as_json, "no policy yet", has_settings=True)
    advised = [(standing, next_command(standing, now)) for standing in standings]
    bodies = [_body(standing, following) for standing, following in advised]
    return answer(as_json, {"policies": bodies}, "\n\n".join(_text(standing, after) for standing, after in advised))


def _nothing(as_json: bool, says: str, *, has_settings: bool) -> None:
    first = first_command(has_settings=has_settings)
    body = {"policies": [], "next": first.command, "why": first.why}
    answer(as_json, body, f"{says}\nnext: {first.command}\n      {first.why}")


def is_set_up() -> bool:
    """Whether somebody said where things are: a settings file or variables."""
    origin = settings.origin()
    return origin.file is not None or bool(origin.variables)


def untouched(found: Settings) -> bool:
    """Whether the embedded database was never started here; looking must not make one."""
    return found.database_url is None and not (found.home / "postgres").exists()


def read_standing(conn: lookup.Conn, policy: Policy) -> Standing:
    versions = policies.versions(conn, policy.policy_id)
    names = {version.policy_version_id: version.name for version in versions}
    incumbent = lookup.find_incumbent(conn, policy.policy_id)
    external = incumbent is not None and incumbent.is_external
    explorer, explorer_bp = _explorer(conn, policy.policy_id) if incumbent else (None, 0)
    log = events.summarize(conn, policy.task)
    newest = datasets.latest(conn, policy.task)
    tests = _latest_tests(conn, policy.policy_id)
    return Standing(
        policy_id=policy.policy_id,
        task=policy.task,
        versions=tuple(_facts(conn, version, tests.get(version.policy_version_id)) for version in versions),
        incumbent=None if incumbent is None else incumbent.name,
        explorer=None if explorer is None else names[explorer],
        explorer_bp=explorer_bp,
        last_resort=None if policy.last_resort is None else names[policy.last_resort],
        running=_running(conn, experiments.running_test(conn, policy.policy_id), names),
        holdback=_running(conn, experiments.running_holdback(conn, policy.policy_id), names),
        events=log.events,
        decisions=log.decisions,
        dataset=None if newest is None else newest.version,
        dataset_digest=None if newest is None else newest.digest,
        external_since=_began_at(conn, policy.policy_id) if external else None,
    )


def _began_at(conn: lookup.Conn, policy_id: str) -> datetime:
    """Since when the incumbent has served."""
    default = experiments.default_experiment(conn, policy_id)
    return experiments.phases(conn, default.experiment_id)[-1].began_at


def _explorer(conn: lookup.Conn, policy_id: str) -> tuple[str | None, int]:
    default = experiments.default_experiment(conn, policy_id)
    phase = experiments.phases(conn, default.experiment_id)[-1]
    known = {variant.variant_id: variant for variant in experiments.variants(conn, default.experiment_id)}
    found = known.get(str(phase.treated_variant_id))
    return (None, 0) if found is None else (found.policy_version_id, phase.treated_bp)


def _latest_tests(conn: lookup.Conn, policy_id: str) -> dict[str, Any]:
    begun = (test for test in experiments.tests(conn, policy_id) if test.status != "created")
    return {lookup.treated(conn, test).policy_version_id: test.status for test in begun}


def _facts(conn: lookup.Conn, version: PolicyVersion, test_status: Any) -> VersionFacts:
    report = _latest_report(conn, version.policy_version_id)
    approval = policies.live_approval(conn, version.policy_version_id)
    voided = policies.last_voided(conn, version.policy_version_id)
    was_of_it = approval is None and voided is not None and report is not None and report.created_at <= voided.voided_at
    return VersionFacts(
        version=version,
        verdict=None if report is None else report.report.verdict.value,  # type: ignore[arg-type]  # never SHOWN
        report_digest=None if report is None else report.report.digest,
        approved_by=None if approval is None else f"{approval.signed_by} ({approval.kind})",
        approved_until=None if approval is None else approval.expires_at,
        void_because=voided.reason if was_of_it and voided is not None else None,
        test_status=test_status,
    )


def _latest_report(conn: lookup.Conn, policy_version_id: str) -> gates.StoredReport | None:
    """None also for one that was changed after it was written: it says nothing, and looking goes on."""
    try:
        return gates.latest(conn, policy_version_id)
    except UsageError:
        return None


def _running(conn: lookup.Conn, test: Experiment | None, names: dict[str, str]) -> RunningTest | None:
    if test is None:
        return None
    phase = experiments.phases(conn, test.experiment_id)[-1]
    last = lookup.last_look(conn, test)
    return RunningTest(
        experiment_id=test.experiment_id,
        treated=names[lookup.treated(conn, test).policy_version_id],
        phase=phase.number,
        treated_bp=phase.treated_bp,
        units=experiments.count_exposures(conn, test.experiment_id),
        verdict=None if last is None else last.advice.verdict,
        reason=None if last is None else last.advice.reason,
        looked_at=None if last is None else last.taken_at,
    )


def _body(standing: Standing, following: Next) -> dict[str, Any]:
    running = standing.running
    return {
        "policy_id": standing.policy_id,
        "task": standing.task,
        "versions": [_version_row(facts, standing) for facts in standing.versions],
        "incumbent": standing.incumbent,
        "external_since": None if standing.external_since is None else standing.external_since.isoformat(),
        "explorer": standing.explorer,
        "explorer_share": standing.explorer_bp / 10_000,
        "last_resort": standing.last_resort,
        "test": None if running is None else asdict(running),
        "holdback": None if standing.holdback is None else asdict(standing.holdback),
        "events": standing.events,
        "decisions": standing.decisions,
        "dataset": standing.dataset,
        "next": following.command,
        "why": following.why,
    }


def _text(standing: Standing, following: Next) -> str:
    serves = _serves(standing)
    explorer = f", {standing.explorer} takes {standing.explorer_bp / 100:g} % of decisions" if standing.explorer else ""
    rescue = f", {standing.last_resort} is the last resort" if standing.last_resort else ""
    dataset = f"newest dataset {standing.dataset}" if standing.dataset else "no dataset yet"
    lines = [
        f"{standing.policy_id}: {serves}{explorer}{rescue}",
        "",
        _indented(table([_version_row(facts, standing) for facts in standing.versions])),
        "",
        *_test_lines(standing.running),
        *_holdback_lines(standing),
        f"  log   {standing.decisions} decisions, {standing.events - standing.decisions} outcomes; {dataset}",
        f"  next  {following.command}",
        f"        {following.why}",
    ]
    return "\n".join(lines)


def _serves(standing: Standing) -> str:
    if standing.incumbent is None:
        return "nothing serves yet"
    if standing.external_since is None:
        return f"{standing.incumbent} serves everyone"
    what = next(facts.version.what for facts in standing.versions if facts.name == standing.incumbent)
    return f"{standing.incumbent} is {what}, since {standing.external_since:%Y-%m-%d}; it answers by itself"


def _test_lines(test: RunningTest | None) -> list[str]:
    if test is None:
        return []
    head = f"  test  {test.treated} meets {test.treated_bp / 100:g} % (phase {test.phase}), {test.units} units so far"
    if test.verdict is None:
        return [head]
    return [head, f"        {test.looked_at:%Y-%m-%d %H:%M}: {test.verdict}, {test.reason}"]


def _holdback_lines(standing: Standing) -> list[str]:
    held = standing.holdback
    if held is None:
        return []
    task = "" if standing.task == "planner" else f" --task {standing.task}"
    seen = "nobody looked yet" if held.verdict is None else f"{held.verdict}, {held.reason}"
    return [
        f"  held  {held.treated_bp / 100:g} % keep what {held.treated} replaced, {held.units} units so far; {seen}",
        f"        bakeoff experiment watch --holdback{task}",
    ]


def _version_row(facts: VersionFacts, standing: Standing) -> dict[str, Any]:
    roles = {standing.incumbent: "incumbent", standing.explorer: "explorer", standing.last_resort: "last resort"}
    return {
        "version": facts.name,
        "status": facts.version.status,
        "role": roles.get(facts.name),
        "engine": facts.version.spec.engine,
        "model": lineage.models_uri(facts.version),
        "gate": facts.verdict,
        "approved by": facts.approved_by or (f"void: {facts.void_because}" if facts.void_because else None),
        "test": facts.test_status,
    }


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


@click.command()
@click.option("--repair", is_flag=True, help="Put right what differs: the registry follows our tables.")
@as_json
@click.pass_context
def doctor(ctx: click.Context, repair: bool, as_json: bool) -> None:
    """Check versions, the machine, servers of models (endpoints), the database, MLflow, and whether our tables, the
    registry and the processes that serve say the same about who gets what.

    Exit code 0 where nothing is wrong, 4 where something does not answer, 3 for anything else.

    \b
    Example: bakeoff doctor --repair
    """
    found = settings.load()
    results = [*checks.libraries(), checks.fine("settings", str(settings.origin())), *checks.machine()]
    results.append(checks.storage(found.datasets))
    results += checks.endpoints(found)
    if untouched(found):
        results.append(checks.fine("database", f"none in {found.home} yet; the first command that needs one makes it"))
    else:
        results += checks.database(found)
        if results[-1].state == "fine":
            with deps(found) as wired:
                results += _signatures(found, wired)
                results += _logs(wired)
                results += checks.endpoint_names(_versions(wired), found)
                results += agreement.standing(wired, repair=repair)
                results += agreement.replicas(wired, repair=repair)
                results += agreement.registry(wired, repair=repair)
    rows = [asdict(check) for check in results]
    answer(as_json, {"checks": rows, "at": bootstrap.utc_now().isoformat()}, checks.as_text(results))
    if worst := checks.exit_code(results):
        ctx.exit(worst)


def _signatures(found: Settings, wired: Deps) -> list[checks.Check]:
    """Whether the database keeps signing apart from building; the embedded one never does, and says so."""
    if found.database_url is None:
        return []
    with wired.db.transaction() as conn:
        return [checks.signatures(above=policies.is_advisory(conn))]


def _logs(wired: Deps) -> list[checks.Check]:
    """What is wrong with the log of every policy's task."""
    results: list[checks.Check] = []
    with wired.db.transaction() as conn:
        for name in sorted({policy.task for policy in policies.all_policies(conn)}):
            try:
                task = plugins.load_task(name)
            except UsageError as error:
                results.append(checks.no_task(name, error))
            else:
                results += checks.log(name, health.examine(conn, task, wired.clock()))
    return results


def _versions(wired: Deps) -> list[PolicyVersion]:
    with wired.db.transaction() as conn:
        return [each for policy in policies.all_policies(conn) for each in policies.versions(conn, policy.policy_id)]
