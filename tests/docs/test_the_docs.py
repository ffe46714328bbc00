"""What the documents tell people to type exists, and what they link to is there."""

import re
from pathlib import Path

import click
import pytest

from bakeoff.cli import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(text: str) -> set[tuple[str, ...]]:
    """Words after `bakeoff`, up to the first argument or option."""
    typed = re.findall(r"(?:^|[`\s])bakeoff ((?:[a-z][a-z-]* ?)+)", text, flags=re.MULTILINE)
    return {tuple(words.split()[:2]) for words in typed if words.split()[0] in cli.list_commands(click.Context(cli))}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_is_shown_exists(path: Path) -> None:
    for words in commands(path.read_text()):
        command = cli.get_command(click.Context(cli), words[0])
        assert command is not None
        if isinstance(command, click.Group) and len(words) > 1:
            assert command.get_command(click.Context(command), words[1]), f"bakeoff {' '.join(words)}"


def test_the_eight_steps_are_all_there() -> None:
    shown = commands((ROOT / "docs" / "training-workflow.md").read_text())
    steps = {("dataset", "build"), ("dataset", "list"), ("dataset", "show"), ("experiment", "start")}
    steps |= {("experiment", "watch"), ("experiment", "status")}
    assert steps <= shown
    assert {"train", "replay", "gate", "approve", "promote", "rollback"} <= {words[0] for words in shown}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_is_named_exists(path: Path) -> None:
    for name in re.findall(r"`((?:src|tests|docs|benchmarks)/[\w./-]+)`", path.read_text()):
        assert (ROOT / name).exists(), name
