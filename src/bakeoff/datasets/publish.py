"""A stream of episodes becomes a dataset's folder: written where nobody looks, checked, then shown whole.

Nothing is held in memory but one chunk of rows and some samples. On a local disk the folder is made under a hidden
name beside its place, and renamed. Elsewhere (S3) it is made in a scratch folder and uploaded; schema.json, which
makes it a dataset, comes last.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from bakeoff.datasets import build, check, files, fit, place, reads, summary, table
from bakeoff.datasets.chosen import Chosen
from bakeoff.datasets.model import Dataset, Line, Proposer, Split
from bakeoff.datasets.report import markdown
from bakeoff.datasets.schema import schema_json
from bakeoff.datasets.split import SHARES
from bakeoff.errors import Unreachable, UsageError
from bakeoff.fingerprint import canonical_json
from bakeoff.task import Task

LEAK_SAMPLE, READS_SAMPLE = 2_000, 200
NOBODY: Mapping[str, Proposer] = MappingProxyType({})
_CHUNKS_WAITING = 1  # for the writer, besides the one in its hands


def _silent(_rows: int) -> None:
    """For those who do not want to know."""


def publish(
    root: str,
    task: Task,
    stored: Iterable[build.Stored],
    *,
    since: datetime,
    until: datetime,
    previous: Dataset | None = None,
    proposers: Mapping[str, Proposer] = NOBODY,
    shares: Mapping[Split, int] = SHARES,
    minimum: Mapping[Split, int] = check.MINIMUM,
    on_rows: Callable[[int], None] = _silent,
) -> Dataset:
    """Writes ``{root}/{task}/{date}/`` with a row of each episode that has a target, and returns it.

    `stored`: episodes with the text of their request, in canonical order (time of the first decision, then its id);
    `previous`: the task's newest dataset, which is returned where it holds the same rows already; `proposers`: known
    policy versions, by id; `on_rows` is told how many rows there are so far. The same content again is the folder that
    is there; other content with the same date goes to ``{date}.2`` and so on.

    Raises Refused where a check fails (the message names rows and the cure), UsageError for a window without time
    zone, and Unreachable where `root` cannot be written. None of these leaves anything behind."""
    window = {"since": build.utc("since", since), "until": build.utc("until", until)}
    fs, base = files.open_root(root)
    parent, date = f"{base}/{task.name}", window["until"].date().isoformat()
    with files.reaching("write below", root), place.scratch(fs, parent, date) as folder:
        excluded: Counter[str] = Counter()
        lines = build.lines(task, stored, excluded=excluded, shares=shares, **window)
        made = _write(folder, lines, on_rows)
        _check(task, folder, made, minimum)
        if previous is not None and _is_same(task, previous, made) and place.is_there(previous.uri):
            return previous
        about = _about(task, folder, made, excluded, proposers, **window)
        _write_texts(folder, task, about, previous, made.chosen)
        found = place.reveal(fs, folder, parent, date, about["digest"])
    return files.describe(found if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(found))


# ---- rows -----------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class Made:
    """What is known of the rows when all are written."""

    rows: int = 0
    splits: Counter[Split] = field(default_factory=Counter)
    sha: Any = field(default_factory=hashlib.sha256)  # of each line's logical content
    sample: Chosen = field(default_factory=lambda: Chosen(most=LEAK_SAMPLE))
    chosen: Mapping[Split, Chosen] = field(
        default_factory=lambda: {split: Chosen(most=most) for split, most in fit.SAMPLES.items()}
    )

    @property
    def digest(self) -> str:
        return f"sha256:{self.sha.hexdigest()}"

    def note(self, line: Line) -> None:
        self.rows += 1
        self.splits[line.split] += 1
        self.sha.update(line.logical() + b"\n")
        self.sample.offer(line)
        if line.split in self.chosen:
            self.chosen[line.split].offer(line)


def _write(folder: Path, lines: Iterator[Line], on_rows: Callable[[int], None]) -> Made:
    """training.parquet. Arrow works in a thread of its own, outside of Python's lock, while rows are made here."""
    made, writer = Made(), table.Writer(folder=folder)
    waiting: list[Future[None]] = []
    with ThreadPoolExecutor(1, thread_name_prefix="parquet") as pool:
        try:
            for chunk in table.chunks(_noted(lines, made)):
                waiting.append(pool.submit(writer.write, chunk))
                del chunk
                while len(waiting) > _CHUNKS_WAITING:
                    waiting.pop(0).result()
                on_rows(made.rows)
            for future in waiting:
                future.result()
            if made.rows:
                pool.submit(writer.close).result()
        except BaseException:
            pool.submit(writer.abandon).result()
            raise
    pa.default_memory_pool().release_unused()
    return made


def _noted(lines: Iterator[Line], made: Made) -> Iterator[Line]:
    for line in lines:
        made.note(line)
        yield line


def _check(task: Task, folder: Path, made: Made, minimum: Mapping[Split, int]) -> None:
    check.check_enough(made.splits, minimum)
    with pq.ParquetFile(folder / table.TRAINING) as file:
        check.check_units(file.read(columns=["unit_id", "split", "slice"]))
    sample = made.sample.lines()
    check.check_leaks(sample)
    reads.check_reads(task, [line.row() for line in sample[:: -(-len(sample) // READS_SAMPLE)]])


# ---- what is said about them ------------------------------------------------------------------------------------


def _is_same(task: Task, previous: Dataset, made: Made) -> bool:
    """Whether `previous` holds the same rows, made by the same versions: then there is nothing new."""
    same = all(previous.summary.get(name) == version for name, version in build.versions(task).items())
    return same and previous.rows_digest == made.digest


def _about(
    task: Task,
    folder: Path,
    made: Made,
    excluded: Mapping[str, int],
    proposers: Mapping[str, Proposer],
    *,
    since: datetime,
    until: datetime,
) -> dict[str, Any]:
    with pq.ParquetFile(folder / table.TRAINING) as file:
        sample = made.chosen[Split.TRAIN].rows(summary.SAMPLED)
        found = summary.summarise(task, file, sample, excluded=excluded, proposers=proposers)
    return {
        "digest": build.content_digest(task, made.digest, since=since, until=until),
        "task": task.name,
        "since": since.isoformat(),
        "until": until.isoformat(),
        "date": until.date().isoformat(),
        "rows": made.rows,
        "splits": found["splits"],
        "summary": found | {"rows_digest": made.digest},
    }


def _write_texts(
    folder: Path, task: Task, about: Mapping[str, Any], previous: Dataset | None, chosen: Mapping[Split, Chosen]
) -> None:
    """Everything beside the rows; schema.json lists what is there, with sizes and digests."""
    schema = pq.read_schema(folder / table.TRAINING)
    before = _described(previous)
    (folder / files.SUMMARY).write_text(markdown(schema, task, about, before), encoding="utf-8")
    frozen = fit.frozen(task, chosen)
    if frozen is not None:
        (folder / files.FITTED).write_text(canonical_json(frozen) + "\n", encoding="utf-8")
    there = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(folder.iterdir())}
    body = schema_json(schema, task, about) | {"files": there}
    text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    (folder / files.SCHEMA).write_text(text, encoding="utf-8")


def _described(previous: Dataset | None) -> Mapping[str, Any] | None:
    """The ``dataset`` part of its schema.json; None where its folder is gone."""
    if previous is None:
        return None
    try:
        found: dict[str, Any] = files.describe_all(previous.uri)["dataset"]
    except (UsageError, Unreachable):
        return None
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
