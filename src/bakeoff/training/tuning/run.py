"""A study from its first trial to the stored hyperparameters."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime

from bakeoff.datasets.model import Dataset
from bakeoff.errors import BakeoffError, UsageError
from bakeoff.fingerprint import digest, short
from bakeoff.task import Task
from bakeoff.training.model import TrainSpec
from bakeoff.training.tracker import Tracker
from bakeoff.training.tuning.model import Params, Studies, Study, Trial, Tuned
from bakeoff.training.tuning.objective import Evaluate, Score, Train, TrainingObjective
from bakeoff.training.tuning.outcome import Outcome, outcome, verdict
from bakeoff.training.tuning.space import RECIPES, SPACE, USUAL, spec_fields
from bakeoff.training.tuning.study import Told, work


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What is searched, for whom. Workers that share a study have equal ones."""

    spec: TrainSpec  # everything that is not searched; its seed is also that of the search
    rows: int  # of the train split that a full trial trains on
    layers: int  # of the base model
    score_name: str
    weights: Mapping[str, float]  # metric -> weight in the score
    eval_rows: int  # validation rows that are scored, at most
    warm: Params | None = None  # tried second: what an earlier study found

    def about(self, task: Task, dataset: Dataset) -> dict[str, object]:
        """What must be equal for two workers, or two sittings, to share a study."""
        searched = spec_fields(USUAL, self.layers)
        fixed = {name: value for name, value in asdict(self.spec).items() if name not in searched and value is not None}
        return fixed | {
            "dataset_version": dataset.version,
            "request_version": task.request_version,
            "score": self.score_name,
            "weights": dict(self.weights),
            "eval_rows": self.eval_rows,
            "space": digest([asdict(each) for each in SPACE]),
        }

    def name(self, task: Task, dataset: Dataset) -> str:
        """By content, so that the same command goes on with the same study."""
        about = self.about(task, dataset)
        return f"{task.name}-{dataset.version}-{self.spec.recipe}-{short(digest(about))}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Where a study stands when a worker leaves it."""

    study: str
    mlflow_run_id: str
    trials: tuple[Trial, ...]
    outcome: Outcome | None  # None where no trial is complete yet, but others work on
    others: int  # workers that still work on it
    tuned: Tuned | None  # what was stored; None while others work on it


def tune(
    studies: Studies,
    tracker: Tracker,
    task: Task,
    dataset: Dataset,
    search: Search,
    *,
    name: str | None,
    train: Train,
    evaluate: Evaluate,
    score: Score,
    trials: int,
    clock: Callable[[], float],
    deadline: float,
    now: Callable[[], datetime],
    provenance: Mapping[str, str],
    told: Told,
) -> Report:
    """Works on the study `name` (None: the one of this search) until it has `trials` trials or the deadline comes.

    Trials that are there count, so the same call again only reads the result, and a larger `trials` goes on. The last
    worker to leave ends the study's run in the tracker and returns what is to be stored. Raises Refused where no
    trial is complete, UsageError for a recipe that the space does not fit or a name that another search took."""
    if search.spec.recipe not in RECIPES:
        raise UsageError(f"recipe {search.spec.recipe} is not tuned", cure=f"expected one of {', '.join(RECIPES)}")
    about = search.about(task, dataset)
    first = [USUAL, *([] if search.warm is None else [search.warm])]
    with studies.open(name or search.name(task, dataset), about, SPACE, first=first, seed=search.spec.seed) as study:
        run_id = study.run_id(lambda: _open_run(tracker, task, dataset, study.name, about, provenance))
        objective = TrainingObjective(
            spec=search.spec,
            rows=search.rows,
            layers=search.layers,
            tracker=tracker,
            train=train,
            evaluate=evaluate,
            score=score,
            study=study.name,
            parent=run_id,
        )
        tracker.resume_run(run_id)
        try:
            work(study, objective, trials=trials, clock=clock, deadline=deadline, told=told)
            return _report(
                study,
                tracker,
                run_id,
                lambda found: tuned(task, search, study.name, run_id, found, provenance, now()),
            )
        except BaseException:
            with suppress(BakeoffError):  # the tracker or the study's storage may be what failed
                if not study.workers:
                    tracker.finish(run_id, failed=True)
            raise


def _report(study: Study, tracker: Tracker, run_id: str, keep: Callable[[Outcome], Tuned]) -> Report:
    others, trials = study.workers, tuple(study.trials())
    some = any(trial.state == "complete" for trial in trials)
    found = outcome(trials) if some or not others else None
    if others or found is None:
        return Report(study=study.name, mlflow_run_id=run_id, trials=trials, outcome=found, others=others, tuned=None)
    _close_run(tracker, run_id, found)
    return Report(study=study.name, mlflow_run_id=run_id, trials=trials, outcome=found, others=0, tuned=keep(found))


def tuned(
    task: Task, search: Search, study: str, run_id: str, found: Outcome, provenance: Mapping[str, str], now: datetime
) -> Tuned:
    """What is kept of a study."""
    return Tuned(
        task=task.name,
        base=search.spec.base,
        base_digest=search.spec.base_digest,
        recipe=search.spec.recipe,
        prompt_version=search.spec.prompt_version,
        request_version=task.request_version,
        dataset_digest=search.spec.dataset_digest,
        rows=search.rows,
        git_commit=provenance["git_commit"],
        lock_digest=provenance["lock_digest"],
        params=spec_fields(found.best.params, search.layers),
        score_name=search.score_name,
        score=found.ranked[0].mean,
        lower=found.lower,
        upper=found.upper,
        units=found.units,
        distinct=found.distinct,
        trials=found.finished,
        pruned=found.pruned,
        study=study,
        best_trial=found.best.number,
        mlflow_run_id=run_id,
        created_at=now,
    )


def _open_run(
    tracker: Tracker,
    task: Task,
    dataset: Dataset,
    name: str,
    about: Mapping[str, object],
    provenance: Mapping[str, str],
) -> str:
    """The run that the trials are nested in."""
    tags = {"task": task.name, "kind": "study", "study": name, "dataset_version": dataset.version, **provenance}
    run_id = tracker.start_run(f"tune {name}", about, tags)
    tracker.log_dataset(run_id, dataset)
    return run_id


def _close_run(tracker: Tracker, run_id: str, found: Outcome) -> None:
    tags = {
        "best_trial": str(found.best.number),
        "best_run": str(found.best.run_id),
        "best_params": ", ".join(f"{name}={value}" for name, value in found.best.params.items()),
        "verdict": verdict(found),
    }
    for key, value in tags.items():
        tracker.set_tag(run_id, key, value)
    tracker.finish(run_id)


def warm_params(tuned: Tuned, layers: int) -> Params | None:
    """Stored hyperparameters as a point of the space, to begin with; None where they do not lie in it."""
    for share in ("third", "two_thirds", "all"):
        params = {name: tuned.params[name] for name in USUAL} | {"lora_layers": share}
        if spec_fields(params, layers) == dict(tuned.params):
            return params
    return None
