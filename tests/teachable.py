"""The toy for a language model, with a shop's log to learn from and a model of a few thousand weights."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import stages
import tiny
import toy
from bakeoff import lifecycle
from bakeoff.datasets.model import Dataset
from bakeoff.lifecycle import Deps
from bakeoff.task import Answer, Completion, Example, JsonSchema, Request
from bakeoff.training.model import TrainSpec


class Teachable(toy.ToyTask):
    def answer_schema(self, request: Request) -> JsonSchema:
        return tiny.closed_schema(["drink"], toy.DRINKS)

    def parse(self, request: Request, completion: Completion) -> Answer:
        answer: Answer = json.loads(completion.text)
        return answer

    def supervise(self, example: Example) -> dict[str, str]:
        return {"drink": json.dumps(example.target["drink"])}


class Watched:
    """Progress that tells a test about every step of training."""

    def __init__(self, on_step: Callable[[int, int], None]) -> None:
        self.on_step = on_step

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        yield self.on_step if name == "train" else lambda done, total: None


def shop_dataset(deps: Deps, clock: stages.Clock, *, shoppers: int = 120) -> Dataset:
    """A dataset from one day of a shop's life."""
    stages.open_shop(deps)
    stages.live(deps, clock, day=1, shoppers=shoppers)
    until = clock.turn(days=4)
    return lifecycle.build_dataset(deps, toy.ToyTask(), since=until - timedelta(days=10), until=until)


def spec(deps: Deps, dataset: Dataset, base: Path, **other: Any) -> TrainSpec:
    """Few steps on few rows."""
    asked = {"max_rows": 16, "epochs": 2, "lora_layers": None, "lora_r": 8, **other}
    return TrainSpec(
        task="toy", dataset_digest=dataset.digest, base=str(base), base_digest=deps.bases.resolve(str(base)).digest,
        prompt_version="1", dtype="float32", **asked,
    )  # fmt: skip
