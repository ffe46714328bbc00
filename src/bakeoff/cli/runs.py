"""``bakeoff runs``: training runs as the tracker and this machine know them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bakeoff.cli.lookup import LATEST, find_dataset
from bakeoff.cli.run_scores import as_rows, has_rows, rank_runs
from bakeoff.cli.session import answer, as_json, deps, policy_id, say, table, task_option
from bakeoff.errors import BakeoffError, Refused, UsageError
from bakeoff.lifecycle import Deps
from bakeoff.plugins import load_task
from bakeoff.policies import store as policies
from bakeoff.task import Task
from bakeoff.training import compare, outbox
from bakeoff.training.tracker import COMPLETE_TAG, FINGERPRINT_TAG, RunSummary, Tracker

_RUN_DIGITS = 12  # shown
ID_DIGITS = 32  # of a whole id


@click.group()
def runs() -> None:
    """Training runs: list, compare, sync.

    \b
    Example: bakeoff runs list
    """


@runs.command("list")
@task_option
@as_json
def list_(task_name: str, as_json: bool) -> None:
    """Every training run of a task, latest first: data, losses, scores, and what was registered from it.

    \b
    Example: bakeoff runs list
    """
    with deps() as wired:
        found = wired.tracker.list_runs(task_name)
        names, states = _registered(wired, task_name), _states(wired)
    bodies = [body(run, names, states) for run in found]
    return answer(as_json, {"runs": bodies}, table([_line(each) for each in bodies]) or "no run yet: bakeoff train")


@runs.command("compare")
@task_option
@click.argument("run_ids", nargs=-1, metavar="[RUN]...")
@click.option("--dataset", "dataset_name", help="All complete runs of this dataset: version, digest or latest.")
@click.option("--metric", help="Rank by one metric of the task.  [default: offline_eval_score]")
@as_json
def compare_(
    task_name: str, run_ids: tuple[str, ...], dataset_name: str | None, metric: str | None, as_json: bool
) -> None:
    """Rank runs by the offline evaluator's score on validation rows, with intervals.

    The intervals hold for all pairs at once and are clustered by unit: a run that leads by luck is called
    'not distinguishable'. They tell rows apart, not seeds.

    \b
    Example: bakeoff runs compare 3f2a9c0d41b7 88c1d2e3f4a5
             bakeoff runs compare --dataset latest
    """
    with deps() as wired:
        task = load_task(task_name)
        chosen = choose(wired, task_name, run_ids, dataset_name)
        result = comparison(wired, task, chosen, metric)
    return answer(as_json, result, comparison_text(result))


@runs.command()
@click.option("--run-id", help="Only this run.  [default: all that wait]")
@as_json
def sync(run_id: str | None, as_json: bool) -> None:
    """Send the tracker what it missed while it was away: points, parameters, files, the end of the run.

    Each point arrives once, however often this is called; a killed sync is finished by the next.

    \b
    Example: bakeoff runs sync
    """
    with deps() as wired:
        if run_id is not None:
            waiting = [outbox.folder_of(wired.work, run_id)]
        else:
            waiting = [path for path, _ in outbox.folders(wired.work) if outbox.state(path) == "waiting"]
        sent, stuck = send(wired.tracker, waiting)
    bodies = [{"run": each.run_id, "points": each.points, "failed": each.failed} for each in sent]
    text = "\n".join(
        f"{each['run']}: {each['points']} points sent; "
        + ("training had failed" if each["failed"] else f"next: bakeoff register --run-id {each['run']}")
        for each in bodies
    )
    if bodies or not stuck:
        answer(as_json, {"synced": bodies}, text or "nothing waits")
    if stuck:
        for error in stuck[1:]:
            say(str(error))
        raise stuck[0]


def send(tracker: Tracker, waiting: Sequence[Path]) -> tuple[list[outbox.Sent], list[BakeoffError]]:
    """What was sent, and why some was not: a run that the tracker does not take must not hold up the others. Raises
    Unreachable at the first outage."""
    sent: list[outbox.Sent] = []
    stuck: list[BakeoffError] = []
    for path in waiting:
        try:
            sent.append(outbox.sync(tracker, path))
        except (UsageError, Refused) as error:
            stuck.append(error)
    return sent, stuck


def comparison(wired: Deps, task: Task, chosen: Sequence[RunSummary], metric: str | None) -> dict[str, Any]:
    """Ranking, verdict and what it was ranked by, as JSON values."""
    name, ranked = rank_runs(wired.tracker, task, chosen, metric)
    names = {run.run_id: {"dataset": run.params.get("dataset_version"), "name": run.name} for run in chosen}
    return {
        "score": name,
        "level": compare.LEVEL,
        "runs": as_rows(ranked, names),
        "verdict": compare.verdict(ranked),
    }


def comparison_text(result: Mapping[str, Any]) -> str:
    about = f"{result['score']} on shared validation rows; bounds hold for all pairs at once ({result['level']:.0%})"
    return f"{about}\n{table(result['runs'])}\n{result['verdict']}"


def choose(wired: Deps, task_name: str, run_ids: Sequence[str], dataset_name: str | None) -> list[RunSummary]:
    """Runs by id (its beginning is enough), or all complete ones of a dataset. Raises UsageError."""
    there = wired.tracker.list_runs(task_name)
    if bool(run_ids) == bool(dataset_name):
        raise UsageError(
            "name the runs, or a dataset, not both", cure=f"for instance: bakeoff runs compare --dataset {LATEST}"
        )
    if run_ids:
        return list({run.run_id: run for run in (by_id(there, text) for text in run_ids)}.values())
    with wired.db.transaction() as conn:
        version = find_dataset(conn, task_name, str(dataset_name)).version
    found = [run for run in there if run.params.get("dataset_version") == version and run.status == "FINISHED"]
    scored = [run for run in found if has_rows(wired.tracker, run)]
    if not scored:
        raise UsageError(f"no finished run of dataset {version} has scores", cure=f"bakeoff train --dataset {version}")
    if len(scored) < len(found):
        say(f"{len(found) - len(scored)} runs are left out: nothing says how they did on which row")
    return scored


def full_id(wired: Deps, task_name: str, text: str) -> str:
    """The id of the run that begins with `text`; a whole id is taken as it is, the run may lie in an experiment of
    another name. Raises UsageError."""
    there = wired.tracker.list_runs(task_name)
    if len(text) == ID_DIGITS and not any(run.run_id == text for run in there):
        return text
    return by_id(there, text).run_id


def by_id(there: Sequence[RunSummary], text: str) -> RunSummary:
    """The one run whose id begins with `text`. Raises UsageError."""
    found = [run for run in there if run.run_id.startswith(text)]
    if len(found) != 1 or len(text) < 4:
        raise UsageError(
            f"{len(found) or 'no'} runs have an id that begins with {text!r}",
            cure="bakeoff runs list shows them; give at least 4 digits",
        )
    return found[0]


def body(run: RunSummary, names: Mapping[str, str], states: Mapping[str, str]) -> dict[str, Any]:
    """One run as JSON values."""
    return {
        "run": run.run_id,
        "name": run.name,
        "started": run.started_at.isoformat(timespec="minutes"),
        "dataset": run.params.get("dataset_version"),
        "status": states.get(run.run_id) or standing(run),
        "training_loss": run.metrics.get("training_loss"),
        "validation_loss": run.metrics.get("validation_loss"),
        "scores": {name: value for name, value in sorted(run.metrics.items()) if name.startswith("eval_")},
        "registered_as": names.get(run.run_id),
    }


def standing(run: RunSummary) -> str:
    """'finished', 'running', ...; a finished run of ours that was not sent whole is 'incomplete'."""
    if run.status == "FINISHED" and run.tags.get(FINGERPRINT_TAG) and run.tags.get(COMPLETE_TAG) != "true":
        return "incomplete"
    return run.status.lower()


def _line(each: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in each.items() if name not in ("scores", "name")}
    losses = {n: None if each[n] is None else f"{each[n]:.3f}" for n in ("training_loss", "validation_loss")}
    scores = " ".join(f"{name.removeprefix('eval_')}={value:.3f}" for name, value in each["scores"].items())
    return {**shown, **losses, "run": each["run"][:_RUN_DIGITS], "scores": scores or None}


def _registered(wired: Deps, task_name: str) -> dict[str, str]:
    with wired.db.transaction() as conn:
        if policy_id(task_name) not in {policy.policy_id for policy in policies.all_policies(conn)}:
            return {}
        versions = policies.versions(conn, policy_id(task_name))
    return {each.mlflow_run_id: each.name for each in versions if each.mlflow_run_id}


def _states(wired: Deps) -> dict[str, str]:
    """Runs of this machine whose end the tracker does not know."""
    return {
        started.run_id: "waits for sync"
        for path, started in outbox.folders(wired.work)
        if outbox.state(path) == "waiting"
    }
