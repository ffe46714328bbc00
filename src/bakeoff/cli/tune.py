"""``bakeoff tune``, and what ``bakeoff train --tuned`` takes from it."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from bakeoff import bootstrap, plugins, settings
from bakeoff.cli.lookup import LATEST, find_dataset
from bakeoff.cli.run_scores import weights_of
from bakeoff.cli.session import answer, as_json, deps, say, table, task_option
from bakeoff.datasets import files, fit
from bakeoff.datasets.model import Dataset, Split
from bakeoff.errors import UsageError
from bakeoff.gates.score import offline_eval_score
from bakeoff.inference.model import Price
from bakeoff.lifecycle import Deps
from bakeoff.task import Task
from bakeoff.training import evals
from bakeoff.training import run as training_run
from bakeoff.training.compare import Ranked
from bakeoff.training.model import TrainSpec
from bakeoff.training.tuning import store
from bakeoff.training.tuning.model import Asked, Trial
from bakeoff.training.tuning.outcome import label, verdict
from bakeoff.training.tuning.run import Report, Search, warm_params
from bakeoff.training.tuning.run import tune as run_study
from bakeoff.training.tuning.space import RECIPES, describe

EVAL_ROWS = 96
"""Validation rows that a trial is scored on, at most; four times what a run logs, as trials are compared by them."""


@click.command()
@task_option
@click.option("--dataset", "dataset_name", default=LATEST, show_default=True, help="Version, digest, folder or latest.")
@click.option("--trials", type=click.IntRange(min=1), default=8, show_default=True, help="Of the whole study.")
@click.option(
    "--base-model", "--base", "base", default="smollm2", show_default=True, help="An alias, a hub id or a folder."
)
@click.option("--recipe", type=click.Choice(RECIPES), default=RECIPES[0], show_default=True, help="How to train.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Begin no trial after this many seconds.")
@click.option("--workers-share", metavar="STUDY", help="Name of a study to share.  [default: by what is searched]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the search and of each training.")
@click.option("--max-rows", type=click.IntRange(min=1), help="Only the newest n rows.  [default: all]")
@click.option("--max-tokens", type=click.IntRange(min=1), default=1024, show_default=True, help="As in train.")
@click.option(
    "--decoding-mode",
    type=click.Choice(["choices", "greedy"]),
    default="choices",
    show_default=True,
    help="As in train.",
)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="As in train.")
@click.option(
    "--eval-rows", type=click.IntRange(min=2), default=EVAL_ROWS, show_default=True, help="Validation rows to score."
)
@click.option("--metric", help="Maximise one metric of the task.  [default: offline_eval_score]")
@as_json
def tune(
    task_name: str,
    dataset_name: str,
    trials: int,
    timeout: float | None,
    workers_share: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Search hyperparameters on the validation split, and keep the best for `bakeoff train --tuned`.

    Each trial trains on a quarter of the rows first; the half with the lower validation loss goes on to all rows and
    is scored by the offline evaluator. The same command goes on with the same study, also after a kill and in several
    terminals at once; more --trials continue it. The first trial is what train does by default.

    \b
    Example: bakeoff tune --trials 12
             bakeoff tune --trials 24 --timeout 3600 --workers-share friday
    """
    began = time.monotonic()
    with deps() as wired:
        task = plugins.load_task(task_name)
        with wired.db.transaction() as conn:
            dataset = find_dataset(conn, task_name, dataset_name)
        search = read_search(wired, task, dataset, **options)
        deadline = math.inf if timeout is None else began + timeout
        report = carry_out(wired, task, dataset, search, trials=trials, deadline=deadline, name=workers_share)
    return answer(as_json, as_body(report), as_text(report, dataset))


def read_search(
    wired: Deps,
    task: Task,
    dataset: Dataset,
    *,
    base: str,
    eval_rows: int,
    metric: str | None,
    dtype: str | None,
    **options: Any,
) -> Search:
    """What the options ask for. Raises UsageError where no row can be learnt from."""
    from bakeoff.training.sizes import read_shape

    found = wired.bases.resolve(base)
    rows = training_run.usable_rows(task, dataset, options["max_rows"])
    if not rows:
        raise UsageError(f"no train row of {dataset.uri} can be learnt from", cure="bakeoff task check says why")
    score_name, weights = weights_of(task, metric)
    spec = TrainSpec(
        task=task.name,
        dataset_digest=dataset.digest,
        base=base,
        base_digest=found.digest,
        prompt_version=task.prompt_version,
        dtype=dtype or bootstrap.dtype(settings.load()),  # type: ignore[arg-type]  # checked by TrainSpec
        **options,
    )
    layers = read_shape(found.path).layers
    with wired.db.transaction() as conn:
        kept = store.tuned_spec(conn, task.name, found.digest, spec.recipe)
    return Search(
        spec=spec,
        rows=rows,
        layers=layers,
        score_name=score_name,
        weights=weights,
        eval_rows=eval_rows,
        warm=None if kept is None else warm_params(kept, layers),
    )


