"""The stricter tests after a gate whose rules pass: what they need from outside."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from bakeoff.datasets import files as dataset_files
from bakeoff.datasets.model import Dataset, Split
from bakeoff.gates import segments, stress, tier
from bakeoff.gates.columns import Pairs
from bakeoff.gates.model import Gate, GateReport
from bakeoff.inference.model import PolicyAnswer
from bakeoff.inference.run_policy import run_policy
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import scores
from bakeoff.replay.model import ReplayReport
from bakeoff.task import Request, StressCase, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What the stricter tests look at."""

    pairs: Pairs
    labels: segments.Labels
    cases: Sequence[StressCase]
    counted: Mapping[str, Any]  # how the two replays behaved, see `scores.behaviour`


def prepare(
    deps: Deps, task: Task, dataset: Dataset, rules: Gate, pairs: Pairs, replays: tuple[ReplayReport, ReplayReport]
) -> Trial:
    """Labels of the judged rows, stress requests made from some of them (nothing is answered yet), and how the
    candidate's and the incumbent's replay behaved."""
    with ThreadPoolExecutor(1) as beside:  # the server counts while this process reads the dataset
        counted = beside.submit(_behaviour, deps, pairs, replays)
        labels, cases = _read(task, dataset, rules, pairs)
        return Trial(pairs=pairs, labels=labels, cases=cases, counted=counted.result())


def _behaviour(deps: Deps, pairs: Pairs, replays: tuple[ReplayReport, ReplayReport]) -> Mapping[str, Any]:
    candidate, incumbent = replays
    with deps.db.transaction() as conn:
        counted = scores.behaviour(conn, candidate.replay_id, incumbent.replay_id, pairs.example_ids)
    assert counted is not None  # the rules passed, so there are rows
    return counted


def _read(task: Task, dataset: Dataset, rules: Gate, pairs: Pairs) -> tuple[segments.Labels, Sequence[StressCase]]:
    labels: dict[str, Mapping[str, str]] = {}
    judged, chosen = set(pairs.example_ids), _first_of_units(pairs, rules.stress_requests)
    requests: dict[str, Request] = {}
    for row in dataset_files.stream(dataset.uri, splits=(Split.TEST,)):
        example = row.example
        if example.example_id in judged:
            labels[example.example_id] = task.segments(example)
        if example.example_id in chosen:
            requests[example.example_id] = example.request
    cases = list(task.stress([requests[example_id] for example_id in chosen])) if chosen else []
    return labels, cases


def run(
    deps: Deps,
    task: Task,
    rules: Gate,
    report: GateReport,
    trial: Trial,
    versions: tuple[PolicyVersion, PolicyVersion],
) -> GateReport:
    """`report` with what the stricter tests found. Versions: the candidate's, then the incumbent's."""
    candidate, incumbent = versions
    unasked = _why_unasked(rules, trial, candidate)
    cases = [] if unasked else trial.cases
    ours = _answer(deps, task, candidate, cases)
    theirs = None if incumbent.spec.engine == "logged" else _answer(deps, task, incumbent, cases)
    found = tier.tier(
        segments.screen(rules, task.metrics, trial.pairs, trial.labels),
        stress.findings(cases, ours, theirs),
        tier.behaviour(trial.counted),
        alpha=rules.alpha,
        unasked=unasked,
    )
    return replace(report, tier=found, verdict=tier.overall_with(report, found))


def _answer(deps: Deps, task: Task, version: PolicyVersion, cases: Sequence[StressCase]) -> list[stress.Broken]:
    if not cases:
        return []
    ask = _asker(deps, task, version)
    with deps.progress.stage(f"stress requests to {version.name}") as move:
        found = []
        for done, case in enumerate(cases, 1):
            found.append(stress.broken(case, ask))
            move(done, len(cases))
    return found


def _asker(deps: Deps, task: Task, version: PolicyVersion) -> Callable[[Request], PolicyAnswer]:
    engine = deps.engines.open(version.spec) if version.spec.needs_engine else None
    return lambda request: run_policy(task, version.spec, request, engine=engine)


def _why_unasked(rules: Gate, trial: Trial, candidate: PolicyVersion) -> str | None:
    if candidate.spec.engine == "logged":
        return f"{candidate.name} is the application itself: only the log knows its answers"
    if not rules.stress_requests:
        return "the gate file asks for none (stress_requests = 0)"
    return None if trial.cases else "the task has none (Task.stress)"


def _first_of_units(pairs: Pairs, many: int) -> list[str]:
    """Example ids of `many` units, one each, in the order of ids: no answer has a say in it."""
    first: dict[str, str] = {}
    for example_id, unit_id in zip(pairs.example_ids, pairs.unit_ids, strict=True):
        first.setdefault(unit_id, example_id)
    return list(first.values())[:many]
