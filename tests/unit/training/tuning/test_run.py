"""What makes two searches the same study, and how an earlier study begins the next."""

from dataclasses import replace
from typing import Any

import pytest

import toy
from bakeoff.datasets.model import Dataset
from bakeoff.training.model import TrainSpec
from bakeoff.training.tuning.model import Tuned
from bakeoff.training.tuning.run import Search, warm_params
from bakeoff.training.tuning.space import USUAL, spec_fields

SPEC = TrainSpec(task="toy", dataset_digest="d", base="b", base_digest="b", prompt_version="1", dtype="float32")
SEARCH = Search(spec=SPEC, rows=300, layers=30, score_name="right", weights={"right": 1.0}, eval_rows=96)
TASK: Any = toy.ToyTask()


def dataset(version: str = "2025-01-03") -> Dataset:
    any_: Any = None
    return Dataset(
        digest="d", task="toy", uri=f"/data/toy/{version}", since=any_, until=any_, rows=1, splits={}, summary={}
    )


def name(search: Search) -> str:
    return search.name(TASK, dataset())


def test_what_is_searched_does_not_name_the_study_everything_else_does() -> None:
    assert name(SEARCH) == name(
        replace(SEARCH, spec=replace(SPEC, learning_rate=1e-4, epochs=3, lora_r=8, lora_alpha=16))
    )
    assert name(SEARCH) == name(replace(SEARCH, warm=USUAL))
    others = [
        replace(SEARCH, spec=replace(SPEC, **{field: value}))  # type: ignore[arg-type]
        for field, value in (
            ("seed", 1), ("max_rows", 10), ("base_digest", "c"), ("dataset_digest", "e"), ("dtype", "bfloat16"),
            ("recipe", "qlora_sft"), ("prompt_version", "2"), ("decoding_mode", "greedy"), ("max_tokens", 10),
        )
    ]  # fmt: skip
    others += [replace(SEARCH, eval_rows=10), replace(SEARCH, score_name="x"), replace(SEARCH, weights={"right": 2.0})]
    assert len({name(each) for each in [SEARCH, *others]}) == len(others) + 1


def test_the_name_is_for_people_too() -> None:
    assert name(SEARCH).startswith("toy-2025-01-03-lora_sft-")


@pytest.mark.parametrize("share", ["third", "two_thirds", "all"])
def test_what_an_earlier_study_found_is_a_point_of_the_space(share: str) -> None:
    point = {**USUAL, "learning_rate": 3e-4, "epochs": 2, "lora_layers": share}
    assert warm_params(kept(spec_fields(point, 30)), 30) == point
    assert warm_params(kept(spec_fields({**point, "lora_layers": "third"}, 30)), 24) is None  # another model's third


def kept(params: dict[str, Any]) -> Tuned:
    any_: Any = None
    return Tuned(
        task="toy", base="b", base_digest="b", recipe="lora_sft", prompt_version="1", request_version="1",
        dataset_digest="d", rows=300, git_commit="c", lock_digest="l", params=params, score_name="right", score=0.5,
        lower=0.4, upper=0.6, units=10, distinct=False, trials=3, pruned=1, study="s", best_trial=1,
        mlflow_run_id="r", created_at=any_,
    )  # fmt: skip
