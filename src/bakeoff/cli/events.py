"""``bakeoff events``"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from bakeoff import lifecycle, plugins
from bakeoff.adapters import postgres
from bakeoff.cli.lookup import mapping_function
from bakeoff.cli.session import answer, as_json, deps, table, task_option
from bakeoff.errors import Refused, UsageError
from bakeoff.events import importing, sources
from bakeoff.lifecycle import Deps


@click.group()
def events() -> None:
    """The event log: what policies decided and what people did with it.

    \b
    Example: bakeoff events import log.jsonl --policy planner_policy/1
    """


@events.command("import")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@task_option
@click.option("--policy", "policy_version", help="Whose rows those without a context are: planner_policy/1.")
@click.option("--map", "mapping", metavar="MODULE:FUNCTION", help="Makes rows of your own lines.")
@click.option("--from-sql", "query", metavar="SELECT", help="Read rows from a query instead of files.")
@click.option("--dsn", help="Database of --from-sql.  [default: bakeoff's own]")
@click.option(
    "--rejects", type=click.Path(path_type=Path), help="Where refused rows go.  [default: FILE.rejects.jsonl]"
)
@click.option("--batch", type=click.IntRange(1), default=importing.BATCH_ROWS, show_default=True, help="Lines at once.")
@click.option("--again", is_flag=True, help="Read files anew that were imported before.")
@click.option("--dry-run", is_flag=True, help="Check everything, keep nothing.")
@as_json
def import_(
    files: tuple[Path, ...],
    task_name: str,
    policy_version: str | None,
    mapping: str | None,
    query: str | None,
    dsn: str | None,
    rejects: Path | None,
    batch: int,
    again: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring in history: .jsonl, .jsonl.gz, .parquet, or a query of your own database.

    One row is one event, a decision or what people did with one:

    \b
    {"event_type": "plan_generated", "unit_id": "household-7", "decision_id": "plan-41",
     "occurred_at": "2024-03-04T08:00:00Z", "payload": {"answer": {...}}, "request": {...}}
    {"event_type": "plan_accepted", "unit_id": "household-7", "decision_id": "plan-41",
     "occurred_at": "2024-03-04T09:30:00Z", "payload": {"accepted_by": "user", ...}}

    Instead of "request" a decision may bring "request_key": {"unit_id", "need_id", "as_of"}: the task builds the
    request from its own tables. Ids may be any text. A row without a "context" belongs to the version that --policy
    names (bakeoff policy adopt --external), if that served at the time. Imported rows are learnt from and left out
    of experiments.

    A killed import goes on where it stopped; the same rows again are nothing. Rows that cannot be taken go to a file
    of rejects with line and reason.

    \b
    Example: bakeoff events import log-2024.jsonl.gz --policy planner_policy/1
             bakeoff events import app.jsonl --policy planner_policy/1 --map planner.history:to_events --dry-run
             bakeoff events import --from-sql "select * from app.bakeoff_rows" --policy planner_policy/1
    """
    if bool(files) == bool(query):
        raise UsageError("name files to import, or --from-sql, not both or neither")
    if len(files) > 1 and rejects is not None:
        raise UsageError("--rejects names one file for one source", cure="import the files one by one")
    task = plugins.load_task(task_name)
    mapped = None if mapping is None else (mapping, mapping_function(mapping))
    how: dict[str, Any] = {
        "policy_version": policy_version,
        "mapped": mapped,
        "batch_rows": batch,
        "dry_run": dry_run,
        "again": again,
    }
    with deps() as wired:
        reports = [
            lifecycle.import_events(wired, task, source, rejects=rejects or place, **how)
            for source, place in _sources(wired, files, query, dsn)
        ]
    answer(as_json, {"imports": [as_body(each) for each in reports], "dry_run": dry_run}, _text(reports, dry_run))
    _refuse_nothing(reports)


def _sources(
    wired: Deps, files: Sequence[Path], query: str | None, dsn: str | None
) -> Iterator[tuple[sources.Source, Path]]:
    """What to read, and where its rejects go by default. A file that is not there stops it all before it begins."""
    opened = [(sources.open_file(path), path.with_name(f"{path.name}.rejects.jsonl")) for path in files]
    yield from opened
    if query is not None:
        with _reading(wired, dsn) as conn:
            yield sources.Query(conn, query), Path("query.rejects.jsonl")


@contextmanager
def _reading(wired: Deps, dsn: str | None) -> Iterator[postgres.Connection]:
    """A connection for a query, which may change nothing."""
    ours = wired.db
    assert isinstance(ours, postgres.Database)  # as bootstrap wires it
    conn = postgres.connect(dsn or ours.dsn, "public" if dsn else ours.schema)
    conn.read_only = True
    try:
        yield conn
    finally:
        conn.close()


def as_body(report: importing.Report) -> dict[str, Any]:
    """JSON values of a report."""
    return {
        "source": report.source,
        **report.counts.to_json(),
        "resumed_at": report.resumed_at,
        "finished_before": report.finished_before.isoformat() if report.finished_before else None,
        "rejects": str(report.rejects) if report.rejects else None,
    }


def _text(reports: Sequence[importing.Report], dry_run: bool) -> str:
    return "\n\n".join(_one(report, dry_run) for report in reports)


def _one(report: importing.Report, dry_run: bool) -> str:
    counts, when = report.counts, "then " if report.finished_before else ""
    if report.finished_before is not None:
        on = f"{report.finished_before:%Y-%m-%d %H:%M}"
        head = f"{report.source} was imported on {on}; nothing was done (--again reads it anew)"
    else:
        on = f", going on after line {report.resumed_at}" if report.resumed_at else ""
        head = f"{report.source}: {counts.lines} lines read{on}" + (" (dry run: nothing was kept)" if dry_run else "")
    parts = [
        head,
        f"  {when}new: {counts.decisions} decisions, {counts.outcomes} outcomes; there already: {counts.already_there}",
        f"  {counts.no_event} lines are no event" if counts.no_event else "",
        _counted(f"  {counts.rejected.total()} rows were refused", counts.rejected),
        *(f"    line {each.line.number}: {each.detail.splitlines()[0]}" for each in report.examples),
        f"  they are in {report.rejects}" if report.rejects else "",
        _counted("  fields that no event type declares (kept)", counts.unknown_fields),
    ]
    return "\n".join(part for part in parts if part)


def _counted(title: str, counts: Any) -> str:
    rows = [{"": f"    {count}", " ": name} for name, count in sorted(counts.items(), key=lambda pair: -pair[1])]
    return "\n".join([title, *table(rows).splitlines()[1:]]) if rows else ""


def _refuse_nothing(reports: Sequence[importing.Report]) -> None:
    """Where every row was refused something is wrong with the import, not with rows."""
    for report in reports:
        counts = report.counts
        if counts.rejected and not (counts.decisions or counts.outcomes or counts.already_there):
            first = report.examples[0].detail if report.examples else "see the file of rejects"
            raise Refused(f"no row of {report.source} could be taken: {first}")
