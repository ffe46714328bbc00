"""A dataset's folder: training.parquet, schema.json, dataset_summary.md and sometimes fitted.json, on anything that
fsspec opens. Reading; `publish` writes.

A folder without schema.json, which is written last, is no dataset yet."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import fsspec
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bakeoff.datasets import table
from bakeoff.datasets.model import Dataset, Row, Split
from bakeoff.datasets.table import TRAINING
from bakeoff.errors import Unreachable, UsageError

SCHEMA, SUMMARY, FITTED = "schema.json", "dataset_summary.md", "fitted.json"
S3_CURE = (
    "check the address and its bucket, and the credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and for a server "
    "of your own AWS_ENDPOINT_URL"
)


@contextmanager
def reaching(what: str, uri: str) -> Iterator[None]:
    """Turns what file systems raise into Unreachable; a file that is not there passes as it is."""
    try:
        yield
    except FileNotFoundError as error:
        if "bucket does not exist" not in str(error):
            raise
        raise Unreachable(f"cannot {what} {uri}: {error}", cure=S3_CURE) from error
    except OSError as error:
        cure = S3_CURE if "://" in uri else "check the dataset root and its rights"
        raise Unreachable(f"cannot {what} {uri}: {error}", cure=cure) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("botocore", "aiobotocore", "aiohttp", "s3fs"):
            raise
        raise Unreachable(f"cannot {what} {uri}: {error}", cure=S3_CURE) from error


def open_root(uri: str) -> tuple[Any, str]:
    """File system and path, without what it remembers of earlier listings."""
    try:
        with reaching("open", uri):
            fs, path = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        raise Unreachable(f"cannot open {uri}: {error}", cure="pip install 'bakeoff[s3]'") from error
    fs.invalidate_cache()
    return fs, str(path).rstrip("/")


def describe(uri: str) -> Dataset:
    """The dataset in a folder, from its schema.json. Raises UsageError where there is none, and Unreachable."""
    about = describe_all(uri)["dataset"]
    return Dataset(
        digest=about["digest"],
        task=about["task"],
        uri=uri.rstrip("/"),
        since=datetime.fromisoformat(about["since"]),
        until=datetime.fromisoformat(about["until"]),
        rows=about["rows"],
        splits=about["splits"],
        summary=about["summary"],
    )


def describe_all(uri: str) -> dict[str, Any]:
    """All that schema.json says. Raises as `describe`."""
    try:
        found: dict[str, Any] = json.loads(read_text(uri, SCHEMA))
        return found | {"dataset": {**found["dataset"]}}
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{uri} is no dataset: {SCHEMA} is unreadable", cure="bakeoff dataset list shows the ones that are there"
        ) from error


def load(uri: str, *, splits: Collection[Split] | None = None) -> tuple[Row, ...]:
    """All rows, or those of `splits`, in the dataset's order. Raises Refused where a request is not what was stored,
    UsageError where there is no dataset, and Unreachable."""
    return tuple(stream(uri, splits=splits))


def stream(uri: str, *, splits: Collection[Split] | None = None) -> Iterator[Row]:
    """As `load`, one row at a time."""
    with parquet(uri) as file:
        yield from table.read(file, uri, None if splits is None else frozenset(splits))


def some(uri: str, example_ids: Collection[str]) -> Iterator[Row]:
    """The rows of these examples, in the dataset's order; reads the requests of their row groups only. Raises as
    `load`."""
    if example_ids:
        with parquet(uri) as file:
            yield from table.some(file, uri, example_ids)


def load_fitted(uri: str) -> Mapping[str, Any] | None:
    """What the task learnt from the train split when the dataset was built; None where it learns nothing."""
    if FITTED not in describe_all(uri).get("files", {}):
        return None
    found: dict[str, Any] = json.loads(read_text(uri, FITTED))
    return found


def read_text(uri: str, name: str) -> str:
    """One of the folder's text files. Raises UsageError where it is missing, and Unreachable."""
    fs, folder = open_root(uri)
    try:
        with reaching("read", uri):
            text: str = fs.cat_file(f"{folder}/{name}").decode()
    except FileNotFoundError as error:
        raise UsageError(
            f"{uri} is no dataset: {name} is missing", cure="bakeoff dataset list shows the ones that are there"
        ) from error
    return text


def split_of_example(uri: str, example_id: str) -> str | None:
    """Split of the row with this id, None where there is none; reads two columns only. Raises as `load`."""
    with parquet(uri) as file:
        found = file.read(columns=["example_id", "split"])
    at: int = found["example_id"].index(example_id).as_py()
    return None if at < 0 else str(found["split"][at].as_py())


def rows_of_unit(uri: str, unit_id: str) -> dict[str, int]:
    """How many rows of a unit a dataset holds, by split; reads two columns only. Raises as `load`."""
    with parquet(uri) as file:
        found = file.read(columns=["unit_id", "split"])
    counts = found.filter(pc.equal(found["unit_id"], unit_id))["split"].value_counts().to_pylist()
    return {str(each["values"]): int(each["counts"]) for each in counts}


@contextmanager
def parquet(uri: str) -> Iterator[pq.ParquetFile]:
    """The rows' file, open. Raises UsageError where there is no dataset, and Unreachable."""
    fs, folder = open_root(uri)
    try:
        with (
            reaching("read", uri),
            fs.open(f"{folder}/{TRAINING}", "rb") as opened,
            pq.ParquetFile(opened) as file,
        ):
            yield file
    except FileNotFoundError as error:
        raise UsageError(
            f"{uri} is no dataset: {TRAINING} is missing", cure="bakeoff dataset list shows the ones that are there"
        ) from error
