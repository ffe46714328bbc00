"""Identity of a folder of model files."""

import hashlib
from pathlib import Path

from bakeoff.errors import UsageError
from bakeoff.fingerprint import digest

_CHUNK = 1 << 20


def folder_digest(folder: Path) -> str:
    """sha256 over the relative paths and contents of all files in `folder`, in order of path.

    Raises UsageError for a folder without files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise UsageError(f"{folder} holds no files", cure="give the folder that training wrote the model to")
    return digest({path.relative_to(folder).as_posix(): _file_digest(path) for path in files})


def _file_digest(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()
