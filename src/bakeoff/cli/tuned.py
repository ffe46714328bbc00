"""``bakeoff train --tuned``: options from the stored hyperparameters."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import click
from click.core import ParameterSource

from bakeoff.cli.session import say
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Refused, UsageError
from bakeoff.lifecycle import Deps
from bakeoff.task import Task
from bakeoff.training.run import usable_rows
from bakeoff.training.tuning import store
from bakeoff.training.tuning.model import Tuned
from bakeoff.training.tuning.stale import Situation, staleness


def typed() -> frozenset[str]:
    """Options of the running command that a person named, on the command line or in a --config file."""
    ctx = click.get_current_context(silent=True)
    if ctx is None:
        return frozenset()
    said = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT)
    return frozenset(name for name in ctx.params if ctx.get_parameter_source(name) in said)


def with_tuned(
    wired: Deps, task: Task, dataset: Dataset, base_digest: str, options: Mapping[str, Any], named: Collection[str]
) -> dict[str, Any]:
    """`options` with the newest tuned hyperparameters in place of what nobody `named`. Says where they are from and
    how stale they are (`training.tuning.stale`).

    Raises UsageError where none are stored, Refused where they were found for another version of the task."""
    recipe = options["recipe"]
    with wired.db.transaction() as conn:
        found = store.tuned_spec(conn, task.name, base_digest, recipe)
        others = store.known(conn, task.name)
    if found is None:
        raise UsageError(
            f"nothing is tuned for task {task.name}, recipe {recipe} and this base model" + _instead(others),
            cure="bakeoff tune --dataset latest, with the same --base-model and --recipe",
        )
    now = Situation(
        base_digest=base_digest,
        recipe=recipe,
        prompt_version=task.prompt_version,
        request_version=task.request_version,
        rows=usable_rows(task, dataset, options["max_rows"]),
        git_commit=wired.provenance()["git_commit"],
        lock_digest=wired.provenance()["lock_digest"],
        at=wired.clock(),
    )
    for line in judged(found, now):
        say(line)
    taken = {name: value for name, value in found.params.items() if name not in named}
    kept = sorted(set(found.params) - set(taken))
    if kept:
        say(f"as you say, not as tuned: {', '.join(kept)}")
    if "lora_layers" in taken:
        taken["lora_layers"] = "all" if taken["lora_layers"] is None else str(taken["lora_layers"])
    return {**options, **taken}


def judged(found: Tuned, now: Situation) -> list[str]:
    """What to say about `found`. Raises Refused where it was found for something else."""
    stale = staleness(found, now)
    if stale.refused:
        raise Refused(
            f"the tuned hyperparameters of {_day(found.created_at)} were found for something else:\n"
            + "\n".join(f"  - {line}" for line in stale.refused),
            cure="bakeoff tune, then train --tuned; or train without --tuned",
        )
    told = "told apart from every other trial" if found.distinct else "not told apart from every other trial"
    head = f"tuned on {_day(found.created_at)}: best of {found.trials} trials, {told} (study {found.study})"
    return [head, *(f"  stale: {line}" for line in stale.said)]


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _instead(others: list[Tuned]) -> str:
    if not others:
        return ""
    return "; there are some for " + ", ".join(f"{each.base} with {each.recipe}" for each in others)
