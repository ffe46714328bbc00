"""docs/pitfalls.md promises a test for each row: it must exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "pitfalls.md").read_text(encoding="utf-8")
ROWS = {int(found[1]): found[0] for found in re.finditer(r"^\| (\d+) \|.*$", TEXT, re.MULTILINE)}
NAMED = sorted(set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", TEXT)))


def defined(path: str) -> set[str]:
    return {node.name for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body if hasattr(node, "name")}


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in defined(path)


def test_every_row_names_a_test_and_what_is_done() -> None:
    assert sorted(ROWS) == list(range(1, 19))
    for number, row in ROWS.items():
        _, _, wrong, here, tests, _ = row.split("|")
        assert wrong.strip(), number
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", tests), number
        assert "Cannot happen" in here or re.search(r"`src/[\w/]+\.py`", here), number
