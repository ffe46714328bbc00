"""What a study found: the best trial, the runner-up, and whether the rows tell them apart. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from bakeoff.errors import Refused
from bakeoff.stats.paired import compare_pairs
from bakeoff.training import compare
from bakeoff.training.compare import Ranked
from bakeoff.training.tuning.model import Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Of all trials so far."""

    best: Trial
    runner_up: Trial | None  # None where only one trial is complete
    ranked: tuple[Ranked, ...]  # complete trials, highest score first; `run_id` is `label` of the trial
    lower: float  # of the best score, two-sided 95 % with `upper`, clustered by unit
    upper: float
    units: int
    finished: int  # complete or pruned
    pruned: int

    @property
    def distinct(self) -> bool:
        """Whether the best is told apart from every other complete trial."""
        return len(self.ranked) > 1 and self.ranked[0].standing == "best"


def label(number: int) -> str:
    """'trial 007': sorts as its number does."""
    return f"trial {number:03d}"


def outcome(trials: Sequence[Trial]) -> Outcome:
    """Ranks the complete trials. Equal scores: the earlier trial is the best, and the first is the usual one.

    The trials are compared on the rows that both answered, clustered by unit, at a level that holds for all pairs
    (`training.compare`); a pruned trial is never ranked. Raises Refused where no trial is complete."""
    by_label = {label(trial.number): trial for trial in trials if trial.state == "complete"}
    if not by_label:
        raise Refused(
            f"none of {len(trials)} trials is complete, so nothing is best",
            cure="run the same `bakeoff tune` again, with more --trials or a longer --timeout",
        )
    ranked = compare.rank({name: trial.rows for name, trial in by_label.items()}, span=1.0)
    best = by_label[ranked[0].run_id]
    interval = compare_pairs(
        [row.value for row in best.rows], [row.unit_id for row in best.rows], alpha=0.025, span=1.0
    )
    pruned = sum(trial.state == "pruned" for trial in trials)
    return Outcome(
        best=best,
        runner_up=by_label[ranked[1].run_id] if len(ranked) > 1 else None,
        ranked=ranked,
        lower=min(ranked[0].mean, max(0.0, interval.lower)),
        upper=max(ranked[0].mean, min(1.0, interval.upper)),
        units=interval.units,
        finished=len(by_label) + pruned,
        pruned=pruned,
    )


def verdict(found: Outcome) -> str:
    """A sentence or two for people."""
    if found.runner_up is None:
        return f"{label(found.best.number)} is the only complete trial: nothing to compare it with"
    second = found.ranked[1]
    assert second.to_leader is not None  # only the leader has none
    gap = f"{-second.to_leader.estimate:.4f} above {second.run_id} ({-second.to_leader.upper:.4f} to "
    gap += f"{-second.to_leader.lower:.4f})"
    told_apart = "distinguishable" if second.standing == "worse" else "not distinguishable"
    same = sum(each.standing == "not distinguishable" for each in found.ranked)
    lines = f"{label(found.best.number)} is best, {gap}: {told_apart}"
    if same and found.best.number != 0:
        lines += f"; {same} of {len(found.ranked) - 1} other complete trials may be as good"
        usual = next((each for each in found.ranked if each.run_id == label(0)), None)
        if usual is not None and usual.standing == "not distinguishable":
            lines += ", the usual hyperparameters (trial 000) among them"
    return lines
