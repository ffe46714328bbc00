"""Is it good enough."""

from bakeoff.datasets.fit import fitted
from bakeoff.datasets.model import Dataset
from bakeoff.datasets.places import places
from bakeoff.gates import pair
from bakeoff.gates import store as gates
from bakeoff.gates.judge import judge
from bakeoff.gates.model import Gate, GateReport, Outcome
from bakeoff.gates.slices import Asked
from bakeoff.gates.tier import question
from bakeoff.lifecycle import slices, tier
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay.model import ReplayReport
from bakeoff.replay.scores import Scores, scores
from bakeoff.task import Task


def gate(
    deps: Deps,
    task: Task,
    candidate: ReplayReport,
    incumbent: ReplayReport,
    dataset: Dataset,
    rules: Gate,
) -> GateReport:
    """Two replays over the same rows -> a verdict per metric and, where they pass, the stricter tests. Reads only the
    slices that are open (`open_slices`); opens the first. On PASS the version becomes a candidate, in our table and
    as tag ``stage=candidate`` in the registry. The same judgement again is the report that is there.

    Raises Refused where a local engine's replay is not deterministic, or the two do not cover the same rows."""
    pair.check_comparable(candidate, incumbent)
    rows = places(dataset.uri)
    compared = (candidate.policy_version_id, incumbent.policy_version_id)
    reading = slices.read(deps, task, dataset, rules, rows, compared, Asked())
    for side in (candidate, incumbent):
        pair.check_covers(side, reading)
    task = fitted(task, dataset.uri)
    neutral = {
        example_id: is_neutral
        for example_id, is_neutral, is_read in zip(
            rows.example_ids, rows.neutral(*compared).tolist(), reading.covers(rows).tolist(), strict=True
        )
        if is_read
    }
    sides = _scores(deps, task, candidate, incumbent)
    pairs = pair.pair_scores(*sides, neutral=neutral)
    report = judge(
        rules,
        task.metrics,
        pairs,
        subject=pair.subject(candidate, incumbent, reading),
        calibrations=task.calibrations(),
        noise=pair.noise(candidate, incumbent),
    )
    with deps.db.transaction() as conn:
        versions = (policies.version_by_id(conn, compared[0]), policies.version_by_id(conn, compared[1]))
    trial = None
    if report.verdict is Outcome.PASS:
        trial = tier.prepare(deps, task, dataset, rules, pairs, sides, (candidate, incumbent))
    asked = question(report, trial.cases if trial else (), trial.labels if trial else {})
    with deps.db.transaction() as conn:
        known = gates.answer_to(conn, asked)
    if known is None and trial is not None:
        report = tier.run(deps, task, rules, report, trial, versions)
    return _kept(deps, known or report, candidate, incumbent, versions[0], (task.name, reading.opening, asked))


def _scores(deps: Deps, task: Task, candidate: ReplayReport, incumbent: ReplayReport) -> tuple[Scores, Scores]:
    names = [metric.name for metric in task.metrics]
    with deps.db.transaction() as conn:
        return scores(conn, candidate.replay_id, names), scores(conn, incumbent.replay_id, names)


def _kept(
    deps: Deps,
    report: GateReport,
    candidate: ReplayReport,
    incumbent: ReplayReport,
    version: PolicyVersion,
    asked: tuple[str, int, str],
) -> GateReport:
    """Stores the report, and what follows from a PASS. A crash between the two is healed by the same gate again."""
    task_name, opening, asked_digest = asked
    with deps.db.transaction() as conn:
        gates.lock(conn, task_name)
        report = gates.insert(
            conn,
            report,
            candidate,
            incumbent,
            task=task_name,
            opening=opening,
            question=asked_digest,
            now=deps.clock(),
        )
        version = policies.version_by_id(conn, version.policy_version_id)
        if report.verdict is Outcome.PASS and version.status == "registered":
            policies.set_status(conn, version, "candidate")
    is_new = version.status in ("registered", "candidate")  # a version that serves already keeps its tag
    if report.verdict is Outcome.PASS and is_new and version.mlflow_model_name and version.mlflow_model_version:
        deps.models.set_tag(version.mlflow_model_name, version.mlflow_model_version, "stage", "candidate")
        deps.models.set_tag(version.mlflow_model_name, version.mlflow_model_version, "gate_report", report.digest)
    return report
