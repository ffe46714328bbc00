"""``bakeoff task``"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from bakeoff import lifecycle, plugins
from bakeoff.cli import afresh
from bakeoff.cli.lookup import mapping_function, moment
from bakeoff.cli.session import answer, as_json, deps, outline, task_option
from bakeoff.conformance import rows as files
from bakeoff.conformance.check import examine
from bakeoff.conformance.model import Finding, Report, merged
from bakeoff.datasets.skew import SkewReport
from bakeoff.errors import Refused, UsageError
from bakeoff.events import sample, store
from bakeoff.task import Episode, Request, RequestKey, Task


@click.group()
def task() -> None:
    """Tasks: what a domain tells bakeoff about itself.

    \b
    Example: bakeoff task check --task planner
    """


# ---- check ----------------------------------------------------------------------------------------------------------


@task.command()
@task_option
@click.option("--rows", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many rows to try.")
@click.option(
    "--requests",
    "file",
    type=click.Path(path_type=Path),
    help="Rows of a file (.jsonl, .jsonl.gz, .parquet) instead of the log: requests, or events to be imported.",
)
@click.option("--map", "mapping", metavar="MODULE:FUNCTION", help="Makes events of your own lines, as for an import.")
@as_json
def check(task_name: str, rows: int, file: Path | None, mapping: str | None, as_json: bool) -> None:
    """Run a task over real rows and say what is wrong with it.

    Prompt, schema, parser, rules, repair, examples, labels, scores and fits are tried on each row: do they answer, the
    same twice, without changing the request, within their own declarations? Rows come from the log (half of them
    accepted ones, the same every time) or from a file. Ends with 3 where something is wrong; notes do not count.

    \b
    Example: bakeoff task check --task planner
             bakeoff task check --task checkout --requests sample.jsonl --map checkout.history:to_events
    """
    if mapping is not None and file is None:
        raise UsageError("--map reads lines of a file, and none is named", cure="add --requests FILE")
    found = plugins.load_task(task_name)
    tried = _log_rows(found, rows) if file is None else _file_rows(found, file, rows, mapping)
    report = examine(found, tried)
    if report.passed:  # else there is enough to say
        report = replace(report, findings=merged([*report.findings, *afresh.findings(found, tried)]))
    answer(as_json, as_body(report), as_text(report))
    if not report.passed:
        wrong = sum(finding.grade == "wrong" for finding in report.findings)
        raise Refused(f"task {report.task}: {wrong} of its parts are wrong", cure="each finding says what to change")


def _log_rows(found: Task, rows: int) -> list[Episode]:
    with deps() as wired, wired.db.transaction() as conn:
        drawn = sample.some_episodes(conn, found.name, rows)
    if not drawn:
        raise UsageError(
            f"the log holds no decision of task {found.name!r} to try it on",
            cure=f"bakeoff task check --task {found.name} --requests FILE tries it on rows of a file",
        )
    return drawn


def _file_rows(found: Task, file: Path, rows: int, mapping: str | None) -> list[Episode]:
    mapped = None if mapping is None else mapping_function(mapping)
    with ExitStack() as stack:

        def build(keys: Sequence[RequestKey]) -> Sequence[Request | None]:
            """Opens the database only where a file names requests by their keys."""
            conn = stack.enter_context(stack.enter_context(deps()).db.transaction())
            return found.requests(conn, keys)

        tried = files.read_rows(found, file, most=rows, mapped=mapped, build=build)
    if not tried:
        raise UsageError(f"{file} holds no decision", cure="is it the right file, and the right --map?")
    return tried


def as_body(report: Report) -> dict[str, Any]:
    """JSON values of a report."""
    return {
        "task": report.task,
        "passed": report.passed,
        "seen": dict(report.seen),
        "findings": [asdict(finding) for finding in report.findings],
    }


def as_text(report: Report) -> str:
    """What was seen, then the findings: what is, what was expected, what to change."""
    seen = ", ".join(f"{count} {name}" for name, count in report.seen.items())
    lines = [f"task {report.task}: {seen}"]
    for finding in report.findings:
        lines += ["", *_lines(finding)]
    if report.passed:
        noted = f"; {_notes(len(report.findings))}" if report.findings else ""
        lines += ["", f"nothing wrong{noted}"]
    return "\n".join(lines)


def _notes(count: int) -> str:
    return "1 note" if count == 1 else f"{count} notes"


def _lines(finding: Finding) -> list[str]:
    where = "" if finding.row is None else f"  (row {finding.row}{_more(finding.rows - 1)})"
    return [
        f"{'WRONG' if finding.grade == 'wrong' else 'note':<6}{finding.check}: {finding.says}{where}",
        f"      expected {finding.expected}",
        f"      -> {finding.change}",
    ]


def _more(count: int) -> str:
    return f" and {count} more" if count else ""


# ---- skew -----------------------------------------------------------------------------------------------------------


@task.command()
@task_option
@click.option("--since", type=moment, help="First moment of the window.  [default: the first event]")
@click.option("--until", type=moment, help="First moment after the window.  [default: now]")
@click.option("--sample", "most", type=click.IntRange(1, 10_000), default=200, show_default=True, help="How many.")
@as_json
def skew(task_name: str, since: datetime | None, until: datetime | None, most: int, as_json: bool) -> None:
    """Compare stored requests with those that the task builds again from your tables.

    A dataset learns from requests as they were stored when the policy decided: what it knew at that moment, and
    nothing later (point-in-time correctness, in the words of feature stores). Where an application rebuilds old
    requests, for instance to import its past, the rebuilt ones must equal what was stored. Where they differ, a model
    learns from something else than it will be asked (training-serving skew): tables that were overwritten since, a
    rule that has changed, a clock in another zone. Only requests of today's request_version are compared.

    Ends with 3 where one differs. Requests that cannot be built again are counted, no fault: the stored ones are the
    truth.

    \b
    Example: bakeoff task skew --task planner --since 2025-01-01 --sample 500
    """
    found = plugins.load_task(task_name)
    with deps() as wired:
        with wired.db.transaction() as conn:
            first = store.summarize(conn, found.name).first_at
        if first is None:
            raise UsageError(
                f"the log holds no event of task {found.name!r}", cure="bakeoff events import brings history in"
            )
        window = (since or first, until or wired.clock())
        report = lifecycle.check_skew(wired, found, since=window[0], until=window[1], sample=most)
    body = {"task": found.name, "since": window[0].isoformat(), "until": window[1].isoformat(), **asdict(report)}
    answer(as_json, {**body, "skewed": report.skewed}, skew_text(found, report))
    if report.skewed:
        raise Refused(
            f"{report.compared - report.equal} of {report.compared} rebuilt requests differ from the stored ones",
            cure="keep history in your tables (see planner/migrations/0002_history.sql), or raise request_version",
        )


def skew_text(found: Task, report: SkewReport) -> str:
    """The report for people."""
    head = (
        f"task {found.name}, request_version {found.request_version}: {report.compared} requests built again, "
        f"{report.equal} equal to the stored ones, {report.not_rebuilt} could not be built"
    )
    parts = [head]
    if not report.compared:
        parts.append("nothing to compare: Task.requests builds none of them, so the stored requests are all there is")
    if report.differing:
        parts.append("fields that differ, with the number of requests\n" + outline(report.differing, 2))
    for each in report.examples:
        places = [f"    {d.path}: stored {d.stored}, rebuilt {d.rebuilt}" for d in each.differences]
        parts.append("\n".join([f"  {each.key} ({each.fields} places)", *places]))
    return "\n".join(parts)
