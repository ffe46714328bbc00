"""Digests of source code: what a declared version cannot promise."""

import hashlib
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from bakeoff.fingerprint import digest

NO_SOURCE = "no source"
"""Stands for code that is in no file, as at a prompt."""


def package_digest(name: str) -> str:
    """sha256 over every file, code and data, of the package that the module `name` lies in and of packages below it;
    over the one file of a module that is in no package."""
    module = _module(name)
    file = _file(module)
    if file is None or not module.__package__:
        return module_digest(name)
    return _digest(file.parent, file.parent.rglob("*"))


def module_digest(name: str) -> str:
    """sha256 of one module's file."""
    file = _file(_module(name))
    return NO_SOURCE if file is None else _digest(file.parent, [file])


def _module(name: str) -> ModuleType:
    return sys.modules.get(name) or import_module(name)


def _file(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file) if file else None


def _digest(folder: Path, files: Iterable[Path]) -> str:
    named = {path.relative_to(folder): path for path in files if path.is_file()}
    return digest(
        {
            name.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in named.items()
            if not any(part == "__pycache__" or part.startswith(".") for part in name.parts)
        }
    )
