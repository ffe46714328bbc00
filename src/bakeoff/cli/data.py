"""``bakeoff db`` and ``bakeoff dataset``"""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from bakeoff import bootstrap, lifecycle, plugins, settings
from bakeoff.adapters import postgres
from bakeoff.cli.lookup import LATEST, Conn, find_dataset, moment
from bakeoff.cli.progress import TerminalProgress
from bakeoff.cli.roles import roles
from bakeoff.cli.session import answer, as_json, deps, table, task_option
from bakeoff.datasets import files, report
from bakeoff.datasets import store as datasets
from bakeoff.datasets.diff import Difference, Some, diff
from bakeoff.datasets.model import Dataset, Split
from bakeoff.errors import UsageError
from bakeoff.events import store as events
from bakeoff.fingerprint import short


@click.group()
def db() -> None:
    """The database.

    \b
    Example: bakeoff db migrate
    """


db.add_command(roles)


@db.command()
@as_json
def migrate(as_json: bool) -> None:
    """Apply what is missing of bakeoff's and the tasks' migrations. Tables that others made are never touched.

    \b
    Example: bakeoff db migrate
    """
    found = settings.load()
    with (
        bootstrap.open_deps(found, progress=TerminalProgress(), migrate=False) as wired,
        wired.db.transaction() as conn,
    ):
        applied = postgres.migrate(conn, found.schema_name, plugins.migration_folders())
    text = "\n".join(f"applied {name}" for name in applied) or "nothing to do: every migration is applied"
    answer(as_json, {"schema": found.schema_name, "applied": applied}, text)


@click.group()
def dataset() -> None:
    """What is learnt from: the event log as immutable folders.

    \b
    Example: bakeoff dataset build --task planner
             bakeoff dataset show latest
    """


@dataset.command()
@task_option
@click.option("--since", type=moment, help="First moment of the window.  [default: the first event]")
@click.option("--until", type=moment, help="First moment after the window.  [default: now]")
@as_json
def build(task_name: str, since: datetime | None, until: datetime | None, as_json: bool) -> None:
    """Make a dataset of the log's decisions and of what people did with them.

    The same log and window give the same dataset. It is split by unit: nobody is in two splits. Where the newest
    dataset holds the same rows already there is nothing new, and none is made.

    \b
    Example: bakeoff dataset build --task planner --since 2025-01-01 --until 2025-02-01
    """
    task = plugins.load_task(task_name)
    with deps() as wired:
        with wired.db.transaction() as conn:
            since = since or _first_event(conn, task_name)
            known = {each.digest for each in datasets.all_datasets(conn, task_name)}
        until = until or wired.clock().replace(microsecond=0)
        if since >= until:
            raise UsageError(
                f"the window is empty: it begins {since.isoformat()} and ends {until.isoformat()}",
                cure="give a --since that is earlier than --until",
            )
        built = lifecycle.build_dataset(wired, task, since=since, until=until)
    is_new = built.digest not in known
    said = _line(built) if is_new else f"nothing new since {built.version} (same {built.rows} rows)"
    answer(as_json, as_body(built) | {"new": is_new}, f"{said}\n{built.uri}\nnext: {_train(built)}")


@dataset.command("list")
@click.option("--task", "task_name", default=None, help="Only of this task.")
@as_json
def list_(task_name: str | None, as_json: bool) -> None:
    """All datasets, oldest first.

    \b
    Example: bakeoff dataset list
    """
    with deps() as wired, wired.db.transaction() as conn:
        known = datasets.all_datasets(conn, task_name)
    text = table([_row(each) for each in known]) or "no dataset yet; bakeoff dataset build makes one"
    answer(as_json, {"datasets": [as_body(each) for each in known]}, text)


@dataset.command()
@click.argument("name", metavar="[VERSION|DIGEST|latest]", default=LATEST)
@task_option
@as_json
def show(name: str, task_name: str, as_json: bool) -> None:
    """The summary of one dataset; the newest where none is named.

    \b
    Example: bakeoff dataset show 2025-01-03
    """
    with deps() as wired, wired.db.transaction() as conn:
        found = find_dataset(conn, task_name, name)
        run_id = datasets.mlflow_run_id(conn, found.digest)
    body = {**as_body(found), "summary": dict(found.summary), "mlflow_run_id": run_id}
    answer(as_json, body, f"{found.uri}\nMLflow run {run_id}\n\n{files.read_text(found.uri, files.SUMMARY)}")


