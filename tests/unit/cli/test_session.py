"""One way to answer."""

import json

import pytest

from bakeoff.cli.session import answer, outline, table


def test_json_is_one_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    answer(True, {"name": "Käse"}, "text")
    said = capsys.readouterr()
    assert json.loads(said.out) == {"name": "Käse"}
    assert said.err == ""


def test_a_table_lines_up_and_shows_what_is_missing() -> None:
    assert table([{"a": 1, "bb": None}, {"a": 22, "bb": "x"}]) == "a   bb\n1   -\n22  x"
    assert table([]) == ""


def test_an_outline_indents_and_leaves_out_what_is_not_there() -> None:
    body = {"a_b": 1, "none": None, "empty": [], "inner": {"c": 2}, "many": [{"d": 3, "e": 4}], "flat": ["x", "y"]}
    lines = [" ".join(line.split()) for line in outline(body).splitlines()]
    assert lines == ["a b 1", "inner", "c 2", "many", "- d 3", "e 4", "flat", "- x", "- y"]
