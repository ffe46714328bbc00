"""``bakeoff demo``"""

import getpass
import os
from datetime import UTC, datetime

import click

from bakeoff import bootstrap, plugins, settings
from bakeoff.cli.progress import TerminalProgress
from bakeoff.cli.session import answer, as_json
from bakeoff.demo import state, story, summary
from bakeoff.demo.size import size_for
from bakeoff.gates.model import GateReport


@click.command()
@click.option("--small", "size", flag_value="small", help="Minutes fewer, and too little evidence to decide much.")
@click.option("--normal", "size", flag_value="normal", default="normal", help="Ten to fifteen minutes (the default).")
@click.option("--full", "size", flag_value="full", help="No limit: lives on until there is a decision.")
@click.option("--ask", is_flag=True, help="Stop at the approval and wait for you.")
@click.option("--seed", default=1, show_default=True, help="Another seed is another town.")
@as_json
def demo(size: str, ask: bool, seed: int, as_json: bool) -> None:
    """The whole loop on a simulated town: log, dataset, LoRA, replay, gate, approval, experiment, promotion.

    Real PostgreSQL, real MLflow, a real language model on your CPU; only the people are simulated. Everything
    lies in .bakeoff; Ctrl-C at any moment, then the same command goes on.

    \b
    Example: bakeoff demo --json > demo.json
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is in wheels
    wired = settings.load().model_copy(update={"database_url": None, "mlflow_tracking_uri": None})
    dtype = bootstrap.dtype(wired)
    remembered = state.remember(wired.home, size=size, seed=seed, dtype=dtype, today=datetime.now(UTC).date())
    clock = story.StoryClock()
    with bootstrap.open_deps(wired, progress=TerminalProgress(), clock=clock) as deps:
        size_ = size_for(remembered.size, dtype)
        world = plugins.load_world("planner")(
            seed=seed, units=size_.units, weeks=size_.weeks, ends_on=datetime.fromisoformat(remembered.ends_on).date()
        )
        told = story.tell(
            story.Stage(
                deps=deps,
                clock=clock,
                task=plugins.load_task("planner"),
                world=world,
                size=size_,
                dtype=dtype,
                say=lambda line: click.echo(line, err=True),
                ask=_ask if ask else lambda _: f"{getpass.getuser()} (through bakeoff demo)",
            )
        )
    answer(as_json, summary.as_json(told), summary.as_text(told))


def _ask(report: GateReport) -> str | None:
    click.echo(f"The report {report.digest} says {report.verdict}.", err=True)
    if not click.confirm("Do you approve this version for at most 10 % of traffic?", err=True):
        return None
    name: str = click.prompt("Your name", default=getpass.getuser(), err=True)
    return name
