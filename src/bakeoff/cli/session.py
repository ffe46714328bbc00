"""What every command needs: settings, wired ports, and one way to answer."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from psycopg.errors import UndefinedColumn, UndefinedTable

from bakeoff import bootstrap
from bakeoff.cli.progress import TerminalProgress
from bakeoff.errors import UsageError
from bakeoff.lifecycle import Deps
from bakeoff.settings import Settings, load

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
task_option = click.option("--task", "task_name", default="planner", show_default=True, help="The task (domain).")


@contextmanager
def deps(settings: Settings | None = None) -> Iterator[Deps]:
    """Ports wired from the environment, closed at the end. Raises UsageError where tables are missing."""
    settings = settings or load()
    try:
        with bootstrap.open_deps(settings, progress=TerminalProgress(), clock=bootstrap.utc_now) as wired:
            yield wired
    except (UndefinedTable, UndefinedColumn) as error:
        raise UsageError(
            f"schema {settings.schema_name!r} of the database lacks what this version needs: "
            f"{error.diag.message_primary}",
            cure="bakeoff db migrate",
        ) from error


def policy_id(task_name: str) -> str:
    """The policy of a task: 'planner' -> 'planner_policy'."""
    return f"{task_name}_policy"


def say(line: str) -> None:
    """For people, while a command runs: stderr, so that stdout stays one answer."""
    click.echo(line, err=True)


def answer(as_json: bool, body: Mapping[str, Any], text: str) -> None:
    """One JSON object, or the text for people."""
    if as_json:
        click.echo(json.dumps(body, default=str, ensure_ascii=False))
    else:
        click.echo(text)


def table(rows: list[dict[str, Any]]) -> str:
    """Columns lined up; '' for no rows."""
    if not rows:
        return ""
    names = list(rows[0])
    cells = [names, *(["-" if row[name] is None else str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def outline(body: Mapping[str, Any], indent: int = 0) -> str:
    """Nested values as indented lines; what is None or empty is left out."""
    shown = {name: value for name, value in body.items() if value is not None and value != [] and value != {}}
    width = max((len(name) for name, value in shown.items() if not _is_nested(value)), default=0)
    return "\n".join(_lines(name, value, indent, width) for name, value in shown.items())


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list)


def _lines(name: str, value: Any, indent: int, width: int) -> str:
    pad, label = " " * indent, name.replace("_", " ")
    if isinstance(value, Mapping):
        return f"{pad}{label}\n{outline(value, indent + 2)}"
    if isinstance(value, list):
        return "\n".join([f"{pad}{label}", *(_item(each, indent + 2) for each in value)])
    return f"{pad}{label:<{width}}  {f'{value:.4g}' if isinstance(value, float) else value}"


def _item(value: Any, indent: int) -> str:
    """One element of a list: its first line carries the dash."""
    text = outline(value, indent + 2).lstrip() if isinstance(value, Mapping) else str(value)
    return f"{' ' * indent}- {text}"
