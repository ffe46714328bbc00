"""Is a dataset's folder still what was built? schema.json lists the files with their sha256; the rows' own digest is
known to the database too, which who changes files cannot reach."""

import hashlib
from collections.abc import Callable

from bakeoff.datasets import files, table
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Refused

_CHUNK = 1 << 20


def file_digests(uri: str) -> dict[str, str]:
    """sha256 of schema.json and of each file that it lists, as they are now; a file that is not there is left out.

    Raises UsageError where there is no dataset, and Unreachable."""
    listed = files.describe_all(uri).get("files", {})
    found = {name: _sha256(uri, name) for name in (files.SCHEMA, *sorted(listed))}
    return {name: f"sha256:{digest}" for name, digest in found.items() if digest is not None}


def check(dataset: Dataset, on_rows: Callable[[int], None]) -> None:
    """Reads all rows and raises Refused where the folder is not `dataset`: its description, a file, or a row.
    `on_rows` is told how many rows were read."""
    about = files.describe_all(dataset.uri)
    now = file_digests(dataset.uri)
    changed = [name for name, of in about.get("files", {}).items() if now.get(name) != f"sha256:{of['sha256']}"]
    if about["dataset"]["digest"] != dataset.digest:
        changed.append(files.SCHEMA)
    if not changed and dataset.rows_digest is not None and _rows_digest(dataset.uri, on_rows) != dataset.rows_digest:
        changed.append(table.TRAINING)
    if changed:
        raise Refused(
            f"{', '.join(sorted(changed))} in {dataset.uri} is not what was built",
            cure="datasets are immutable: restore the folder, or build again and judge the version on that",
        )


def _rows_digest(uri: str, on_rows: Callable[[int], None]) -> str:
    sha, read = hashlib.sha256(), 0
    with files.parquet(uri) as file:
        for number in range(file.num_row_groups):
            for line in table.lines(file.read_row_group(number), uri):
                sha.update(line.logical() + b"\n")
                read += 1
            on_rows(read)
    return f"sha256:{sha.hexdigest()}"


def _sha256(uri: str, name: str) -> str | None:
    fs, folder = files.open_root(uri)
    try:
        with files.reaching("read", uri), fs.open(f"{folder}/{name}", "rb") as file:
            sha = hashlib.sha256()
            while chunk := file.read(_CHUNK):
                sha.update(chunk)
    except FileNotFoundError:
        return None
    return sha.hexdigest()
