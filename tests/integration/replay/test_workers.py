"""Who answers is of no consequence: one process or two, in any order, from the cache or not."""

import multiprocessing
import os
from pathlib import Path

import pytest

import replayed
import tiny
from bakeoff import lifecycle
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Unreachable, UsageError
from bakeoff.inference.model import Decoding
from bakeoff.lifecycle import Deps
from bakeoff.replay import store

TASK = replayed.TASK


@pytest.fixture
def dataset(deps: Deps) -> Dataset:
    return replayed.shop_dataset(deps)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("base"), seed=3)


def test_a_model_says_the_same_in_one_process_and_in_two_and_in_another_order(
    deps: Deps, dataset: Dataset, base: Path
) -> None:
    """Log-probabilities are compared too: a last bit that differs would one day turn a choice."""
    version = replayed.model_version(deps, base, decoding=Decoding(mode="greedy"))
    one = lifecycle.replay(deps, TASK, version, dataset, use_cache=False, certificate_rows=6, workers=1)
    alone = replayed.said(deps, version, one)
    two = lifecycle.replay(deps, TASK, version, dataset, use_cache=False, certificate_rows=6, workers=2, seed=5)
    assert one.aggregates["rows"] >= 40
    assert one.replay_id != two.replay_id, "each of them answered for itself"
    assert one.digest == two.digest
    assert replayed.said(deps, version, two) == alone
    assert len(alone) == one.aggregates["rows"]
    assert one.engine == two.engine
    assert one.engine["threads"] == 1
    assert {(r.certificate.rows, r.certificate.equal) for r in (one, two)} == {(6, 6)}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_python_policy_says_the_same_however_many_answer(deps: Deps, dataset: Dataset, workers: int) -> None:
    version = replayed.python_version(deps, "fickle", seed=7)
    report = lifecycle.replay(deps, TASK, version, dataset, workers=workers, seed=workers, repeats=2)
    here = lifecycle.replay(deps, TASK, version, dataset, repeats=2)
    assert report.digest == here.digest
    assert report.certificate.deterministic
    assert multiprocessing.active_children() == []


def test_two_answer_side_by_side_and_check_each_other(
    deps: Deps, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy tells in which process it answered, so nothing is equal where another one answers again."""
    (tmp_path / "answered").mkdir()
    monkeypatch.setenv("FICKLE_FOLDER", str(tmp_path / "answered"))
    monkeypatch.setenv("FICKLE_WANTED", "2")
    version = replayed.python_version(deps, "telling")
    two = lifecycle.replay(deps, TASK, version, dataset, workers=2)
    with deps.db.transaction() as conn:
        processes = {str(row.parsed_answer["process"]) for row in store.rows(conn, two.replay_id) if row.parsed_answer}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes
    assert (two.certificate.rows, two.certificate.equal) == (16, 0)
    monkeypatch.setenv("FICKLE_WANTED", "1")
    one = lifecycle.replay(deps, TASK, version, dataset, workers=1, use_cache=False)
    assert (one.certificate.rows, one.certificate.equal) == (16, 16)


def test_a_process_that_dies_is_reported_and_the_replay_goes_on_from_its_rows(
    deps: Deps, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = replayed.python_version(deps, "deadly")
    monkeypatch.setenv("FICKLE_DEADLY", "yes")
    with pytest.raises(Unreachable, match=r"worker \d of 2 was killed by signal 9 while answering example d\d+"):
        lifecycle.replay(deps, TASK, version, dataset, workers=2)
    assert multiprocessing.active_children() == []
    monkeypatch.delenv("FICKLE_DEADLY")
    with deps.db.transaction() as conn:
        there = conn.execute("select count(*) as n from offline_replay_results").fetchone()
    assert there is not None
    report = lifecycle.replay(deps, TASK, version, dataset, workers=2)
    with deps.db.transaction() as conn:
        ids = [row.example_id for row in store.rows(conn, report.replay_id)]
    assert 0 < there["n"] < len(ids) == len(set(ids)) == report.aggregates["rows"]
    assert report.digest == lifecycle.replay(deps, TASK, replayed.python_version(deps, "fickle"), dataset).digest


@pytest.mark.parametrize("workers", [1, 2])
def test_a_policy_that_fails_is_told_with_the_example_and_the_line(deps: Deps, dataset: Dataset, workers: int) -> None:
    version = replayed.python_version(deps, "failing")
    with pytest.raises(UsageError, match=r"fickle:failing fails on example d\d+: KeyError: 'no such day' \(.*:\d+\)"):
        lifecycle.replay(deps, TASK, version, dataset, workers=workers)


def test_a_task_that_cannot_travel_is_told(deps: Deps, dataset: Dataset) -> None:
    class Holding(type(TASK)):  # type: ignore[misc]
        pass

    with pytest.raises(UsageError, match="the task cannot be sent to another process"):
        lifecycle.replay(deps, Holding(), replayed.python_version(deps, "fickle"), dataset, workers=2)


def test_no_worker_is_none(deps: Deps, dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="0 workers; expected 1 or more"):
        lifecycle.replay(deps, TASK, replayed.python_version(deps, "fickle"), dataset, workers=0)