def carry_out(
    wired: Deps,
    task: Task,
    dataset: Dataset,
    search: Search,
    *,
    trials: int,
    deadline: float,
    name: str | None,
) -> Report:
    """Works on the study, and stores what it found."""
    studies = bootstrap.studies(wired)
    metrics = {each.name: each for each in task.metrics}
    held_out = files.load(dataset.uri, splits=(Split.VALIDATION,))
    scorer = fit.fitted(task, dataset.uri)

    def train(spec: TrainSpec, tags: Mapping[str, str]) -> training_run.Trained:
        rung = "a quarter" if tags.get("kind") == "rung" else "all rows"
        with wired.progress.stage(f"{label(int(tags['trial']))}, {rung}") as move:
            return training_run.train(
                wired.tracker,
                wired.bases,
                wired.engines,
                task,
                dataset,
                spec,
                work=wired.work,
                threads=wired.threads,
                provenance={**wired.provenance(), **tags},
                price=Price(),
                on_step=move,
            )

    def evaluate(trained: training_run.Trained) -> list[evals.EvalRow]:
        return evals.evaluate(wired.engines, scorer, held_out, trained.policy_spec, limit=search.eval_rows)

    report = run_study(
        studies,
        wired.tracker,
        task,
        dataset,
        search,
        name=name,
        train=train,
        evaluate=evaluate,
        score=lambda values: offline_eval_score(search.weights, metrics, values),
        trials=trials,
        clock=time.monotonic,
        deadline=deadline,
        now=wired.clock,
        provenance=wired.provenance(),
        told=lambda asked, what: _tell(asked, what, trials),
    )
    if report.tuned is not None:
        with wired.db.transaction() as conn:
            store.insert(conn, report.tuned)
    return report


def _tell(asked: Asked, what: str, trials: int) -> None:
    more = f" ({asked.place} of {trials}): {describe(asked.params)}" if what == "begins" else ""
    say(f"{label(asked.number)} {what}{more}")


# ---- what is said at the end ---------------------------------------------------------------------------------------


def as_body(report: Report) -> dict[str, Any]:
    """The study as JSON values."""
    found = report.outcome
    second = found.ranked[1] if found and found.runner_up else None
    return {
        "study": report.study,
        "mlflow_run_id": report.mlflow_run_id,
        "finished": found.finished if found else 0,
        "other_workers": report.others,
        "trials": _lines(report),
        "best_trial": found.best.number if found else None,
        "runner_up": found.runner_up.number if found and found.runner_up else None,
        "distinguishable": None if second is None else second.standing == "worse",
        "verdict": verdict(found) if found else None,
        "tuned": asdict(report.tuned) if report.tuned else None,
    }


def as_text(report: Report, dataset: Dataset) -> str:
    """A table of trials and the outcome."""
    lines = [f"study {report.study}", table(_shown(_lines(report)))]
    if report.outcome is not None:
        lines.append(verdict(report.outcome))
    if report.others:
        lines.append(f"{report.others} other workers are still at it; the last to leave keeps the best")
    kept = report.tuned
    if kept is not None:
        settings_text = ", ".join(f"{name} {value}" for name, value in sorted(kept.params.items()))
        lines += [
            f"kept: {settings_text}",
            f"  {kept.score_name} {kept.score:.4f} ({kept.lower:.4f} to {kept.upper:.4f}, {kept.units} units); "
            f"as the best of {kept.trials} a little too good",
            f"next: bakeoff train --dataset {dataset.version} --base-model {kept.base} --tuned",
        ]
    return "\n".join(lines)


def _lines(report: Report) -> list[dict[str, Any]]:
    found = report.outcome.ranked if report.outcome else ()
    ranked = {each.run_id: each for each in found if len(found) > 1}  # the only one is not best
    return [_line(trial, ranked.get(label(trial.number))) for trial in report.trials]


def _line(trial: Trial, ranked: Ranked | None) -> dict[str, Any]:
    gap = ranked.to_leader if ranked else None
    return {
        "trial": trial.number,
        "state": trial.state,
        **trial.params,
        "early_loss": trial.early_loss,
        "score": trial.score,
        "to_best": gap.estimate if gap else None,
        "lower": gap.lower if gap else None,
        "upper": gap.upper if gap else None,
        "standing": ranked.standing if ranked else None,
        "run": trial.run_id,
        "problem": trial.problem,
    }


def _shown(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Short numbers and ids, without empty columns."""
    used = [name for name in lines[0] if any(line[name] is not None for line in lines)] if lines else []
    return [
        {
            name: f"{line[name]:.4g}" if isinstance(line[name], float) else line[name] and str(line[name])[:24]
            for name in used
        }
        for line in lines
    ]
