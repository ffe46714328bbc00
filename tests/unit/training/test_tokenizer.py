"""Older servers read a chat template inside tokenizer_config.json only, newer libraries write it to a file only."""

import json
from pathlib import Path

import pytest

from bakeoff.errors import UsageError
from bakeoff.inference.encode import Encoder
from bakeoff.training.tokenizer import copy_tokenizer, tokenizer_problem
from tiny import CHATML, write_tokenizer


def inline(folder: Path, template: object) -> Path:
    """A tokenizer whose template lies in tokenizer_config.json alone."""
    write_tokenizer(folder)
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
    return folder


@pytest.mark.parametrize(
    "template",
    [CHATML, [{"name": "tool_use", "template": "x"}, {"name": "default", "template": CHATML}], None],
    ids=["inline", "named", "file"],
)
def test_a_template_travels_in_both_places_wherever_it_was(tmp_path: Path, template: object) -> None:
    base = write_tokenizer(tmp_path / "base") if template is None else inline(tmp_path / "base", template)
    (tmp_path / "copy").mkdir()
    copy_tokenizer(base, tmp_path / "copy")
    assert (tmp_path / "copy" / "chat_template.jinja").read_text() == CHATML
    assert json.loads((tmp_path / "copy" / "tokenizer_config.json").read_text())["chat_template"] == CHATML
    (tmp_path / "copy" / "chat_template.jinja").rename(tmp_path / "lost")  # as an older server sees it
    assert Encoder.open(tmp_path / "copy").template_digest == Encoder.open(base).template_digest


def test_a_base_that_has_nothing_to_bring_is_named(tmp_path: Path) -> None:
    bare = write_tokenizer(tmp_path / "bare", template=None)
    assert "no chat template" in str(tokenizer_problem(bare))
    slow = write_tokenizer(tmp_path / "slow")
    (slow / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match="save_pretrained"):
        copy_tokenizer(slow, tmp_path)
    assert tokenizer_problem(write_tokenizer(tmp_path / "whole")) is None
