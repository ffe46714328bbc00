from pathlib import Path

import pytest

from bakeoff.errors import UsageError
from bakeoff.training.evals import EvalRow, means, read, write

ROWS = [
    EvalRow(example_id="1", unit_id="a", scores={"right": 1.0, "edits": None}),
    EvalRow(example_id="2", unit_id="b", scores={"right": 0.0, "edits": 2.0}),
]


def test_missing_is_left_out_of_a_mean_and_never_0() -> None:
    assert means(ROWS) == {"right": 0.5, "edits": 2.0}
    assert means([]) == {}


def test_rows_read_back_as_they_were_written(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", ROWS)
    assert read(tmp_path / "rows.jsonl") == ROWS


@pytest.mark.parametrize(
    "line",
    ["not json", "[]", '{"example_id": "1", "unit_id": "a"}', '{"example_id": 1, "unit_id": 2, "scores": {"x": "y"}}',
     '{"example_id": 1, "unit_id": 2, "scores": {"x": NaN}}'],
)  # fmt: skip
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str) -> None:
    write(tmp_path / "rows.jsonl", ROWS[:1])
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(UsageError, match="line 2 of rows.jsonl"):
        read(tmp_path / "rows.jsonl")