@dataset.command("diff")
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER", default=LATEST)
@task_option
@as_json
def diff_(before: str, after: str, task_name: str, as_json: bool) -> None:
    """What changed between two datasets: fields, versions, rows, targets, units and drift.

    Each is a version, a digest or 'latest'. Drift is measured by the population stability index (PSI): below 0.1 a
    column is stable, up to 0.25 it moved, beyond that it moved much. What chance alone may do is 'too few units'.

    \b
    Example: bakeoff dataset diff 2025-01-03 2025-01-10
    """
    with deps() as wired, wired.db.transaction() as conn:
        first, second = find_dataset(conn, task_name, before), find_dataset(conn, task_name, after)
    found = diff(first.uri, second.uri)
    body = {"before": as_body(first), "after": as_body(second), **asdict(found)}
    answer(as_json, body, "\n".join(_told(first, second, found)))


def as_body(found: Dataset) -> dict[str, Any]:
    """JSON values of a dataset."""
    return {
        "task": found.task,
        "version": found.version,
        "digest": found.digest,
        "uri": found.uri,
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "rows": found.rows,
        "splits": splits(found),
    }


def splits(found: Dataset) -> dict[str, int]:
    """Rows by split, in the order of their use; the database gives them back in another one."""
    return {split.value: found.splits.get(split.value, 0) for split in Split}


def _told(first: Dataset, second: Dataset, found: Difference) -> Iterator[str]:
    """A difference for people, what changes the shape before what changes the contents."""
    rows, fields = found.rows, found.fields
    yield f"dataset {first.version} ({first.rows} rows) -> {second.version} ({second.rows} rows) of {second.task}"
    yield f"window: {' to '.join(found.windows[0])} -> {' to '.join(found.windows[1])}"
    yield from (f"{name}: {old} -> {new}" for name, (old, new) in found.versions.items())
    for what, names in (("new fields", fields.added), ("fields gone", fields.gone)):
        yield from [f"{what}: {', '.join(names)}"] if names else []
    yield from (*fields.retyped, *fields.nullability)
    yield f"rows added: {_some(rows.added)}"
    yield f"rows gone: {_some(rows.gone)}"
    changed = "not compared, the files are in different orders" if rows.changed is None else _some(rows.changed)
    yield f"rows with another target: {changed}"
    yield f"units: {rows.units_added} added, {rows.units_gone} gone"
    yield from ("", f"drift: {report.verdict(found.drift)}", *(f"  {line}" for line in report.told(found.drift)))
    yield from (f"  {line}" for line in report.unlike(found.drift))
    shown = [drift for drift in found.drift.drifts if drift.word != "stable"]
    yield from ("", table(report.drift_table(shown))) if shown else ()


def _some(some: Some) -> str:
    more = ", ..." if some.count > len(some.first) else ""
    return f"{some.count} ({', '.join(some.first)}{more})" if some.count else "0"


def _first_event(conn: Conn, task_name: str) -> datetime:
    first = events.summarize(conn, task_name).first_at
    if first is None:
        raise UsageError(
            f"the log holds no event of task {task_name!r}, so there is nothing to learn from",
            cure="let the product ask for decisions first, or type: bakeoff demo",
        )
    return first


def _row(found: Dataset) -> dict[str, Any]:
    return {
        "task": found.task,
        "version": found.version,
        "digest": short(found.digest),
        "rows": found.rows,
        **splits(found),
        "from": f"{found.since:%Y-%m-%d}",
        "until": f"{found.until:%Y-%m-%d %H:%M}",
    }


def _line(found: Dataset) -> str:
    counted = ", ".join(f"{rows} {name}" for name, rows in splits(found).items())
    return f"dataset {found.version} of {found.task}: {found.rows} rows ({counted}), {short(found.digest)}"


def _train(found: Dataset) -> str:
    return f"bakeoff train --task {found.task} --dataset {found.version}"
