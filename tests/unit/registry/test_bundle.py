from pathlib import Path

import pytest

from bakeoff.errors import UsageError
from bakeoff.registry.bundle import folder_digest


def _fill(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_equal_files_have_one_digest_wherever_they_lie(tmp_path: Path) -> None:
    left = _fill(tmp_path / "a", {"x/w.bin": "1", "c.json": "{}"})
    right = _fill(tmp_path / "b", {"c.json": "{}", "x/w.bin": "1"})
    assert folder_digest(left) == folder_digest(right)


@pytest.mark.parametrize(
    "other",
    [{"x/w.bin": "2"}, {"y/w.bin": "1"}, {"x/w.bin": "1", "more": ""}],
    ids=["content", "name", "one more file"],
)
def test_any_change_is_another_digest(other: dict[str, str], tmp_path: Path) -> None:
    assert folder_digest(_fill(tmp_path / "a", {"x/w.bin": "1"})) != folder_digest(_fill(tmp_path / "b", other))


def test_a_folder_without_files_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no files"):
        folder_digest(tmp_path)
