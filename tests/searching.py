"""A search whose best is known, cheap to try, for tests and for worker processes that they start and kill."""

import math
import os
import sys
import time
from pathlib import Path

from bakeoff.adapters.optuna_study import OptunaStudies
from bakeoff.training.compare import Scored
from bakeoff.training.tuning.model import Asked, Early, Full, Params
from bakeoff.training.tuning.space import SPACE, USUAL
from bakeoff.training.tuning.study import work

UNITS = 40
ABOUT = {"dataset": "sha256:1"}


def quality(params: Params) -> float:
    """0 to 1; best at a learning rate of 1e-3 with two epochs."""
    away = abs(math.log10(float(params["learning_rate"])) + 3)
    return max(0.0, 0.9 - 0.6 * away - 0.1 * abs(int(params["epochs"]) - 2))


class Surface:
    """Every row scores the quality, more or less by a little that belongs to the unit."""

    def __init__(self, log: Path | None = None, *, workers: int = 1, halts_at: int | None = None) -> None:
        """`log`: what it was asked, a line each. Nobody ends a first half before `workers` processes have begun one;
        trial `halts_at` never ends."""
        self.log, self.workers, self.halts_at = log, workers, halts_at
        self.early_calls: list[Asked] = []
        self.full_calls: list[Asked] = []

    def early(self, asked: Asked) -> Early:
        self.early_calls.append(asked)
        self._say("early", asked)
        if asked.number == self.halts_at:
            time.sleep(600)
        self._await_others()
        return Early(run_id=f"early-{asked.number}", loss=1 - quality(asked.params))

    def full(self, asked: Asked) -> Full:
        self.full_calls.append(asked)
        self._say("full", asked)
        rows = [
            Scored(example_id=f"e{n:03d}", unit_id=f"u{n:03d}", value=quality(asked.params) + (n % 5 - 2) / 50)
            for n in range(UNITS)
        ]
        return Full(run_id=f"full-{asked.number}", rows=rows)

    def _await_others(self) -> None:
        ends = time.monotonic() + 120
        while self.log is not None and len({line.split("\t")[1] for line in _whole(self.log)}) < self.workers:
            assert time.monotonic() < ends, "the other processes did not come"
            time.sleep(0.02)

    def _say(self, what: str, asked: Asked) -> None:
        if self.log is not None:
            with self.log.open("a") as file:
                print(what, os.getpid(), asked.number, sorted(asked.params.items()), file=file, sep="\t", flush=True)


def _whole(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def main(dsn: str, name: str, trials: str, log: str, workers: str, halts_at: str) -> None:
    surface = Surface(Path(log), workers=int(workers), halts_at=int(halts_at) if halts_at else None)
    with OptunaStudies(dsn, "exp").open(name, ABOUT, SPACE, first=[USUAL], seed=0) as study:
        work(study, surface, trials=int(trials), clock=time.monotonic)


if __name__ == "__main__":
    main(*sys.argv[1:])
