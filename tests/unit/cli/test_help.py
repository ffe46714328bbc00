"""Every command explains itself, quickly."""

import json
import subprocess
import sys

import click
import pytest

from bakeoff.cli import COMMANDS, HELP, cli, run_command

HEAVY = ("torch", "mlflow", "transformers", "pandas", "psycopg", "pyarrow", "scipy", "numpy", "pydantic", "fsspec")
ASK = """
import json, sys
from bakeoff.cli import cli, run_command
code = run_command(cli, name="bakeoff", argv={argv})
print("\\n" + json.dumps([code, sorted(m for m in sys.modules)]), file=sys.stderr)
"""


def imported(*argv: str) -> tuple[int, set[str]]:
    """Exit code of a command in a fresh process, and every module that it imported."""
    words = [sys.executable, "-c", ASK.format(argv=list(argv))]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    code, modules = json.loads(ran.stderr.splitlines()[-1])
    return code, set(modules)


def test_help_imports_nothing_heavy_and_little_of_anything() -> None:
    code, modules = imported("--help")
    assert code == 0
    assert modules.isdisjoint(HEAVY)
    assert {name for name in modules if name.startswith("bakeoff")} == {"bakeoff", "bakeoff.cli", "bakeoff.errors"}
    assert len(modules) < 300  # 0.1 s; click alone brings about 60


def test_what_every_command_needs_brings_nothing_that_few_need() -> None:
    """A second of every command: models, MLflow and the heavier parts of scipy wait until they are asked for."""
    ask = "import sys, bakeoff.bootstrap, planner.task; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    late = {"torch", "mlflow", "transformers", "pandas", "optuna", "scipy.special", "scipy.stats", "scipy.optimize"}
    assert late & set(ran.stdout.split()) == set()


def leaves(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    """`command` and everything below it, by the words to type."""
    below = command.commands.items() if isinstance(command, click.Group) else ()
    return [(name, command), *(leaf for word, child in below for leaf in leaves(f"{name} {word}", child))]


ALL = [
    leaf
    for name in COMMANDS
    if (command := cli.get_command(click.Context(cli), name)) is not None
    for leaf in leaves(name, command)
]


@pytest.mark.parametrize(("words", "command"), ALL, ids=[words for words, _ in ALL])
def test_every_command_shows_an_example_of_itself(words: str, command: click.Command) -> None:
    shown = str(command.help)
    assert f"Example: bakeoff {words}" in shown


@pytest.mark.parametrize(("words", "command"), ALL, ids=[words for words, _ in ALL])
def test_every_command_that_does_something_can_answer_in_json(words: str, command: click.Command) -> None:
    if not isinstance(command, click.Group):
        assert "--json" in {flag for option in command.params for flag in option.opts}, words


def test_the_list_of_commands_is_the_table() -> None:
    assert list(HELP) == list(COMMANDS)


def test_a_command_that_does_not_exist_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(cli, name="bakeoff", argv=["bake"]) == 2
    assert "No such command 'bake'" in capsys.readouterr().err
