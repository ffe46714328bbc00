"""What a trial really costs: two trainings, each a run of its own that fulfils the logging contract."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bakeoff.errors import UsageError
from bakeoff.fingerprint import digest, short
from bakeoff.training.compare import Scored
from bakeoff.training.evals import EvalRow
from bakeoff.training.model import TrainSpec
from bakeoff.training.run import Trained
from bakeoff.training.tracker import Tracker
from bakeoff.training.tuning.model import Asked, Early, Full
from bakeoff.training.tuning.space import early_rows, spec_fields

PARENT_TAG = "mlflow.parentRunId"  # by which MLflow draws a run below another
SCORE, EARLY_LOSS = "tuning_score", "tuning_early_loss"
Train = Callable[[TrainSpec, Mapping[str, str]], Trained]
"""(spec, tags of the run) -> the finished run, or the equal one that is there."""
Evaluate = Callable[[Trained], Sequence[EvalRow]]
"""Scores of validation rows; never of the test split."""
Score = Callable[[Mapping[str, float | None]], float | None]
"""Metrics of one row -> what is maximised, 0 to 1; None where no metric has a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingObjective:
    """`Objective` over real training runs."""

    spec: TrainSpec  # everything that is not searched
    rows: int  # that a full trial trains on
    layers: int  # of the base model
    tracker: Tracker
    train: Train
    evaluate: Evaluate
    score: Score
    study: str
    parent: str  # the study's run

    def early(self, asked: Asked) -> Early:
        """Trains on the newest quarter of the rows."""
        spec = replace(self._spec(asked), max_rows=early_rows(self.rows))
        run_id = self.train(spec, self._tags(asked) | {"kind": "rung"}).run_id  # `runs list` leaves it out
        loss = self.tracker.read_run(run_id).metrics["validation_loss"]
        self.tracker.log_metrics(self.parent, {EARLY_LOSS: loss}, asked.number)
        return Early(run_id=run_id, loss=loss)

    def full(self, asked: Asked) -> Full:
        """Trains on all rows and scores."""
        trained = self.train(self._spec(asked), self._tags(asked))
        found = Full(run_id=trained.run_id, rows=scored(self.evaluate(trained), self.score))
        self.tracker.log_metrics(trained.run_id, {SCORE: found.score}, 0)
        self.tracker.log_metrics(self.parent, {SCORE: found.score}, asked.number)
        return found

    def _spec(self, asked: Asked) -> TrainSpec:
        return replace(self.spec, **spec_fields(asked.params, self.layers))

    def _tags(self, asked: Asked) -> dict[str, str]:
        return {PARENT_TAG: self.parent, "study": self.study, "trial": str(asked.number)}


def scored(rows: Sequence[EvalRow], score: Score) -> list[Scored]:
    """One number for each row that has any. A study outlives datasets, so it gets a hash in place of the unit: enough
    to tell units apart. Raises UsageError where none has."""
    values = [(row, score(row.scores)) for row in rows]
    found = [
        Scored(example_id=row.example_id, unit_id=short(digest(row.unit_id)), value=value)
        for row, value in values
        if value is not None
    ]
    if not found:
        raise UsageError(
            f"none of {len(rows)} validation rows has a value to maximise",
            cure="bakeoff task check shows what Task.score says about them; or name another --metric",
        )
    return found
