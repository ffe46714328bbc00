"""The command line. Light: each command's module is imported when it is asked for, torch and MLflow even later."""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from bakeoff.errors import BakeoffError

COMMANDS = {
    "demo": "demo:demo",
    "init": "init:init",
    "status": "look:status",
    "trace": "tracing:trace",
    "doctor": "look:doctor",
    "db": "data:db",
    "task": "task:task",
    "events": "events:events",
    "dataset": "data:dataset",
    "policy": "policy:policy",
    "train": "training:train",
    "tune": "tune:tune",
    "contract": "registering:contract",
    "runs": "runs:runs",
    "register": "registering:register",
    "propose": "registering:propose",
    "merge": "merging:merge",
    "replay": "replaying:replay",
    "gate": "judging:gate",
    "report": "reporting:report",
    "approve": "approving:approve",
    "reject": "approving:reject",
    "experiment": "experimenting:experiment",
    "promote": "promoting:promote",
    "rollback": "promoting:rollback",
    "ledger": "ledger:ledger",
    "serve": "serve:serve",
    "keys": "keys:keys",
    "ui": "ui:ui",
}
"""Command -> module and function, in the order of the loop."""

HELP = {
    "demo": "Run the whole loop on a simulated town.",
    "init": "Settings, connection checks, the skeleton of a task.",
    "status": "Where each policy stands, and the next command.",
    "trace": "Follow a decision, a version, a household both ways.",
    "doctor": "Check the database, the registry and this machine.",
    "db": "The database: migrate, roles.",
    "task": "Tasks: check one over real rows, compare requests.",
    "events": "The event log: import history.",
    "dataset": "Datasets: build, list, show, diff.",
    "policy": "Policies: list, show, create, adopt.",
    "train": "Fine-tune a base model on a dataset and register it.",
    "tune": "Search hyperparameters, and keep the best.",
    "contract": "What a training run must have logged.",
    "runs": "Training runs: list, compare, sync.",
    "register": "Register the model of any trainer's run.",
    "propose": "Register the chosen run, with its comparison.",
    "merge": "Fold an adapter into its base: one whole model.",
    "replay": "Run a policy version over held-out requests.",
    "gate": "Judge a version against the incumbent.",
    "report": "One page on a gate's verdict, to read before signing.",
    "approve": "Sign a gate report.",
    "reject": "Turn a version down.",
    "experiment": "Experiments: plan, start, watch, ramp, stop.",
    "promote": "Serve a version to everyone.",
    "rollback": "Go back to an earlier production version.",
    "ledger": "What replay predicted, and what was measured.",
    "serve": "Answer requests and take events over HTTP.",
    "keys": "Keys of the HTTP API: create, list, revoke.",
    "ui": "MLflow in your browser: runs, curves, models.",
}


class _LateGroup(click.Group):
    """Imports a command's module when the command is used, not when help is printed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"bakeoff.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(HELP.items()))


@click.command(cls=_LateGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bakeoff")
def cli() -> None:
    """From an LLM feature's event log to a better model in front of users, with proof at every step.

    \b
    bakeoff demo            the whole loop on a simulated town, in ten to fifteen minutes
    bakeoff init            your own database, tracker and task instead
    bakeoff status          where each policy stands and what to type next

    Exit codes: 0 done, 1 our bug, 2 wrong use, 3 refused by a gate, a contract or a rule, 4 something outside
    does not answer.
    """


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``bakeoff``."""
    sys.exit(run_command(cli, name="bakeoff", argv=argv))


def run_command(command: click.Command, *, name: str, argv: Sequence[str] | None = None) -> int:
    """Runs `command` and returns its exit code: errors that a user can act on are printed without a traceback."""
    try:
        code: Any = command.main(args=argv, prog_name=name, standalone_mode=False)
    except BakeoffError as error:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; the same command goes on from here", err=True)
        return 130
    return code if isinstance(code, int) else 0
