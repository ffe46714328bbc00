"""``bakeoff gate``"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bakeoff import lifecycle, plugins
from bakeoff.cli.lookup import find_dataset, find_incumbent, task_of
from bakeoff.cli.replaying import compared, dataset_option, sample_option, seed_option
from bakeoff.cli.session import answer, as_json, deps, say, table
from bakeoff.errors import UsageError
from bakeoff.gates.load import read_gate
from bakeoff.gates.model import Gate, GateReport, Outcome, Verdict
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
    help="The rules, a TOML file.  [default: the task's]",
)
@dataset_option
@sample_option
@seed_option
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
    as_json: bool,
) -> None:
    """Compare a version with the incumbent on held-out rows: PASS, FAIL or INCONCLUSIVE, metric by metric.

    Replays both sides first where that was not done. Exit code 3 for anything but PASS.

    \b
    Example: bakeoff gate planner_policy/3
             bakeoff gate planner_policy/3 --against planner_policy/2 --gate my_gate.toml
    """
    with deps() as wired:
        with wired.db.transaction() as conn:
            candidate = policies.find_version(conn, name)
            incumbent = _other_side(conn, candidate, against)
            dataset = find_dataset(conn, task_of(conn, candidate), dataset_name)
        task = plugins.load_task(dataset.task)
        rules = read_gate(gate_file or _gate_file(task))
        sides = [
            lifecycle.replay(
                wired,
                task,
                version,
                dataset,
                sample=sample,
                seed=seed,
                neutral_to=compared(sample, candidate, incumbent),
            )
            for version in (candidate, incumbent)
        ]
        report = lifecycle.gate(wired, task, sides[0], sides[1], dataset, rules)
    say(f"{candidate.name} against {incumbent.name} on dataset {dataset.version}, gate {rules.name!r}")
    answer(as_json, report.to_json(), gate_text(candidate, rules, report))
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


def _gate_file(task: Task) -> Path:
    if task.gate_file is None:
        raise UsageError(f"task {task.name!r} brings no gate file", cure="name the rules: --gate my_gate.toml")
    return task.gate_file


def gate_text(candidate: PolicyVersion, rules: Gate, report: GateReport) -> str:
    """The table of verdicts and what to type next."""
    lines = [
        table([_verdict_row(verdict) for verdict in report.all_verdicts()]),
        "",
        *(f"  {v.metric}: {v.reason}" for v in report.all_verdicts() if v.outcome is not Outcome.SHOWN),
        "",
        f"{report.rows} rows ({report.neutral_rows} neutral) of {report.units} units, alpha {rules.alpha:g} per metric",
        f"verdict: {report.verdict.value}   report {report.digest}",
    ]
    return "\n".join([*lines, *_following(candidate, report)])


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    bounds = [_bound(verdict.lower), _bound(verdict.upper)]
    return {
        "verdict": verdict.outcome.value,
        "metric": verdict.metric,
        "rows": verdict.rows,
        "candidate": _figure(verdict.candidate),
        "incumbent": _figure(verdict.incumbent),
        "advantage": None if verdict.kind == "absolute" else _bound(verdict.estimate),
        "interval": None if bounds == [None, None] else f"[{bounds[0] or '...'}, {bounds[1] or '...'}]",
        "needed": _needed(verdict),
    }


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}" if _usual(value) else f"{value:.2g}"


def _bound(value: float | None) -> str | None:
    return None if value is None else f"{value:+.3f}" if _usual(value) else f"{value:+.2g}"


def _usual(value: float) -> bool:
    """Whether three decimals say enough; a cost of an answer is far below."""
    return value == 0 or abs(value) >= 0.001


def _needed(verdict: Verdict) -> str:
    limits = [
        (f"above {-verdict.margin:+g}" if verdict.margin is not None else ""),
        (f"at least {verdict.minimum:g}" if verdict.minimum is not None else ""),
        (f"at most {verdict.maximum:g}" if verdict.maximum is not None else ""),
    ]
    return " and ".join(limit for limit in limits if limit)


def _following(candidate: PolicyVersion, report: GateReport) -> Sequence[str]:
    if report.verdict is Outcome.PASS:
        return [
            "next: read the table, then sign it",
            f'  bakeoff approve {candidate.name} --report {report.digest} --by "Your Name" --note "what you looked at"',
        ]
    if report.verdict is Outcome.FAIL:
        return ["it is worse than it may be, so it meets nobody; bakeoff status says how to go on"]
    return [f"evidence is missing, as said above; with a larger dataset: bakeoff gate {candidate.name}"]
