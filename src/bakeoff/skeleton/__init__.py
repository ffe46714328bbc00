"""The skeleton of a new task: an installable package that works as it is laid down, to be changed line by line.

`files/` holds it; names that end in ``.template`` have ``$name`` and ``$class_name`` filled in, the folder
``src/name`` becomes ``src/<name>``."""

import importlib.util
import keyword
import re
from pathlib import Path
from string import Template

from bakeoff.errors import Refused, UsageError

FILES = Path(__file__).parent / "files"
NAME = re.compile(r"[a-z][a-z0-9_]{1,40}")


def check_name(name: str) -> str:
    """`name` as it may be a task's and a package's. Raises UsageError."""
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name.endswith("_"):
        raise UsageError(
            f"a task cannot be called {name!r}",
            cure="lower-case letters, digits and underscores, a letter first, for instance --task checkout",
        )
    return name


def lay_down(folder: Path, name: str) -> list[Path]:
    """Writes the package ``folder/name`` and returns the files written; none where all are there as they would be.

    Raises UsageError for a name that is taken by another module, Refused where a file is there with other content:
    nothing is overwritten, and then nothing is written."""
    root = folder / check_name(name)
    wanted = {root / _placed(path, name): _filled(path, name) for path in sorted(FILES.rglob("*")) if path.is_file()}
    present = {path for path in wanted if path.exists()}
    changed = sorted(path for path in present if path.read_text(encoding="utf-8") != wanted[path])
    if changed:
        raise Refused(
            f"{root} holds something already: {changed[0].relative_to(root)} is another one",
            cure=f"choose another --task or --folder, or move {root} away",
        )
    if not present:
        _refuse_taken(name)
    new = [path for path in wanted if path not in present]
    for path in new:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    return new


def class_name(name: str) -> str:
    """'check_out' -> 'CheckOutTask'."""
    return "".join(part.capitalize() for part in name.split("_")) + "Task"


def _placed(path: Path, name: str) -> Path:
    parts = [name if part == "name" else part for part in path.relative_to(FILES).parts]
    return Path(*parts[:-1], parts[-1].removesuffix(".template"))


def _filled(path: Path, name: str) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".template":
        return text
    return Template(text).substitute(name=name, class_name=class_name(name))


def _refuse_taken(name: str) -> None:
    if importlib.util.find_spec(name) is not None:
        raise UsageError(
            f"there is a module {name!r} in this environment already",
            cure="choose another --task: the package would hide it, or be hidden by it",
        )
