"""A trial as two trainings: a quarter of the rows first; what is searched, and nothing else, differs between them."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from bakeoff.errors import UsageError
from bakeoff.training.evals import EvalRow
from bakeoff.training.model import TrainSpec
from bakeoff.training.tuning.model import Asked
from bakeoff.training.tuning.objective import PARENT_TAG, TrainingObjective, scored
from bakeoff.training.tuning.space import USUAL

SPEC = TrainSpec(task="toy", dataset_digest="d", base="b", base_digest="b", prompt_version="1", dtype="float32", seed=5)


class Tracker:
    """Only what a trial asks."""

    def __init__(self) -> None:
        self.points: list[tuple[str, Mapping[str, float], int]] = []

    def read_run(self, run_id: str) -> Any:
        return SimpleNamespace(metrics={"validation_loss": 0.25})

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        self.points.append((run_id, metrics, step))


def rows(values: Sequence[float | None]) -> list[EvalRow]:
    return [EvalRow(example_id=f"e{n}", unit_id=f"house {n // 2}", scores={"right": v}) for n, v in enumerate(values)]


def test_the_rungs_differ_in_rows_only_and_both_lie_below_the_study() -> None:
    asked: list[tuple[TrainSpec, Mapping[str, str]]] = []

    def train(spec: TrainSpec, tags: Mapping[str, str]) -> Any:
        asked.append((spec, tags))
        return SimpleNamespace(run_id=f"run-{len(asked)}")

    tracker: Any = Tracker()
    objective = TrainingObjective(
        spec=SPEC, rows=100, layers=30, tracker=tracker, train=train, evaluate=lambda _: rows([1.0, 0.0, 0.5, None]),
        score=lambda scores: scores["right"], study="s", parent="p",
    )  # fmt: skip
    trial = Asked(number=7, params={**USUAL, "learning_rate": 3e-4, "lora_r": 32})
    early, full = objective.early(trial), objective.full(trial)
    assert (early.run_id, early.loss, full.run_id) == ("run-1", 0.25, "run-2")
    (first, first_tags), (second, second_tags) = asked
    assert (first.max_rows, second.max_rows) == (25, None)
    assert (second.learning_rate, second.lora_r, second.lora_alpha, second.seed) == (3e-4, 32, 64, 5)
    assert first_tags == second_tags | {"kind": "rung"}
    assert second_tags == {PARENT_TAG: "p", "study": "s", "trial": "7"}
    assert tracker.points == [
        ("p", {"tuning_early_loss": 0.25}, 7), ("run-2", {"tuning_score": 0.5}, 0), ("p", {"tuning_score": 0.5}, 7),
    ]  # fmt: skip


def test_rows_without_a_value_are_left_out_and_units_are_told_apart_but_not_named() -> None:
    found = scored(rows([1.0, None, 0.0, 0.5]), lambda scores: scores["right"])
    assert [row.example_id for row in found] == ["e0", "e2", "e3"]
    assert found[0].unit_id != found[1].unit_id == found[2].unit_id
    assert not any("house" in row.unit_id for row in found)


def test_nothing_to_maximise_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="none of 2 validation rows has a value"):
        scored(rows([None, None]), lambda scores: scores["right"])
