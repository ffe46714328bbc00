"""How many processes answer, and what they do when something is wrong. Real processes, an engine without a model."""

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import fickle
from bakeoff.adapters import replay_workers
from bakeoff.adapters.replay_workers import ReplayWorkers
from bakeoff.errors import Refused, UsageError
from bakeoff.inference.model import Engines, PolicySpec, Recorded
from bakeoff.replay.answer import answer
from bakeoff.replay.workers import Ask, Pool

TASK = fickle.Shop()
PYTHON = PolicySpec(task="toy", engine="python", prompt_version="1", function="fickle:fickle", function_version="1")
MODEL = replace(PYTHON, engine="transformers", function=None, function_version=None)
ASKS = [Ask(example_id=f"e{n}", request={"likes": "tea", "day": n}) for n in range(40)]


def made(elsewhere: Callable[[], Any] = fickle.on_cpu, *, cores: int = 4, here: Any = None) -> ReplayWorkers:
    return ReplayWorkers(engines=cast(Engines, here or fickle.Engines()), elsewhere=elsewhere, cores=lambda: cores)


def said(pool: Pool, asks: list[Ask]) -> dict[str, str]:
    return {ask.example_id: answered.raw for ask, answered in pool.answers(asks)}


def here(spec: PolicySpec) -> dict[str, str]:
    engine = cast(Any, fickle.Engines()) if spec.needs_engine else None
    return {ask.example_id: answer(TASK, spec, ask, engine).raw for ask in ASKS}


def count() -> int:
    return len(multiprocessing.active_children())


# ---- how many --------------------------------------------------------------------------------------------------------


def test_a_function_is_asked_in_this_process() -> None:
    with made().open(TASK, PYTHON, workers=None, rows=40) as pool:
        assert said(pool, ASKS) == here(PYTHON)
        assert count() == 0


def test_one_local_model_computes_with_one_thread_in_this_process() -> None:
    engines = fickle.Engines()
    with made(here=engines).open(TASK, MODEL, workers=1, rows=40) as pool:
        assert said(pool, ASKS[:5]) == {ask.example_id: here(MODEL)[ask.example_id] for ask in ASKS[:5]}
        assert (count(), len(engines.asked), pool.stamp["threads"]) == (0, 5, 1)
    with made(here=engines).open(TASK, MODEL, workers=2, rows=40) as pool:
        assert said(pool, ASKS) == here(MODEL)
        assert (count(), len(engines.asked), pool.stamp["threads"]) == (2, 5, 1)
    assert count() == 0


def test_cores_and_rows_say_how_many_local_models_are_loaded() -> None:
    with made(cores=2).open(TASK, MODEL, workers=None, rows=40) as pool:
        assert count() == 1, "the others come when there is enough to do"
        assert said(pool, ASKS[:15])
        assert count() == 1, "fifteen rows are not worth a second one"
        assert said(pool, ASKS) == here(MODEL)
        assert count() == 2
    with made().open(TASK, MODEL, workers=None, rows=15):
        assert count() == 0


def test_what_is_asked_for_is_done_but_nobody_is_idle() -> None:
    with made().open(TASK, MODEL, workers=3, rows=40) as pool:
        assert said(pool, ASKS[:2])
        assert count() == 2


def test_one_gpu_is_one_process() -> None:
    with made(fickle.on_gpu, cores=8).open(TASK, MODEL, workers=None, rows=400) as pool:
        assert said(pool, ASKS) == here(MODEL)
        assert count() == 1
        assert pool.stamp["device"] == "cuda:0"
    with (
        pytest.raises(UsageError, match="one cuda:0 answers here; 2 workers would only share it"),
        made(fickle.on_gpu).open(TASK, MODEL, workers=2, rows=40),
    ):
        pytest.fail("it was opened")
    assert count() == 0


def test_memory_says_how_many_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(replay_workers, "_more_that_fit", lambda resident: 0 if resident > 1_000_000 else 9)
    with made(cores=3).open(TASK, MODEL, workers=None, rows=40) as pool:
        assert said(pool, ASKS) == here(MODEL)
        assert count() == 1
    monkeypatch.undo()
    free = tmp_path / "meminfo"
    free.write_text("MemTotal: 9000 kB\nMemAvailable:    1000 kB\n")
    monkeypatch.setattr(replay_workers, "Path", lambda _: free)
    assert [replay_workers._more_that_fit(kib * 1024) for kib in (100, 450, 901)] == [9, 2, 0]
    free.unlink()
    assert replay_workers._more_that_fit(1) > 10**9, "a system that does not tell"


def test_what_the_log_has_travels_with_the_question() -> None:
    spec = replace(PYTHON, engine="logged", function=None, prompt_version="-")
    asks = [replace(ask, recorded=Recorded(answer={"drink": "tea", "n": n})) for n, ask in enumerate(ASKS)]
    with made().open(TASK, spec, workers=2, rows=40) as pool:
        assert said(pool, asks) == {ask.example_id: f'{{"drink":"tea","n":{n}}}' for n, ask in enumerate(asks)}


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_weights_that_are_not_there_are_told_as_in_this_process() -> None:
    with (
        pytest.raises(Refused, match="these are other weights\n  fetch them again"),
        made(fickle.refusing).open(TASK, MODEL, workers=2, rows=40),
    ):
        pytest.fail("it was opened")
    assert count() == 0


def test_a_reader_that_stops_early_leaves_nobody_behind() -> None:
    with made().open(TASK, MODEL, workers=2, rows=40) as pool:
        next(iter(pool.answers(ASKS)))
    assert count() == 0


def test_an_error_of_the_task_comes_with_the_lines_of_the_other_process() -> None:
    with made().open(fickle.Broken(), MODEL, workers=2, rows=40) as pool, pytest.raises(ZeroDivisionError) as caught:
        said(pool, ASKS)
    assert "in a worker process:" in caught.value.__notes__[0]
    assert "fickle.py" in caught.value.__notes__[0]


def test_answers_do_not_depend_on_who_was_asked_before() -> None:
    with made().open(TASK, MODEL, workers=2, rows=40) as pool:
        forth, back = said(pool, ASKS), said(pool, ASKS[::-1])
        again = {ask.example_id: answered.raw for ask, answered in pool.answers(ASKS, again=True)}
    assert forth == back == again == here(MODEL)
