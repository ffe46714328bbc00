"""What would spoil a run is known in seconds, all of it at once."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import teachable
from bakeoff.datasets.model import Split
from bakeoff.errors import Refused
from bakeoff.training.model import TrainingRow, TrainSpec
from bakeoff.training.preflight import check, generation_prompt_problem
from tiny import CHATML, YES, row, write_model, write_tokenizer

ROWS = [row("Likes soup.", ["soup", "stew"], {"soup": YES})]
SPEC = TrainSpec(
    task="toy", dataset_digest="sha256:d", base="tiny", base_digest="sha256:b", prompt_version="1", dtype="float32"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base"))


def splits(*names: str) -> Any:
    return [SimpleNamespace(split=Split(name)) for name in names]


def look(
    base: Path,
    *,
    rows: Any = None,
    learn: list[TrainingRow] = ROWS,
    watch: list[TrainingRow] = ROWS,
    spec: TrainSpec = SPEC,
) -> None:
    dataset: Any = SimpleNamespace(version="2025-01-03")
    found = splits("train", "validation") if rows is None else rows
    check(teachable.Teachable(), dataset, found, learn, watch, base_dir=base, spec=spec)


def test_rows_that_can_be_learnt_from_pass(base: Path) -> None:
    look(base)


def test_everything_is_listed_at_once(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        look(base, rows=splits("train"), learn=[], watch=[])
    assert "none of the 1 rows of split train can be learnt from" in str(refusal.value)
    assert "split validation has no row" in str(refusal.value)
    assert "nothing was logged" in str(refusal.value)


def test_rows_that_would_be_cut_off_are_counted(base: Path) -> None:
    with pytest.raises(Refused, match="1 of 1 rows have more than --max-tokens 20 tokens"):
        look(base, spec=replace(SPEC, max_tokens=20))


def test_one_long_row_among_many_is_left_out_and_no_reason_to_stop(base: Path) -> None:
    """The share counts over all rows, though only the longest are encoded: 1 of 300 is less than half a percent."""
    long = row("x" * 400, ["soup"], {"soup": YES})
    short = [row("Likes soup.", ["soup"], {"soup": YES})]
    tight = replace(SPEC, max_tokens=200)
    look(base, learn=short * 299 + [long], spec=tight)
    with pytest.raises(Refused, match="2 of 300 rows have more"):
        look(base, learn=[long, *short * 298, long], spec=tight)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (None, "no fast tokenizer with a chat template"),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "no generation prompt"),
        ("{{ raise_exception('only two roles') }}", "cannot render"),
        ("{% for", "cannot render"),
    ],
    ids=["none", "without a generation prompt", "refuses", "broken"],
)
def test_a_template_that_would_spoil_the_run_is_refused(tmp_path: Path, template: str | None, problem: str) -> None:
    write_tokenizer(tmp_path, template)
    with pytest.raises(Refused, match=problem):
        look(tmp_path)


def test_a_usual_template_has_a_generation_prompt(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(write_tokenizer(tmp_path, CHATML)))
    assert generation_prompt_problem(tokenizer) is None
