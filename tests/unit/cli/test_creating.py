"""``bakeoff policy create``: what is typed, and what a newcomer is told."""

from pathlib import Path
from typing import Any

import pytest

from bakeoff.cli.creating import create, read_prompt, temperature, what_answers
from bakeoff.cli.policy import first_lines
from bakeoff.errors import UsageError

NOTHING = {parameter.name: None for parameter in create.params if parameter.name not in ("task_name", "as_json")}


def typed(**given: Any) -> dict[str, Any]:
    return {**NOTHING, **given}


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"base": "smollm2", "prompt": Path("p"), "dtype": "float32", "price_prompt": 0.0}, "base"),
        ({"endpoint": "house", "model": "m", "prompt": Path("p"), "seed": 0, "temperature": "server"}, "endpoint"),
        ({"function": "a:b", "function_version": "2", "seed": 1}, "function"),
    ],
)
def test_one_of_three_answers_and_its_options_go_with_it(given: dict[str, Any], kind: str) -> None:
    assert what_answers(typed(**given)) == kind


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "what answers\\? One of --base, --endpoint and --python"),
        ({"base": "b", "function": "a:b"}, "--base and --python are different policies"),
        ({"endpoint": "house"}, "which model of endpoint 'house'"),
        ({"base": "b", "model": "m"}, "--model means nothing with --base"),
        ({"function": "a:b", "prompt": Path("p")}, "--prompt means nothing with --python"),
        ({"endpoint": "house", "model": "m", "dtype": "float32"}, "--dtype means nothing with --endpoint"),
        ({"base": "b", "seed": 0}, "--seed means nothing with --base"),
    ],
)
def test_what_is_not_clear_is_said_with_what_to_type(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        what_answers(typed(**given))
    assert caught.value.cure


def test_an_option_that_means_nothing_here_is_told_where_it_does() -> None:
    with pytest.raises(UsageError, match="it goes with --base and --endpoint"):
        what_answers(typed(function="a:b", max_tokens=5))


def test_a_prompt_is_its_words_whatever_the_editor_puts_around_them(tmp_path: Path) -> None:
    texts = ["You plan.\nWell.", "You plan.\nWell.\n", "\n You plan.\r\nWell. \n\n", "\ufeffYou plan.\nWell."]
    found = set()
    for text in texts:
        (tmp_path / "p.txt").write_bytes(text.encode())
        found.add(read_prompt(tmp_path / "p.txt"))
    assert found == {"You plan.\nWell."}


@pytest.mark.parametrize(
    ("content", "said"), [(b" \n", "no text"), (b"a\0b", "a NUL character"), (b"\xff\xfe", "cannot be read")]
)
def test_a_file_that_is_no_prompt_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_prompt(tmp_path / "p.txt")


def test_a_temperature_is_a_number_or_the_servers() -> None:
    assert [temperature(each) for each in (None, "0", "0.7", "2", "server")] == [0.0, 0.0, 0.7, 2.0, None]
    for wrong in ("hot", "-1", "2.1", "nan"):
        with pytest.raises(UsageError, match="--temperature server"):
            temperature(wrong)


def test_a_short_prompt_is_shown_whole_and_a_long_one_by_its_beginning() -> None:
    assert first_lines("a\nb") == ["a", "b"]
    assert first_lines("a\nb\nc\nd") == ["a", "b", "c", "... (4 lines, 7 characters; --json shows it whole)"]
    assert first_lines("x" * 101) == ["x" * 100 + "...", "... (1 lines, 101 characters; --json shows it whole)"]
