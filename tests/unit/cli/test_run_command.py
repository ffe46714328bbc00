"""Exit codes are a promise to scripts; a user's mistake is told without a traceback."""

import click
import pytest

from bakeoff.cli import run_command
from bakeoff.errors import BakeoffError, Refused, Unreachable, UsageError


def ending(error: BaseException | None, *, code: int = 0) -> click.Command:
    @click.command()
    @click.pass_context
    def command(ctx: click.Context) -> None:
        if error is not None:
            raise error
        ctx.exit(code)

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (BakeoffError("our bug"), 1),
        (UsageError("what is", cure="what to type"), 2),
        (click.UsageError("no such option"), 2),
        (Refused("a rule said no"), 3),
        (Unreachable("away"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: BaseException | None, code: int) -> None:
    assert run_command(ending(error), name="bakeoff", argv=[]) == code


def test_a_command_may_end_with_a_code_of_its_own() -> None:
    assert run_command(ending(None, code=3), name="bakeoff", argv=[]) == 3


def test_an_error_says_what_is_and_what_to_type_on_stderr_only(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(ending(UsageError("tea is out", cure="type coffee")), name="bakeoff", argv=[])
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "error: tea is out\n  type coffee\n"


def test_our_own_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(ending(ZeroDivisionError()), name="bakeoff", argv=[])
