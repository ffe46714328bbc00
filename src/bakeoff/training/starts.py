"""Adapters that training goes on from, kept by content in ``{work}/starts``."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bakeoff.errors import UsageError
from bakeoff.fingerprint import short
from bakeoff.training.adapter import CONFIG, adapter_digest

Fetch = Callable[[str, Path], Path]
"""(run id, empty folder) -> the run's adapter folder in it; see `Tracker.download`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """An adapter to go on from, and what a spec must say to fit it."""

    digest: str
    lora_r: int
    lora_alpha: int


def keep(work: Path, name: str, fetch: Fetch) -> Start:
    """Copies the adapter called `name` (its folder, a bundle's folder, or a run id) below `work`.

    Raises UsageError where `name` is a folder without an adapter, and whatever `fetch` raises for a run."""
    (work / "starts").mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".part-", dir=work / "starts"))
    try:
        source = _local(Path(name)) if Path(name).is_dir() else fetch(name, scratch / "fetched")
        shutil.copytree(source, scratch / "adapter")
        found = adapter_digest(scratch / "adapter")
        config = json.loads((scratch / "adapter" / CONFIG).read_text())
        target = _folder(work, found)
        if not target.is_dir():
            (scratch / "adapter").rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Start(digest=found, lora_r=config["r"], lora_alpha=config["lora_alpha"])


def folder_of(work: Path, digest: str | None) -> Path | None:
    """Where `keep` put the adapter; None for no start. Raises UsageError where it is not there."""
    if digest is None:
        return None
    folder = _folder(work, digest)
    if not folder.is_dir():
        raise UsageError(
            f"the adapter {digest} to start from is not below {work}", cure="name it again with --from-run"
        )
    return folder


def _folder(work: Path, digest: str) -> Path:
    return work / "starts" / short(digest)


def _local(folder: Path) -> Path:
    for place in (folder, folder / "adapter"):
        if (place / CONFIG).is_file():
            return place
    raise UsageError(
        f"{folder} holds no adapter: no {CONFIG}", cure="expected the adapter folder of a run, or its bundle"
    )
