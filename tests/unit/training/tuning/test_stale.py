"""When stored hyperparameters may be used again, one rule at a time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bakeoff.training.tuning.model import Tuned
from bakeoff.training.tuning.stale import Situation, staleness

THEN = datetime(2025, 1, 1, tzinfo=UTC)
TUNED = Tuned(
    task="toy", base="tiny", base_digest="sha256:b", recipe="lora_sft", prompt_version="1", request_version="1",
    dataset_digest="sha256:d", rows=300, git_commit="a" * 40, lock_digest="sha256:l",
    params={"learning_rate": 1e-3, "lora_layers": None}, score_name="right", score=0.7, lower=0.6, upper=0.8, units=40,
    distinct=False, trials=8, pruned=3, study="s", best_trial=5, mlflow_run_id="r", created_at=THEN,
)  # fmt: skip
NOW = Situation(
    base_digest="sha256:b", recipe="lora_sft", prompt_version="1", request_version="1", rows=300,
    git_commit="a" * 40, lock_digest="sha256:l", at=THEN + timedelta(days=1),
)  # fmt: skip


def test_nothing_changed_nothing_is_said() -> None:
    assert staleness(TUNED, NOW) == staleness(TUNED, replace(NOW, at=THEN + timedelta(days=90), rows=600))
    assert not staleness(TUNED, NOW).refused + staleness(TUNED, NOW).said


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("base_digest", "base model"),
        ("recipe", "recipe"),
        ("prompt_version", "prompt"),
        ("request_version", "requests"),
    ],
)
def test_what_was_found_for_something_else_is_refused(name: str, text: str) -> None:
    found = staleness(TUNED, replace(NOW, **{name: "other"}))  # type: ignore[arg-type]
    assert len(found.refused) == 1
    assert text in found.refused[0]
    assert found.refused[0].endswith("now other")


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (replace(NOW, rows=601), "tuned on 300 rows, now 601"),
        (replace(NOW, rows=149), "tuned on 300 rows, now 149"),
        (replace(NOW, at=THEN + timedelta(days=91)), "tuned 91 days ago, on 2025-01-01"),
        (replace(NOW, git_commit="b" * 40), "tuned by code aaaaaaaaaaaa, now bbbbbbbbbbbb"),
        (replace(NOW, lock_digest="sha256:m"), "library versions changed"),
    ],
)
def test_what_only_aged_is_said_and_used(now: Situation, said: str) -> None:
    assert staleness(TUNED, now).said == (said,)
    assert staleness(TUNED, now).refused == ()


def test_a_bucket_is_a_power_of_two_of_rows() -> None:
    assert [replace(TUNED, rows=rows).rows_bucket for rows in (1, 2, 255, 256, 300)] == [0, 1, 7, 8, 8]
