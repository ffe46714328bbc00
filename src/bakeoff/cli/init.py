"""``bakeoff init``"""

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bakeoff import settings, skeleton
from bakeoff.cli import connections
from bakeoff.cli.session import answer, as_json, say
from bakeoff.errors import Refused, Unreachable

EMBEDDED = "embedded"
KEYS = ("database_url", "schema", "mlflow_tracking_uri", "datasets_root")
ASKED: Mapping[str, str] = {
    "database_url": "PostgreSQL (a DSN, or 'embedded': one that bakeoff starts by itself)",
    "schema": "Schema of bakeoff's tables",
    "mlflow_tracking_uri": "MLflow (http://..., postgresql://..., or 'embedded': local)",
    "datasets_root": "Folder or s3:// for datasets ('embedded': beside the rest)",
}


@click.command()
@click.option("--database-url", help="DSN of your PostgreSQL; 'embedded' for one that bakeoff starts by itself.")
@click.option("--schema", help="Schema of bakeoff's tables.  [default: exp]")
@click.option("--mlflow", "mlflow_tracking_uri", help="Address of your MLflow; 'embedded' for a local one.")
@click.option("--datasets", "datasets_root", help="Folder or s3:// for datasets; 'embedded' for one beside the rest.")
@click.option("--task", "task_name", help="Lay down the skeleton of a task with this name.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where.  [default: .]")
@click.option("--yes", is_flag=True, help="Ask nothing: what is not given is embedded.")
@click.option("--offline", is_flag=True, help="Write the settings though something does not answer; check nothing.")
@click.option("--force", is_flag=True, help="Replace a bakeoff.toml that says something else.")
@as_json
def init(
    task_name: str | None, folder: Path, yes: bool, offline: bool, force: bool, as_json: bool, **given: str | None
) -> None:
    """Write bakeoff.toml, check every connection that it names, and lay down the skeleton of a task.

    The file holds where things are and is found from every folder below it; environment variables win over it
    (BAKEOFF_DATABASE_URL, BAKEOFF_SCHEMA, MLFLOW_TRACKING_URI, BAKEOFF_DATASETS_ROOT). It is written only when
    everything answers; else the exit code is 4. Nothing is created in your database: `bakeoff db migrate` does that.

    \b
    Example: bakeoff init --yes
             bakeoff init --database-url postgresql://me@db/app --mlflow http://mlflow:5000 --datasets s3://ml/datasets
             bakeoff init --task checkout
    """
    if task_name is not None:
        skeleton.check_name(task_name)
    file = folder / settings.FILE_NAME
    known = settings.parse_file(file) if file.exists() else None
    asking = known is None and not (yes or as_json) and sys.stdin.isatty()
    writes = known is None or any(given.values())
    chosen = _chosen(given, known or {}, asking=asking)
    if writes:  # a file that stays as it is is checked as it is
        chosen = _with_tracking(chosen, folder)
    text = as_toml(chosen)
    if known is not None and writes and file.read_text(encoding="utf-8") != text and not force:
        raise Refused(f"{file} is there and says something else", cure="add --force to replace it, or edit it")
    wanted = _as_settings(folder, chosen)
    folder.mkdir(parents=True, exist_ok=True)
    found = [] if offline else connections.examine(wanted)
    for each in found:
        say(str(each))
    if not connections.all_fine(found):
        raise Unreachable(
            f"{', '.join(each.name for each in found if not each.fine)}: see above; nothing was written",
            cure="correct it, or write the settings all the same: --offline",
        )
    wrote = writes and write(file, text)
    laid = skeleton.lay_down(folder, task_name) if task_name else []
    secret = connections.has_password(chosen.get("database_url"))
    next_ = following(chosen, task_name, folder)
    body = {
        "file": str(file),
        "written": wrote,
        "checks": [{"name": each.name, "fine": each.fine, "says": each.says} for each in found],
        "task": task_name,
        "files": [str(path) for path in laid],
        "next": next_,
    }
    answer(as_json, body, _told(file, wrote, secret, laid, next_))


def _chosen(given: Mapping[str, str | None], known: Mapping[str, Any], *, asking: bool) -> dict[str, Any]:
    """Key -> value for the file; 'embedded' is left out. What is not given is as the file has it, or asked for where
    the environment does not say it."""
    chosen = dict(known)
    for key in KEYS:
        value = given.get(key)
        if value is None and asking and key not in settings.from_environment():
            value = click.prompt(ASKED[key], default="exp" if key == "schema" else EMBEDDED, err=True)
        if value == EMBEDDED:
            chosen.pop(key, None)
        elif value is not None:
            chosen[key] = value
    return chosen


