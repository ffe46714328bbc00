"""``bakeoff gate``"""

from pathlib import Path

import click

from bakeoff import lifecycle, plugins
from bakeoff.cli.lookup import find_dataset, find_incumbent, task_of
from bakeoff.cli.replaying import compared, dataset_option, sample_option, seed_option
from bakeoff.cli.session import answer, as_json, deps, say
from bakeoff.cli.verdicts import gate_text
from bakeoff.datasets.split import SLICES
from bakeoff.errors import UsageError
from bakeoff.gates.load import read_gate
from bakeoff.gates.model import Gate, Outcome
from bakeoff.gates.slices import warning
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.task import Task

REFUSED = 3  # exit code of a gate that does not pass


@click.command()
@click.argument("name")
@click.option("--against", help="The version to compare with.  [default: the incumbent]")
@click.option(
    "--gate",
    "gate_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The rules, a TOML file.  [default: [gates] in bakeoff.toml, else the task's]",
)
@dataset_option
@sample_option
@seed_option
@click.option(
    "--slices",
    type=click.IntRange(1, SLICES),
    help="Read so many slices of the test split.  [default: as many as needed]",
)
@click.option("--fresh", is_flag=True, help="Judge on rows that no gate has read: opens the next sealed slices.")
@as_json
@click.pass_context
def gate(
    ctx: click.Context,
    name: str,
    against: str | None,
    gate_file: Path | None,
    dataset_name: str,
    sample: int | None,
    seed: int,
    slices: int | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Compare a version with the incumbent on held-out rows: PASS, FAIL or INCONCLUSIVE, metric by metric.

    Replays both sides first where that was not done. Where every rule passes, stricter tests follow: segments, stress
    requests, behaviour beside production. Exit code 3 for anything but PASS.

    The test split is cut into four sealed slices. The first gate opens as many as it needs; later ones read the same,
    and every look is counted. --fresh opens the next, for good.

    \b
    Example: bakeoff gate planner_policy/3
             bakeoff gate planner_policy/3 --against planner_policy/2 --gate my_gate.toml
             bakeoff gate planner_policy/4 --fresh
    """
    with deps() as wired:
        with wired.db.transaction() as conn:
            candidate = policies.find_version(conn, name)
            incumbent = _other_side(conn, candidate, against)
            dataset = find_dataset(conn, task_of(conn, candidate), dataset_name)
        task = plugins.load_task(dataset.task)
        rules = read_gate(gate_file) if gate_file else _in_force(wired, task)
        reading = lifecycle.open_slices(wired, task, dataset, rules, (candidate, incumbent), slices=slices, fresh=fresh)
        say(f"{candidate.name} against {incumbent.name} on dataset {dataset.version}, {reading}, gate {rules.name!r}")
        sides = [
            lifecycle.replay(
                wired,
                task,
                version,
                dataset,
                slices=reading.slices,
                sample=sample,
                seed=seed,
                neutral_to=compared(sample, candidate, incumbent),
            )
            for version in (candidate, incumbent)
        ]
        report = lifecycle.gate(wired, task, sides[0], sides[1], dataset, rules)
        page = lifecycle.write_report(wired, task, report.digest)
    used = warning(report.attempt, rules.alpha)
    body = report.to_json() | {"policy_version": candidate.name, "against": incumbent.name, "warning": used}
    answer(as_json, body | {"page": str(page)}, f"{gate_text(candidate, rules, report)}\npage to read: {page}")
    if report.verdict is not Outcome.PASS:
        ctx.exit(REFUSED)


def _other_side(conn: policies.Conn, candidate: PolicyVersion, against: str | None) -> PolicyVersion:
    other = policies.find_version(conn, against) if against else find_incumbent(conn, candidate.policy_id)
    if other is None:
        raise UsageError(
            f"{candidate.policy_id} serves nobody yet, so there is no incumbent to compare with",
            cure=f'bakeoff policy adopt {candidate.policy_id}/1 --by "Your Name" --reason "...", or name --against',
        )
    if other.policy_version_id == candidate.policy_version_id:
        raise UsageError(
            f"{candidate.name} would be compared with itself",
            cure="bakeoff policy list shows the others; name one with --against",
        )
    return other


def _in_force(wired: lifecycle.Deps, task: Task) -> Gate:
    rules = wired.gate_in_force(task.name)
    if rules is None:
        raise UsageError(
            f"task {task.name!r} brings no gate file",
            cure=f"name the rules: --gate my_gate.toml, or for good in bakeoff.toml:\n    [gates]\n    {task.name} = "
            '"my_gate.toml"',
        )
    return rules
