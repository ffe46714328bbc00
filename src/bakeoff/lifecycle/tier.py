"""The stricter tests after a gate whose rules pass: what they need from outside."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from bakeoff.datasets import files as dataset_files
from bakeoff.datasets.model import Dataset, Split
from bakeoff.gates import segments, stress, tier
from bakeoff.gates.columns import Pairs
from bakeoff.gates.findings import Behaviour
from bakeoff.gates.model import Gate, GateReport
from bakeoff.inference.model import PolicyAnswer
from bakeoff.inference.run_policy import run_policy
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import scores
from bakeoff.replay.model import ReplayReport
from bakeoff.replay.scored_by import scored_by
from bakeoff.replay.scores import Scores
from bakeoff.replay.segments import Segments, segments_digest
from bakeoff.task import Request, StressCase, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What the stricter tests look at."""

    pairs: Pairs
    labels: segments.Labels
    cases: Sequence[StressCase]
    behaviour: Behaviour


def prepare(
    deps: Deps,
    task: Task,
    dataset: Dataset,
    rules: Gate,
    pairs: Pairs,
    sides: tuple[Scores, Scores],
    replays: tuple[ReplayReport, ReplayReport],
) -> Trial:
    """Labels of the judged rows, stress requests made from some of them (nothing is answered yet), and how the
    candidate's and the incumbent's replay behaved. `sides` are the scores of the two `replays`."""
    kept = _kept_labels(deps, replays[0])
    with ThreadPoolExecutor(1) as beside:  # the server compares answers meanwhile; nobody else may ask it
        same = beside.submit(_same_answers, deps, pairs, sides[0], replays)
        labels, cases = _labels(task, dataset, pairs, replays[0], kept), _cases(task, dataset, rules, pairs)
        judged = set(pairs.example_ids)
        rows = [n for n, example_id in enumerate(sides[0].example_ids) if example_id in judged]
        behaviour = tier.behaviour(*sides, rows, same_answers=same.result())
    return Trial(pairs=pairs, labels=labels, cases=cases, behaviour=behaviour)


def _same_answers(deps: Deps, pairs: Pairs, side: Scores, replays: tuple[ReplayReport, ReplayReport]) -> int:
    judged = None if len(pairs) == len(side.example_ids) else pairs.example_ids
    with deps.db.transaction() as conn:
        return scores.same_answers(conn, replays[0].replay_id, replays[1].replay_id, judged)


def _kept_labels(deps: Deps, replay: ReplayReport) -> Mapping[str, Segments | None]:
    if replay.segments_digest is None:
        return {}
    with deps.db.transaction() as conn:
        return scores.segments(conn, replay.replay_id)


def _labels(
    task: Task, dataset: Dataset, pairs: Pairs, replay: ReplayReport, kept: Mapping[str, Segments | None]
) -> segments.Labels:
    """As the replay kept them, where they are what this code said of this dataset; else the task is asked again."""
    judged = set(pairs.example_ids)
    if kept and segments_digest(dataset.digest, scored_by(task), kept) == replay.segments_digest:
        return {name: labels for name, labels in kept.items() if name in judged and labels is not None}
    test = dataset_files.stream(dataset.uri, splits=(Split.TEST,))
    return {row.example.example_id: task.segments(row.example) for row in test if row.example.example_id in judged}


def _cases(task: Task, dataset: Dataset, rules: Gate, pairs: Pairs) -> Sequence[StressCase]:
    chosen = _first_of_units(pairs, rules.stress_requests)
    found = {row.example.example_id: row.example.request for row in dataset_files.some(dataset.uri, chosen)}
    return list(task.stress([found[example_id] for example_id in chosen])) if chosen else []


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
        trial.behaviour,
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
