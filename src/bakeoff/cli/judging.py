"""``bakeoff replay``, ``gate`` and ``approve``"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bakeoff import lifecycle, plugins
from bakeoff.cli.lookup import LATEST, find_dataset, find_incumbent, task_of
from bakeoff.cli.session import answer, as_json, deps, say, table
from bakeoff.datasets.model import Dataset
from bakeoff.errors import UsageError
from bakeoff.gates.load import read_gate
from bakeoff.gates.model import Gate, GateReport, Outcome, Verdict
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay.model import ReplayReport
from bakeoff.task import Task

REFUSED = 3  # exit code of a gate that does not pass
dataset_option = click.option(
    "--dataset", "dataset_name", default=LATEST, show_default=True, help="Version, digest, folder or latest."
)
sample_option = click.option(
    "--sample", type=click.IntRange(min=1), help="Only so many rows, neutral ones first.  [default: all]"
)
seed_option = click.option("--seed", default=0, show_default=True, help="Another seed is another sample.")


@click.command()
@click.argument("name")
@dataset_option
@sample_option
@seed_option
@as_json
def replay(name: str, dataset_name: str, sample: int | None, seed: int, as_json: bool) -> None:
    """Run a policy version over a dataset's held-out requests and score every answer.

    Rows that are there already are not answered again, so a stopped replay goes on where it was.

    \b
    Example: bakeoff replay planner_policy/3 --dataset latest --sample 80
    """
    with deps() as wired:
        with wired.db.transaction() as conn:
            version = policies.find_version(conn, name)
            dataset = find_dataset(conn, task_of(conn, version), dataset_name)
            incumbent = find_incumbent(conn, version.policy_id)
        report = lifecycle.replay(
            wired,
            plugins.load_task(dataset.task),
            version,
            dataset,
            sample=sample,
            seed=seed,
            neutral_to=compared(sample, version, incumbent),
        )
    answer(as_json, _replay_body(version, dataset, report), _replay_text(version, dataset, report))


def compared(sample: int | None, version: PolicyVersion, other: PolicyVersion | None) -> tuple[PolicyVersion, ...]:
    """Whose proposals make a row anchored, for the choice of a sample. Without a sample there is nothing to
    choose, and the same replay then serves every comparison."""
    if sample is None:
        return ()
    return tuple({v.policy_version_id: v for v in (version, other) if v is not None}.values())


def _replay_body(version: PolicyVersion, dataset: Dataset, report: ReplayReport) -> dict[str, Any]:
    return {
        "policy_version": version.name,
        "dataset": dataset.version,
        "dataset_digest": dataset.digest,
        "replay_id": report.replay_id,
        "digest": report.digest,
        "selection": dict(report.selection),
        "deterministic": report.certificate.deterministic,
        "certificate": {"rows": report.certificate.rows, "equal": report.certificate.equal},
        "aggregates": dict(report.aggregates),
    }


def _replay_text(version: PolicyVersion, dataset: Dataset, report: ReplayReport) -> str:
    again = f"{report.certificate.equal} of {report.certificate.rows} answers were the same the second time"
    shown = {
        name: value
        for name, value in sorted(report.aggregates.items())
        if name != "rows" and not (name.endswith("_coverage") and value == 1.0)
    }
    return "\n".join(
        [
            f"{version.name} over {report.aggregates['rows']:.0f} held-out rows of dataset {dataset.version}",
            *(f"  {name:<34} {value:.4g}" for name, value in shown.items()),
            f"{'deterministic' if report.certificate.deterministic else 'NOT deterministic'}: {again}",
        ]
    )


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


@click.command()
@click.argument("name")
@click.option(
    "--report", "report_digest", required=True, help="Digest of the gate report, as `bakeoff gate` prints it."
)
@click.option("--by", "signed_by", required=True, help="Your name.")
@click.option("--note", required=True, help="What you looked at.")
@as_json
def approve(name: str, report_digest: str, signed_by: str, note: str, as_json: bool) -> None:
    """Sign one gate report: the version may then meet at most 10 % of the units in a test.

    The signature covers the report, the dataset, the rules and the policy spec; it is good for 30 days.

    \b
    Example: bakeoff approve planner_policy/3 --report sha256:... --by Ada --note "read the table"
    """
    with deps() as wired:
        approval = lifecycle.approve(wired, name, report_digest=report_digest, signed_by=signed_by, note=note)
    body = {
        "policy_version": name,
        "approval_id": approval.approval_id,
        "report_digest": approval.report_digest,
        "signed_by": approval.signed_by,
        "signed_at": approval.signed_at.isoformat(),
        "expires_at": None if approval.expires_at is None else approval.expires_at.isoformat(),
    }
    until = "" if approval.expires_at is None else f", good until {approval.expires_at:%Y-%m-%d}"
    text = f"{name} is approved by {approval.signed_by}{until}\nnext: bakeoff experiment start {name} --spec FILE"
    answer(as_json, body, text)
