"""Tuned hyperparameters in PostgreSQL: append-only, and the newest of a task, base and recipe counts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from bakeoff.adapters.postgres import Connection
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset
from bakeoff.training.tuning import store
from bakeoff.training.tuning.model import Tuned

THEN = datetime(2025, 1, 1, tzinfo=UTC)
DIGEST = "sha256:" + "d" * 64
TUNED = Tuned(
    task="toy", base="tiny", base_digest="sha256:b", recipe="lora_sft", prompt_version="1", request_version="1",
    dataset_digest=DIGEST, rows=300, git_commit="a" * 40, lock_digest="sha256:l",
    params={"learning_rate": 0.0012345678901234567, "epochs": 2, "lora_layers": None}, score_name="right", score=0.7,
    lower=0.6, upper=0.8, units=40, distinct=False, trials=8, pruned=3, study="s", best_trial=5, mlflow_run_id="r",
    created_at=THEN,
)  # fmt: skip


@pytest.fixture
def known(scratch: Connection) -> Connection:
    """A connection to a database that knows the dataset."""
    dataset = Dataset(
        digest=DIGEST, task="toy", uri="/data/toy/2025-01-01", since=THEN - timedelta(days=7), until=THEN, rows=10,
        splits={"train": 10}, summary={},
    )  # fmt: skip
    datasets.insert(scratch, dataset, mlflow_run_id=None, created_at=THEN)
    return scratch


def test_what_is_stored_comes_back_exactly(known: Connection) -> None:
    store.insert(known, TUNED)
    assert store.tuned_spec(known, "toy", "sha256:b", "lora_sft") == TUNED


def test_the_newest_counts_for_its_own_base_and_recipe(known: Connection) -> None:
    newer = replace(TUNED, study="t", created_at=THEN + timedelta(days=1), score=0.65)
    elsewhere = [
        replace(TUNED, study="u", base_digest="sha256:c", created_at=THEN + timedelta(days=2)),
        replace(TUNED, study="v", recipe="qlora_sft", created_at=THEN + timedelta(days=2)),
    ]
    for each in (newer, TUNED, *elsewhere):
        store.insert(known, each)
    assert store.tuned_spec(known, "toy", "sha256:b", "lora_sft") == newer
    assert store.tuned_spec(known, "other", "sha256:b", "lora_sft") is None
    assert {(each.base_digest, each.recipe) for each in store.known(known, "toy")} == {
        ("sha256:b", "lora_sft"), ("sha256:c", "lora_sft"), ("sha256:b", "qlora_sft"),
    }  # fmt: skip


def test_two_workers_that_store_the_same_end_store_it_once(known: Connection) -> None:
    store.insert(known, TUNED)
    store.insert(known, replace(TUNED, created_at=THEN + timedelta(seconds=1)))
    store.insert(known, replace(TUNED, trials=12))
    rows = known.execute("select trials, created_at from tuned_hyperparameters order by trials").fetchall()
    assert [(row["trials"], row["created_at"]) for row in rows] == [(8, THEN), (12, THEN)]


@pytest.mark.parametrize(
    "statement",
    [
        "update tuned_hyperparameters set score = 0.8",
        "delete from tuned_hyperparameters",
        "truncate tuned_hyperparameters",
    ],
)
def test_nothing_is_changed_afterwards(known: Connection, statement: str) -> None:
    store.insert(known, TUNED)
    with pytest.raises(psycopg.DatabaseError, match="append-only"), known.transaction():
        known.execute(statement.encode())


def test_a_dataset_that_nobody_knows_cannot_be_named(scratch: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation), scratch.transaction():
        store.insert(scratch, TUNED)
