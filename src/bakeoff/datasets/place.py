"""Where a dataset's folder is made, and how it comes to be seen: at once, and never over another one."""

import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from bakeoff.datasets import files
from bakeoff.errors import Refused, Unreachable, UsageError

_MOST = 1_000  # folders of one day
_PART = re.compile(r"\.(?P<date>[\d-]+)-(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{8}\.part")


@contextmanager
def scratch(fs: Any, parent: str, date: str) -> Iterator[Path]:
    """A folder to write into, removed at the end if it is still there. On the file system of `parent` where that is
    local, so that it can be renamed. What killed builds on this machine left behind is removed too."""
    _check_bucket(fs, parent)
    is_local = isinstance(fs, LocalFileSystem)
    home = Path(parent) if is_local else Path(tempfile.gettempdir()) / "bakeoff-datasets"
    home.mkdir(parents=True, exist_ok=True)
    sweep(home)
    folder = home / f".{date}-{host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_bucket(fs: Any, parent: str) -> None:
    """Some servers make a bucket that is not there; a misspelt one would go unseen."""
    bucket = parent.partition("/")[0]
    if "s3" in fs.protocol and not fs.exists(bucket):
        raise Unreachable(f"the bucket {bucket} is not there", cure=files.S3_CURE)


def sweep(home: Path) -> None:
    """Removes what builds of this machine left behind whose process is no more."""
    for path in home.glob(".*.part"):
        match = _PART.fullmatch(path.name)
        if match and match["host"] == host() and not _is_alive(int(match["pid"])):
            shutil.rmtree(path, ignore_errors=True)


def reveal(fs: Any, folder: Path, parent: str, date: str, digest: str) -> str:
    """Moves what was made to ``{parent}/{date}``, or finds it there; with a number where other content has that
    name. Returns the path. Raises Refused where there are too many."""
    for number in range(1, _MOST):
        target = f"{parent}/{date}" + (f".{number}" if number > 1 else "")
        if not fs.exists(target) and _moved(fs, folder, target):
            return target
        if fs.exists(f"{target}/{files.SCHEMA}"):
            if files.describe(fs.unstrip_protocol(target)).digest == digest:
                return target
        elif not isinstance(fs, LocalFileSystem) and _is_half_of(fs, target, digest):
            _upload(fs, folder, target)
            return target
    raise Refused(f"there are {_MOST - 1} datasets of {date} in {parent}", cure="move old ones away")


def is_there(uri: str) -> bool:
    """Whether a dataset lies in this folder."""
    try:
        files.describe_all(uri)
    except (UsageError, Unreachable):
        return False
    return True


def _moved(fs: Any, folder: Path, target: str) -> bool:
    """False where another process was faster."""
    if not isinstance(fs, LocalFileSystem):
        _upload(fs, folder, target)
        return True
    for path in (*folder.iterdir(), folder):
        _sync(path)
    try:
        folder.rename(target)  # atomic; refuses a folder that came into being meanwhile
    except OSError:
        if fs.exists(target):
            return False
        raise
    _sync(Path(target).parent)
    return True


def _upload(fs: Any, folder: Path, target: str) -> None:
    """The summary first: it says whose folder this is going to be. schema.json last: it makes it a dataset."""
    names = sorted(path.name for path in folder.iterdir())
    order = sorted(names, key=lambda name: (name == files.SCHEMA, name != files.SUMMARY, name))
    for name in order:
        fs.put_file(str(folder / name), f"{target}/{name}")
    fs.invalidate_cache()


def _is_half_of(fs: Any, target: str, digest: str) -> bool:
    """Whether an upload of this content was cut off here."""
    try:
        return digest in fs.cat_file(f"{target}/{files.SUMMARY}").decode()
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def host() -> str:
    """This machine, as part of a folder name."""
    return re.sub(r"[^\w.]", "_", socket.gethostname())


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
