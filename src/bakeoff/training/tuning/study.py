"""The loop of one worker: ask, train on a quarter of the rows, and where that looks well on all of them, tell."""

import math
from collections.abc import Callable
from typing import Protocol

from bakeoff.training.tuning.model import Asked, Objective, Study


class Told(Protocol):
    """Hears of each step, for people."""

    def __call__(self, asked: Asked, what: str) -> None: ...


def work(
    study: Study,
    objective: Objective,
    *,
    trials: int,
    clock: Callable[[], float],
    deadline: float = math.inf,
    told: Told | None = None,
) -> None:
    """Carries out trials until the study has `trials` of them, or until `deadline`.

    `clock`, `deadline`: seconds on one scale; after the deadline no trial is begun, the one that runs is finished.
    Whatever `objective` raises ends this worker; the trial is begun again by the next."""
    say = told or _nobody
    while clock() < deadline:
        asked = study.ask(trials)
        if asked is None:
            return
        try:
            _carry_out(study, objective, asked, say)
        except BaseException as error:
            study.fail(asked.number, f"{type(error).__name__}: {error}")
            raise


def _carry_out(study: Study, objective: Objective, asked: Asked, told: Told) -> None:
    told(asked, "begins")
    early = objective.early(asked)
    if study.prunes(asked.number, early.loss):
        study.prune(asked.number, early.run_id)
        return told(asked, f"pruned: validation loss {early.loss:.4f} on a quarter of the rows")
    full = objective.full(asked)
    study.complete(asked.number, full)
    return told(asked, f"scores {full.score:.4f} on {len(full.rows)} validation rows")


def _nobody(asked: Asked, what: str) -> None:
    """Nobody listens."""
    del asked, what
