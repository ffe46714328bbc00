"""A shop whose rows have regions, with predictions, stress requests and policies that fail in one way each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import rows
import stages
import toy
from bakeoff import lifecycle
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset, Split
from bakeoff.datasets.publish import publish
from bakeoff.events.canonical import canonical_bytes
from bakeoff.fingerprint import digest
from bakeoff.gates.model import Absolute, Gate, GateReport, NonInferior
from bakeoff.lifecycle import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.task import (
    Answer,
    Calibration,
    Episode,
    Example,
    LoggedEvent,
    Metric,
    PythonAnswer,
    Request,
    Role,
    StressCase,
    Violation,
)  # fmt: skip

SHARES = {Split.TRAIN: 2000, Split.VALIDATION: 1000, Split.TEST: 7000}
GATE = Gate(
    name="strict",
    rules=(
        NonInferior(metric="right", margin=0.05, rows="neutral", fallback="effort"),
        NonInferior(metric="effort", margin=0.1, maximum_bias=0.2),
        Absolute(metric="known_drink", column="known_drink", minimum=1.0),
    ),
)


class Strict(toy.ToyTask):
    """The toy with segments, stress requests and a prediction. `unaided`: share of rows that people made alone."""

    metrics = (
        *toy.ToyTask.metrics,
        Metric(name="effort", unit="changes", direction="lower", low=0.0, high=1.0, meaning="predicted changes"),
    )

    def __init__(self, unaided: float = 1.0, calibration: Calibration | None = None, stressed: bool = True) -> None:
        self.unaided, self.calibration, self.stressed = unaided, calibration, stressed

    def examples(self, episodes: Any) -> Any:
        for example in super().examples(episodes):
            alone = stages.draw("alone", example.example_id) < self.unaided
            yield replace(example, metadata={"built_by": "unaided" if alone else "proposal"})

    def score(self, example: Example, answer: Answer) -> Mapping[str, float | None]:
        known = super().score(example, answer)
        return {**known, "effort": 1.0 - float(answer.get("drink") == example.request["likes"])}

    def violations(self, request: Request, answer: Answer) -> Sequence[Violation]:
        if request.get("odd") == "shop burnt down":
            return [Violation(rule="unknown_drink", where=None, detail="there is none")]
        return super().violations(request, answer)

    def segments(self, example: Example) -> Mapping[str, str]:
        return {"region": example.request["region"]}

    def stress(self, requests: Sequence[Request]) -> Iterator[StressCase]:
        for request in requests if self.stressed else ():
            yield StressCase(name="no cups", request={**request, "odd": "no cups"})
            impossible = {**request, "odd": "shop burnt down"}
            yield StressCase(name="shop burnt down", request=impossible, allowed=frozenset({"unknown_drink"}))

    def calibrations(self) -> Sequence[Calibration]:
        return () if self.calibration is None else (self.calibration,)


def bad_in_the_north(request: Request, *, seed: int) -> PythonAnswer:
    """What people like, but in the north always the other drink."""
    wanted = request["likes"]
    return PythonAnswer(answer={"drink": toy.DRINKS[wanted == "tea"] if request["region"] == "north" else wanted})


def breaks_under_stress(request: Request, *, seed: int) -> PythonAnswer:
    return PythonAnswer(answer={"drink": "petrol" if "odd" in request else request["likes"]})


def tea_or_petrol(request: Request, *, seed: int) -> PythonAnswer:
    return PythonAnswer(answer={"drink": "petrol" if "odd" in request else "tea"})


def falls_over_under_stress(request: Request, *, seed: int) -> PythonAnswer:
    return PythonAnswer(answer={"drink": {"likes": request["likes"]}["odd" if "odd" in request else "likes"]})


class Shop(NamedTuple):
    """A dataset and what is judged on it."""

    deps: Deps
    task: Strict
    dataset: Dataset

    def version(self, function: str, module: str = "toy") -> PolicyVersion:
        spec = stages.PolicySpec(
            task="toy", engine="python", prompt_version="1", function=f"{module}:{function}", function_version="1"
        )
        return lifecycle.create_policy(self.deps, stages.POLICY, spec)

    def ours(self, function: str) -> PolicyVersion:
        """One of the policies of this file."""
        return self.version(function, __name__)

    def gate(self, candidate: PolicyVersion, incumbent: PolicyVersion | None = None, rules: Gate = GATE) -> GateReport:
        other = incumbent or self.version("stubborn")
        ours, theirs = (lifecycle.replay(self.deps, self.task, v, self.dataset) for v in (candidate, other))
        return lifecycle.gate(self.deps, self.task, ours, theirs, self.dataset, rules)

    def with_task(self, task: Strict) -> "Shop":
        return self._replace(task=task)


def stored(many: int, *, day: float = 1.0, prefix: str = "d", author: str = "p") -> list[tuple[Episode, bytes]]:
    """One episode for each of `many` shoppers, answered by `author`; a third live in the north, half like tea."""
    made = [_episode(n, day, prefix, author) for n in range(many)]
    return [(each, canonical_bytes(each.request)) for each in made]


def _episode(n: int, day: float, prefix: str, author: str) -> Episode:
    drink = toy.DRINKS[stages.draw("likes", n, day) < 0.5]
    shared: dict[str, Any] = {
        "unit_id": f"u{n}", "decision_id": f"{prefix}{n:03d}", "experiment_id": "x", "variant_id": "v",
        "policy_version_id": "p",
    }  # fmt: skip
    made = LoggedEvent(
        event_id=f"{prefix}{n:03d}", event_type="offered", role=Role.DECISION, occurred_at=rows.at(day),
        served_policy_version_id=author, payload={"answer": {"drink": "tea"}}, **shared,
    )  # fmt: skip
    liked = LoggedEvent(
        event_id=f"o{prefix}{n:03d}", event_type="accepted", role=Role.ACCEPT, occurred_at=rows.at(day + 0.1),
        served_policy_version_id=None, payload={"accepted_by": "user", "drink": drink}, **shared,
    )  # fmt: skip
    request = {"likes": drink, "day": n, "region": "north" if n % 3 == 0 else "south"}
    return Episode(
        need_id=f"{prefix}{n}", unit_id=f"u{n}", request=request, request_digest=digest(request), decisions=(made,),
        outcomes=(liked,),
    )  # fmt: skip


def put(deps: Deps, task: Strict, episodes: Sequence[tuple[Episode, bytes]], *, until: float = 2) -> Dataset:
    """A dataset of these episodes, recorded."""
    written = publish(
        deps.datasets_root, task, episodes, since=rows.at(0), until=rows.at(until), shares=SHARES,
        minimum=dict.fromkeys(Split, 0),
    )  # fmt: skip
    with deps.db.transaction() as conn:
        return datasets.insert(conn, written, mlflow_run_id=None, created_at=rows.at(until))


def open_shop(deps: Deps, many: int = 300, task: Strict | None = None) -> Shop:
    """A shop of so many shoppers with this task."""
    task = task or Strict()
    return Shop(deps, task, put(deps, task, stored(many)))
