import json
from pathlib import Path

import pytest

from bakeoff.errors import Refused, UsageError
from bakeoff.training.adapter import adapter_digest, lint_adapter

PLAIN = {"r": 16, "use_dora": False, "modules_to_save": None, "bias": "none"}


def _adapter(folder: Path, **config: object) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps(PLAIN | config))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "encoding.json").write_text("{}")
    return folder


def test_plain_lora_passes(tmp_path: Path) -> None:
    lint_adapter(_adapter(tmp_path))


@pytest.mark.parametrize(
    "config", [{"r": 12}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "lora_only"}]
)
def test_what_cannot_be_served_everywhere_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(Refused):
        lint_adapter(_adapter(tmp_path, **config))


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    (_adapter(tmp_path) / "training_args.bin").write_bytes(b"")
    with pytest.raises(Refused, match=r"training_args\.bin is a pickle"):
        lint_adapter(tmp_path)


def test_the_digest_covers_all_three_files(tmp_path: Path) -> None:
    before = adapter_digest(_adapter(tmp_path))
    for name in ("adapter_config.json", "adapter_model.safetensors", "encoding.json"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content + b" ")
        assert adapter_digest(tmp_path) != before
        (tmp_path / name).write_bytes(content)
    assert adapter_digest(tmp_path) == before


def test_a_folder_that_is_no_adapter_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"adapter_config\.json"):
        adapter_digest(tmp_path)