def _with_tracking(chosen: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A PostgreSQL of one's own but no MLflow: tracked in a file, until there is a server."""
    has = {*chosen, *settings.from_environment()}
    if "database_url" not in has or "mlflow_tracking_uri" in has:
        return dict(chosen)
    home = Path(str(chosen.get("home", ".bakeoff")))
    return {**chosen, "mlflow_tracking_uri": f"sqlite:///{(folder.resolve() / home).resolve()}/mlflow.db"}


def as_toml(chosen: Mapping[str, Any]) -> str:
    """The settings file; keys that were not chosen are there as comments, to be seen."""
    lines = [
        "# Where bakeoff's things are. Environment variables win over this file.",
        "# Do not commit it where it holds a password.",
    ]
    tables = {key: value for key, value in chosen.items() if isinstance(value, Mapping)}
    for key in dict.fromkeys([*_COMMENTS, *(key for key in chosen if key not in tables)]):
        if key in chosen:
            lines.append(f"{key} = {_literal(chosen[key])}")
        else:
            lines.append(f"# {key} = {_COMMENTS[key]}")
    for key, named in tables.items():  # last: what follows a table's name belongs to the table
        plain = {name: value for name, value in named.items() if not isinstance(value, Mapping)}
        lines += _table(key, plain) if plain else []
        for name in named.keys() - plain.keys():
            lines += _table(f"{key}.{_literal(name)}", named[name])
    return "\n".join([*lines, *([] if "endpoints" in tables else _SERVER)]) + "\n"


def _table(title: str, values: Mapping[str, Any]) -> list[str]:
    return ["", f"[{title}]", *(f"{_word(word)} = {_literal(value)}" for word, value in values.items())]


def _word(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _literal(key)


_COMMENTS: Mapping[str, str] = {
    "database_url": '"postgresql://user@host/database"    # not set: an embedded PostgreSQL below home',
    "schema": '"exp"',
    "mlflow_tracking_uri": '"http://host:5000"    # not set: local, on the embedded PostgreSQL',
    "datasets_root": '"s3://bucket/datasets"    # not set: the folder datasets below home',
    "home": '".bakeoff"    # relative to this file',
}


_SERVER = (
    "# [endpoints.house]    # an OpenAI-compatible server, for bakeoff policy create --endpoint house",
    '# base_url = "http://localhost:8000/v1"',
    '# key_variable = "HOUSE_KEY"    # the environment variable that holds the key, where one is asked for',
)


def _literal(value: object) -> str:
    """A TOML number, basic string or inline table. JSON's escapes are TOML's, but for DEL."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_literal(name)} = {_literal(each)}" for name, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _as_settings(folder: Path, chosen: Mapping[str, Any]) -> settings.Settings:
    """What commands will see: the file that would be there, and the environment over it."""
    return settings.combined(folder.resolve() / settings.FILE_NAME, chosen)


def write(file: Path, text: str) -> bool:
    """Writes the file so that only its owner can read it, whole or not at all; False where it says that already."""
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return False
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    part.replace(file)
    return True


def following(chosen: Mapping[str, Any], task_name: str | None, folder: Path) -> list[str]:
    """The commands to type next."""
    first = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    first += ["bakeoff db migrate"] if "database_url" in chosen else []
    if task_name is None:
        return [*first, "bakeoff status"]
    check = f"--requests {task_name}/sample.jsonl --map {task_name}.history:to_events"
    return [*first, f"pip install -e ./{task_name}", f"bakeoff task check --task {task_name} {check}"]


def _told(file: Path, wrote: bool, secret: bool, laid: list[Path], next_: list[str]) -> str:
    lines = [f"{'wrote' if wrote else 'kept'} {file}"]
    if secret:
        lines.append(
            f"  it holds a password: do not commit it (echo {file.name} >> .gitignore), "
            "or set BAKEOFF_DATABASE_URL instead"
        )
    if laid:
        lines.append(f"laid down {len(laid)} files of a task: read {laid[0].parent / 'README.md'}")
    return "\n".join([*lines, "next:", *(f"  {command}" for command in next_)])
