"""Everything that saw a unit (a household), as JSON values: its decisions, the tests that it met, the datasets with its
rows, what learnt from those, and what was judged on them. What erasing the unit has to reach.

It reads the database and two columns of each dataset; MLflow is named, never asked."""

from collections.abc import Mapping, Sequence
from typing import Any

from bakeoff.cli import lineage
from bakeoff.datasets import files
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset, Split
from bakeoff.datasets.split import slice_of, split_of
from bakeoff.errors import Unreachable, UsageError
from bakeoff.events import store as events
from bakeoff.experiments import store as experiments
from bakeoff.gates import store as gates
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import store as replays

Conn = policies.Conn
GONE = "its folder cannot be read"
"""Of a dataset that is recorded, and whose rows nobody can count any more."""


def of_unit(conn: Conn, unit_id: str) -> dict[str, Any] | None:
    """None: nothing here has ever seen a unit with this id."""
    decisions, met = events.decisions_of_unit(conn, unit_id), experiments.exposures_of_unit(conn, unit_id)
    replayed = replays.of_unit(conn, unit_id)
    if not (decisions or met or replayed):
        return None
    names = _names(conn)
    tasks = sorted({row["task"] for row in decisions} or {version.spec.task for version in names.values()})
    held = [_dataset(conn, each, unit_id) for task in tasks for each in datasets.all_datasets(conn, task)]
    held = [each for each in held if each["rows"]]
    return {
        "unit_id": unit_id,
        "splits": {task: _place(task, unit_id) for task in tasks},
        "datasets": held,
        "learnt_by": _learnt(held, names.values()),
        "replays": [_replay(row, names) for row in replayed],
        "gate_reports": _reports(conn, unit_id, replayed, names),
        "exposures": [
            _exposure(conn, x.experiment_id, names[x.policy_version_id].name, x.occurred_at.isoformat(), x.forced)
            for x in met
        ],
        "versions": sorted({names[_served(row)].name for row in decisions}),
        "decisions": [_decision(row, names) for row in decisions],
    }


def _names(conn: Conn) -> dict[str, PolicyVersion]:
    return {
        version.policy_version_id: version
        for policy in policies.all_policies(conn)
        for version in policies.versions(conn, policy.policy_id)
    }


def _place(task: str, unit_id: str) -> dict[str, Any]:
    """Where the unit falls for good, by hash: its split, and its slice of the test split."""
    split = split_of(task, unit_id)
    found: dict[str, Any] = {"split": split.value}
    return found if split is not Split.TEST else found | {"slice": slice_of(task, unit_id, split)}


def _dataset(conn: Conn, dataset: Dataset, unit_id: str) -> dict[str, Any]:
    """`rows` by split; of a folder that is gone it is said that nobody knows."""
    try:
        rows: dict[str, int] | str = files.rows_of_unit(dataset.uri, unit_id)
    except (UsageError, Unreachable):
        rows = GONE
    return {
        "dataset": dataset.version,
        "digest": dataset.digest,
        "uri": dataset.uri,
        "mlflow_run_id": datasets.mlflow_run_id(conn, dataset.digest),
        "rows": rows,
    }


def _learnt(held: Sequence[Mapping[str, Any]], versions: Any) -> list[dict[str, Any]]:
    """Versions whose dataset holds rows of the unit outside of the test split: trained or chosen on them."""
    rows = {each["digest"]: each["rows"] for each in held}
    found = []
    for version in versions:
        there = rows.get(version.dataset_digest)
        used = [GONE] if there == GONE else sorted(set(there or ()) - {Split.TEST.value})
        if used:
            found.append(
                {
                    "name": version.name,
                    "status": version.status,
                    "model": lineage.models_uri(version),
                    "mlflow_run_id": version.mlflow_run_id,
                    "rows_of": ", ".join(used),
                }
            )
    return found


def _replay(row: Mapping[str, Any], names: Mapping[str, PolicyVersion]) -> dict[str, Any]:
    return {
        "replay_id": str(row["replay_id"]),
        "version": names[str(row["policy_version_id"])].name,
        "digest": row["digest"],
        "at": row["started_at"].isoformat(),
        "rows": row["rows"],
    }


def _reports(
    conn: Conn, unit_id: str, replayed: Sequence[Mapping[str, Any]], names: Mapping[str, PolicyVersion]
) -> list[dict[str, Any]]:
    """Reports that read the unit's slice of a replay that has it."""
    digests = [row["digest"] for row in replayed if row["digest"] is not None]
    return [
        {
            "digest": row["digest"],
            "version": names[str(row["policy_version_id"])].name,
            "verdict": row["verdict"],
            "at": row["created_at"].isoformat(),
        }
        for row in gates.on_replays(conn, digests)
        if _was_read(row["subject"], names[str(row["policy_version_id"])].spec.task, unit_id)
    ]


def _was_read(subject: Mapping[str, str], task: str, unit_id: str) -> bool:
    """By the slices that a report names; one that names none read the whole test split."""
    own = slice_of(task, unit_id, Split.TEST)
    return "slices" not in subject or own in {int(each) for each in subject["slices"].split(",")}


def _exposure(conn: Conn, experiment_id: str, version: str, at: str, forced: bool) -> dict[str, Any]:
    experiment = experiments.find_experiment(conn, experiment_id)
    named = {"experiment": experiment.name or experiment_id, "kind": experiment.kind, "experiment_id": experiment_id}
    return {**named, "version": version, "at": at, "forced": forced}


def _decision(row: Mapping[str, Any], names: Mapping[str, PolicyVersion]) -> dict[str, Any]:
    return {
        "decision_id": str(row["decision_id"]),
        "need_id": row["need_id"],
        "at": row["occurred_at"].isoformat(),
        "assigned": names[str(row["policy_version_id"])].name,
        "served_by": names[_served(row)].name,
        "outcomes": row["outcomes"],
    }


def _served(row: Mapping[str, Any]) -> str:
    return str(row["served_policy_version_id"])
