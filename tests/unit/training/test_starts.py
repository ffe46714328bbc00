import json
from pathlib import Path

import pytest

from bakeoff.errors import UsageError
from bakeoff.training import starts
from bakeoff.training.adapter import CONFIG, ENCODING, WEIGHTS, adapter_digest


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle" / "adapter"
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps({"r": 16, "lora_alpha": 32}))
    (folder / ENCODING).write_text("{}")
    (folder / WEIGHTS).write_bytes(b"weights")
    return folder


def _never(run_id: str, to: Path) -> Path:
    raise AssertionError(f"{run_id} is a folder")


def test_an_adapter_is_kept_by_content(tmp_path: Path, adapter: Path) -> None:
    """Named by its own folder, its bundle's, or a run id, it is the same start; nothing else stays behind."""
    work = tmp_path / "work"
    found = [starts.keep(work, str(folder), _never) for folder in (adapter, adapter.parent)]
    found.append(starts.keep(work, "0af3", lambda run_id, to: adapter if run_id == "0af3" else to))
    assert {(start.digest, start.lora_r, start.lora_alpha) for start in found} == {(adapter_digest(adapter), 16, 32)}
    kept = starts.folder_of(work, found[0].digest)
    assert kept is not None
    assert adapter_digest(kept) == found[0].digest
    assert list((work / "starts").iterdir()) == [kept]


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no adapter"):
        starts.keep(tmp_path / "work", str(tmp_path), _never)


def test_no_start_is_no_folder_and_a_lost_one_is_named(tmp_path: Path) -> None:
    assert starts.folder_of(tmp_path, None) is None
    with pytest.raises(UsageError, match="sha256:ab(?s:.*)--from-run"):
        starts.folder_of(tmp_path, "sha256:ab")
