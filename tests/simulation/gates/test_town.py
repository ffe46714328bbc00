"""SIMULATION: on the town, by the planner's own gate, a truly better policy is not failed because the incumbent wrote
the log (design rule 6), with neutral rows and without."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bakeoff.gates.judge import judge
from bakeoff.gates.load import read_gate
from bakeoff.gates.model import GateReport, Outcome, PairedRow
from bakeoff.task import Calibration, Example, PythonAnswer, Request
from planner.policies import explorer, heuristic, popular
from planner.task import PlannerTask
from planner.town.world import Town
from planner_town import ENDS_ON, Policy, live

GATE = read_gate(Path(str(PlannerTask.gate_file)))
POLICIES: Mapping[str, Policy] = {
    "random": lambda _town, _unit, _week, request: explorer(request, seed=1),
    "popular": lambda _town, _unit, _week, request: popular(request, seed=0),
    "heuristic": lambda _town, _unit, _week, request: heuristic(request, seed=0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """What an incumbent and an explorer wrote, cut by household: a half to learn from, a half to judge on."""

    task: PlannerTask
    held_out: Sequence[Example]
    explored: frozenset[tuple[str, str]]  # (household, week) that the explorer answered


def log(incumbent: str, *, explored: float, units: int, weeks: int, seed: int) -> Log:
    drawn: set[tuple[str, str]] = set()

    def serve(town: Town, unit: str, week: int, request: Request) -> PythonAnswer:
        key = unit, request["week_start"]
        if random.Random(f"{seed}|{key}").random() < explored:
            drawn.add(key)
            return explorer(request, seed=9)  # not the random policy's own seed: that would be the same plan
        return POLICIES[incumbent](town, unit, week, request)

    examples = [e for e in PlannerTask().examples(live(units, weeks, serve, seed=seed)) if isinstance(e, Example)]
    train = set(sorted({example.unit_id for example in examples})[::2])
    held_out = [example for example in examples if example.unit_id not in train]
    task = PlannerTask().fitted([e for e in examples if e.unit_id in train], held_out)
    return Log(task=task, held_out=held_out, explored=frozenset(drawn))


def judged(seen: Log, candidate: str, incumbent: str) -> GateReport:
    """By the planner's gate, on the households that nothing was learnt from."""
    town = Town(seed=0, units=1, weeks=1, ends_on=ENDS_ON)  # these policies do not look behind the curtain

    def values(example: Example, name: str) -> Mapping[str, float | None]:
        answer = POLICIES[name](town, example.unit_id, 0, example.request).answer
        return {**seen.task.score(example, answer), "latency_s": 0.1, "cost": 1e-4}

    rows = [
        PairedRow(
            example_id=example.example_id,
            unit_id=example.unit_id,
            neutral=(example.unit_id, example.request["week_start"]) in seen.explored
            or example.target["built_by"] == "unaided",
            candidate=values(example, candidate),
            incumbent=values(example, incumbent),
        )
        for example in seen.held_out
    ]
    return judge(GATE, seen.task.metrics, rows, calibrations=calibrations(seen.task))


def calibrations(task: PlannerTask) -> Sequence[Calibration]:
    found = task.calibration
    assert found is not None
    return task.calibrations() or [
        Calibration(
            metric="predicted_edits", bias=found.bias, bias_se=found.bias_se, rows=found.plans, units=found.units
        )
    ]


def neutral_only(report: GateReport) -> Mapping[str, Outcome]:
    return {v.metric: v.outcome for v in report.verdicts if v.rows == "neutral"}


@pytest.mark.parametrize("incumbent", ["random", "popular"])
def test_with_neutral_rows_a_better_policy_passes_and_its_opposite_does_not(incumbent: str) -> None:
    seen = log(incumbent, explored=0.4, units=500, weeks=2, seed=5)
    report = judged(seen, "heuristic", incumbent)
    assert set(neutral_only(report).values()) == {Outcome.PASS}, report.because()
    assert report.verdict is Outcome.PASS, report.because()
    assert report.anchored[0].metric == "offline_eval_score"
    assert (report.anchored[1].estimate or 0) < -0.1, "on its own rows the incumbent looks much better"
    assert judged(seen, incumbent, "heuristic").verdict is Outcome.FAIL


def without_neutral_rows(seen: Log) -> Log:
    """Weeks that people planned alone are taken out: every row that is left was proposed by the incumbent."""
    held_out = [example for example in seen.held_out if example.target["built_by"] != "unaided"]
    return Log(task=seen.task, held_out=held_out, explored=frozenset())


@pytest.mark.parametrize("incumbent", ["random", "popular"])
def test_without_neutral_rows_calibrated_predictions_pass_it_and_not_its_opposite(incumbent: str) -> None:
    seen = without_neutral_rows(log(incumbent, explored=0.0, units=500, weeks=2, seed=5))
    report = judged(seen, "heuristic", incumbent)
    alignment = next(v for v in report.verdicts if v.metric == "plan_alignment_score")
    assert report.neutral_rows == 0
    assert (alignment.fallback, alignment.outcome) == ("predicted_edits", Outcome.PASS), alignment.reason
    assert report.verdict is Outcome.PASS, report.because()
    assert judged(seen, incumbent, "heuristic").verdict is Outcome.FAIL


@pytest.mark.simulate
@pytest.mark.parametrize("seed", [11, 12, 13])
@pytest.mark.parametrize("explored", [0.4, 0.0])
@pytest.mark.parametrize("incumbent", ["random", "popular"])
def test_the_same_in_other_towns(incumbent: str, explored: float, seed: int) -> None:
    seen = log(incumbent, explored=explored, units=1200, weeks=3, seed=seed)
    seen = seen if explored else without_neutral_rows(seen)
    report = judged(seen, "heuristic", incumbent)
    assert report.verdict is Outcome.PASS, report.because()
    assert judged(seen, incumbent, "heuristic").verdict is Outcome.FAIL
