"""A study on a real PostgreSQL: seeded, shared by processes, taken up again after kill -9."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

import searching
from bakeoff.adapters.optuna_study import ATTEMPTS, OptunaStudies
from bakeoff.errors import Unreachable, UsageError
from bakeoff.training.tuning.model import Asked, Early, Full, Params, Study, Trial
from bakeoff.training.tuning.outcome import outcome
from bakeoff.training.tuning.space import SPACE, USUAL
from bakeoff.training.tuning.study import work

SOURCES = Path(searching.__file__).parent


@contextmanager
def opened(dsn: str, name: str = "s", *, seed: int = 0, about: dict[str, str] | None = None) -> Iterator[Study]:
    with OptunaStudies(dsn, "exp").open(name, about or searching.ABOUT, SPACE, first=[USUAL], seed=seed) as study:
        yield study


def finished(trials: list[Trial] | tuple[Trial, ...]) -> list[Trial]:
    return [trial for trial in trials if trial.state in ("complete", "pruned")]


def searched(dsn: str, name: str, trials: int, seed: int = 0) -> list[Trial]:
    with opened(dsn, name, seed=seed) as study:
        work(study, searching.Surface(), trials=trials, clock=time.monotonic)
        return list(study.trials())


def process(
    dsn: str, name: str, trials: int, log: Path, *, workers: int = 1, halts_at: int | None = None
) -> subprocess.Popen[bytes]:
    how = (str(trials), str(log), str(workers), "" if halts_at is None else str(halts_at))
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(SOURCES / "searching.py"), dsn, name, *how],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCES.parent / "src"), str(SOURCES)])},
    )


def lines(log: Path) -> list[list[str]]:
    return [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []


def until_begun(log: Path, trial: int) -> None:
    ends = time.monotonic() + 120
    while not any(line[0] == "early" and line[2:3] == [str(trial)] for line in lines(log)):
        assert time.monotonic() < ends, lines(log)
        time.sleep(0.02)


def test_the_best_of_a_known_surface_is_found_and_random_draws_are_beaten(dsn: str) -> None:
    trials = searched(dsn, "s", 40)
    best = outcome(trials).best
    assert searching.quality(best.params) > 0.85
    assert best.score == pytest.approx(searching.quality(best.params))
    assert 1 <= int(best.params["epochs"]) <= 3
    late = [searching.quality(trial.params) for trial in trials[20:]]
    drawn = random.Random(0)
    blind = [searching.quality({"learning_rate": 5e-5 * 100 ** drawn.random(), "epochs": drawn.randint(1, 3)})
             for _ in range(1000)]  # fmt: skip
    assert sum(late) / len(late) > sum(blind) / len(blind) + 0.1


def test_the_first_trial_is_the_usual_one_and_is_never_pruned(dsn: str) -> None:
    first = searched(dsn, "s", 3)[0]
    assert (first.params, first.state) == (USUAL, "complete")


def test_a_pruned_trial_costs_no_full_training_and_is_never_the_best(dsn: str) -> None:
    surface = searching.Surface()
    with opened(dsn) as study:
        work(study, surface, trials=15, clock=time.monotonic)
        trials = study.trials()
    pruned = {trial.number for trial in trials if trial.state == "pruned"}
    assert 3 <= len(pruned) <= 12
    assert {asked.number for asked in surface.full_calls} == {trial.number for trial in trials} - pruned
    assert all(trial.score is None and trial.run_id == f"early-{trial.number}" for trial in trials if not trial.rows)
    assert outcome(trials).best.number not in pruned


def test_a_pruned_trial_is_not_the_best_even_if_its_rows_would_be(dsn: str) -> None:
    """The early rung misleads: what it likes least scores most."""

    class Misleading(searching.Surface):
        def early(self, asked: Asked) -> Early:
            return Early(run_id="r", loss=searching.quality(asked.params))

    with opened(dsn) as study:
        work(study, Misleading(), trials=15, clock=time.monotonic)
        trials = study.trials()
    assert any(trial.state == "pruned" for trial in trials)
    assert outcome(trials).best.state == "complete"


def test_a_training_that_diverged_is_pruned(dsn: str) -> None:
    class Diverging(searching.Surface):
        def early(self, asked: Asked) -> Early:
            return Early(run_id="r", loss=[float("inf"), float("nan")][asked.number % 2] if asked.number else 1.0)

    with opened(dsn) as study:
        work(study, Diverging(), trials=3, clock=time.monotonic)
        assert [trial.state for trial in study.trials()] == ["complete", "pruned", "pruned"]


def test_one_worker_makes_the_same_trials_again_and_another_seed_makes_others(dsn: str) -> None:
    a, b, other = (searched(dsn, name, 12, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert [(t.params, t.state, t.score) for t in a] == [(t.params, t.state, t.score) for t in b]
    assert [t.params for t in a[1:]] != [t.params for t in other[1:]]


def test_a_study_in_two_sittings_is_that_of_one(dsn: str) -> None:
    searched(dsn, "a", 5)
    assert [t.params for t in searched(dsn, "a", 10)] == [t.params for t in searched(dsn, "b", 10)]


def test_two_processes_share_a_study_and_repeat_no_trial(dsn: str, tmp_path: Path) -> None:
    workers = [process(dsn, "shared", 10, tmp_path / "log", workers=2) for _ in range(2)]
    assert [worker.wait(180) for worker in workers] == [0, 0]
    begun = [line for line in lines(tmp_path / "log") if line[0] == "early"]
    assert len({line[1] for line in begun}) == 2, "one process did everything"
    assert sorted(int(line[2]) for line in begun) == list(range(10))
    assert len({line[3] for line in begun}) == 10
    with opened(dsn, "shared") as study:
        assert len(finished(list(study.trials()))) == 10
        assert study.ask(10) is None


def test_a_killed_worker_s_trial_is_begun_again_and_the_study_ends_as_unbroken(dsn: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = process(dsn, "killed", 8, log, halts_at=2)
    try:
        until_begun(log, 2)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait(60)
    trials = searched(dsn, "killed", 8)
    lost = [trial for trial in trials if trial.state == "failed"]
    assert len(lost) == 1
    assert lost[0].problem == "its worker is gone"
    assert [trial.attempt for trial in trials if trial.params == lost[0].params] == [1, 2]
    unbroken = searched(dsn, "unbroken", 8)
    assert [(t.params, t.state, t.score) for t in finished(trials)] == [
        (t.params, t.state, t.score) for t in unbroken
    ]  # fmt: skip


def test_a_living_worker_s_trial_is_left_alone(dsn: str) -> None:
    with opened(dsn) as mine:
        asked = mine.ask(1)
        with opened(dsn) as yours:
            assert yours.workers == 1
            assert yours.ask(1) is None
            assert yours.trials()[0].state == "running"
        assert asked is not None
        mine.complete(asked.number, searching.Surface().full(asked))
        assert mine.ask(1) is None


def test_hyperparameters_that_kill_every_worker_do_not_stop_the_study(dsn: str) -> None:
    for _ in range(ATTEMPTS):
        with opened(dsn) as study:
            asked = study.ask(2)
            assert asked is not None
            assert (asked.params, asked.place) == (USUAL, 1)  # and the worker dies
    with opened(dsn) as study:
        work(study, searching.Surface(), trials=2, clock=time.monotonic)
        assert [trial.state for trial in study.trials()] == ["failed"] * ATTEMPTS + ["complete"]


def test_an_error_ends_the_worker_and_the_trial_is_begun_again(dsn: str) -> None:
    class Broken(searching.Surface):
        def full(self, asked: Asked) -> Full:
            raise RuntimeError("no memory left")

    with opened(dsn) as study, pytest.raises(RuntimeError, match="no memory"):
        work(study, Broken(), trials=2, clock=time.monotonic)
    trials = searched(dsn, "s", 2)
    assert [(t.state, t.attempt) for t in trials] == [("failed", 1), ("complete", 2), (trials[2].state, 1)]
    assert trials[0].problem == "RuntimeError: no memory left"


def test_no_trial_begins_after_the_deadline(dsn: str) -> None:
    moments = iter([0.0, 5.0, 9.9, 10.0])
    with opened(dsn) as study:
        work(study, searching.Surface(), trials=100, clock=lambda: next(moments), deadline=10.0)
        assert len(study.trials()) == 3


def test_a_name_that_is_taken_by_another_search_is_refused(dsn: str) -> None:
    searched(dsn, "s", 1)
    with (
        pytest.raises(UsageError, match=r"its dataset differ.*sha256:1 there and sha256:2 here"),
        opened(dsn, about={"dataset": "sha256:2"}),
    ):
        pass


def test_the_tracker_s_run_is_opened_once_for_all_workers(dsn: str) -> None:
    with opened(dsn) as first, opened(dsn) as second:
        assert [study.run_id(lambda: "run-1") for study in (first, second)] == ["run-1", "run-1"]
        assert second.run_id(lambda: pytest.fail("it is there")) == "run-1"


def test_optuna_s_tables_lie_in_a_schema_of_their_own(dsn: str) -> None:
    searched(dsn, "s", 1)
    with psycopg.connect(dsn) as conn:
        found = conn.execute("select distinct schemaname from pg_tables where tablename in ('studies', 'trials')")
        assert found.fetchall() == [("exp_tuning",)]


def test_a_database_that_is_away_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="the study goes on"), opened("postgresql://u@127.0.0.1:1/d"):
        pass


def test_params_travel_exactly(dsn: str) -> None:
    """A trial that is begun again must have the fingerprint of its first run, or its checkpoint is lost."""

    def once() -> Params:
        with opened(dsn) as study:
            asked = study.ask(5)
            assert asked is not None
            return asked.params

    with opened(dsn) as study:
        work(study, searching.Surface(), trials=2, clock=time.monotonic)
    assert once() == once()
