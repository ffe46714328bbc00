"""Is it good enough."""

from bakeoff.datasets import build as dataset_build
from bakeoff.datasets import files as dataset_files
from bakeoff.datasets.model import Dataset, Split
from bakeoff.gates import pair
from bakeoff.gates import store as gates
from bakeoff.gates.judge import judge
from bakeoff.gates.model import Gate, GateReport, Outcome
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies import store as policies
from bakeoff.replay import store as replays
from bakeoff.replay.model import ReplayReport
from bakeoff.task import Task


def gate(
    deps: Deps,
    task: Task,
    candidate: ReplayReport,
    incumbent: ReplayReport,
    dataset: Dataset,
    rules: Gate,
) -> GateReport:
    """Two replays over the same rows -> a verdict per metric. On PASS the version becomes a candidate, in our
    table and as tag ``stage=candidate`` in the registry. Raises Refused where a replay is not deterministic or
    the two do not cover the same rows."""
    pair.check_comparable(candidate, incumbent)
    metadata = {row.example.example_id: row for row in dataset_files.load(dataset.uri, splits=(Split.TEST,))}
    compared = (candidate.policy_version_id, incumbent.policy_version_id)
    with deps.db.transaction() as conn:
        rows = pair.paired_rows(
            replays.rows(conn, candidate.replay_id),
            replays.rows(conn, incumbent.replay_id),
            neutral=lambda example_id: dataset_build.is_neutral(metadata[example_id], *compared),
        )
    report = judge(rules, task.metrics, rows, subject=pair.subject(candidate, incumbent))
    with deps.db.transaction() as conn:
        version = policies.version_by_id(conn, candidate.policy_version_id)
        gates.insert(conn, report, candidate, incumbent, now=deps.clock())
        if report.verdict is Outcome.PASS and version.status == "registered":
            policies.set_status(conn, version, "candidate")
    is_new = version.status in ("registered", "candidate")  # a version that serves already keeps its tag
    if report.verdict is Outcome.PASS and is_new and version.mlflow_model_name and version.mlflow_model_version:
        deps.models.set_tag(version.mlflow_model_name, version.mlflow_model_version, "stage", "candidate")
        deps.models.set_tag(version.mlflow_model_name, version.mlflow_model_version, "gate_report", report.digest)
    return report
