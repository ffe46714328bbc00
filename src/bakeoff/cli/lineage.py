"""Where something came from and where it went, as JSON values: a decision, a policy version, a dataset.

Each function reads the database only; MLflow is named, never asked, so this stays quick and works without it."""

from collections.abc import Mapping
from typing import Any

from bakeoff.cli import lookup
from bakeoff.datasets import files
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset
from bakeoff.errors import UsageError
from bakeoff.events import store as events
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import Experiment
from bakeoff.gates import store as gates
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion import apply as promotion
from bakeoff.replay import store as replays

Conn = policies.Conn
MODELS = "models:/"


def of_decision(conn: Conn, decision_id: str) -> dict[str, Any] | None:
    """Request, variant, policy version, model, run, dataset and outcomes of one decision; None: no such id."""
    row = events.find_decision(conn, decision_id)
    if row is None:
        return None
    assigned = policies.version_by_id(conn, str(row["policy_version_id"]))
    served = policies.version_by_id(conn, str(row["served_policy_version_id"]))
    return {
        "decision_id": str(row["decision_id"]),
        "task": row["task"],
        "unit_id": row["unit_id"],
        "need_id": row["need_id"],
        "occurred_at": row["occurred_at"].isoformat(),
        "request_digest": row["request_digest"],
        "assigned": _assignment(conn, row, assigned),
        "served_by": served.name,
        "fallback_reason": row["payload"].get("fallback_reason"),
        "policy_version": model_of(conn, served),
        "violations": [violation["rule"] for violation in row["payload"].get("violations", [])],
        "repaired": row["payload"].get("repaired"),
        "latency_s": row["payload"].get("latency_s"),
        "cost": row["payload"].get("cost"),
        "answer": row["payload"].get("answer"),
        "outcomes": [_outcome(each) for each in events.outcomes_of(conn, decision_id)],
        "learnt_in": _learnt_in(conn, row),
        "request": row["request"],
    }


def _assignment(conn: Conn, row: Mapping[str, Any], version: PolicyVersion) -> dict[str, Any]:
    ident = str(row["experiment_id"])
    variant = next(v for v in experiments.variants(conn, ident) if v.variant_id == str(row["variant_id"]))
    return {
        "experiment_id": ident,
        "experiment_kind": experiments.find_experiment(conn, ident).kind,
        "variant": variant.name,
        "policy_version": version.name,
        "assignment_probability": row["assignment_probability"],
        "action_propensity": row["action_propensity"],
    }


def _outcome(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "event_type": row["event_type"],
        "occurred_at": row["occurred_at"].isoformat(),
        "event_id": str(row["event_id"]),
        "payload": row["payload"],
    }


def _learnt_in(conn: Conn, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Datasets that hold this decision as a row."""
    within = [d for d in datasets.all_datasets(conn, row["task"]) if d.since <= row["occurred_at"] < d.until]
    found = ((dataset, _split(dataset, str(row["decision_id"]))) for dataset in within)
    return [
        {"dataset": dataset.version, "digest": dataset.digest, "split": split}
        for dataset, split in found
        if split is not None
    ]


def _split(dataset: Dataset, example_id: str) -> str | None:
    try:
        return files.split_of_example(dataset.uri, example_id)
    except UsageError:
        return None  # the folder was moved away; the row in the database is all there is


def model_of(conn: Conn, version: PolicyVersion) -> dict[str, Any]:
    """What answers, and what it was made from."""
    spec, model = version.spec, version.spec.model
    known = datasets.all_datasets(conn)
    return {
        "name": version.name,
        "status": version.status,
        "engine": spec.engine,
        "function": None if spec.function is None else f"{spec.function} (version {spec.function_version})",
        "base": None if model is None else model.base,
        "remote": None if spec.remote is None else f"{spec.remote.name} on endpoint {spec.remote.endpoint}",
        "model": models_uri(version),
        "mlflow_run_id": version.mlflow_run_id,
        "dataset": lookup.dataset_name(known, version.dataset_digest),
        "dataset_digest": version.dataset_digest,
        "fingerprint": version.fingerprint,
        "policy_version_id": version.policy_version_id,
    }


def models_uri(version: PolicyVersion) -> str | None:
    """``models:/planner_model/1``, or None for a version without a registered model."""
    if version.mlflow_model_name is None:
        return None
    return f"{MODELS}{version.mlflow_model_name}/{version.mlflow_model_version}"


def of_version(conn: Conn, version: PolicyVersion) -> dict[str, Any]:
    """What a policy version is made of, who allowed it, and where it was tried and served."""
    return {
        **model_of(conn, version),
        "task": version.spec.task,
        "replay": _replay(conn, version),
        "gate_report": _report(conn, version),
        "approval": _approval(conn, version),
        "approval_ended": _ended(conn, version),
        "rejection": _rejection(conn, version),
        "experiments": [_test(conn, test) for test in lookup.tests_of(conn, version)],
        "holdbacks": [
            _test(conn, held)
            for held in experiments.holdbacks(conn, version.policy_id)
            if experiments.treated(conn, held) == version.policy_version_id
        ],
        "promotions": [
            {"kind": p["kind"], "at": p["promoted_at"].isoformat(), "by": p["signed_by"], "reason": p["reason"]}
            for p in promotion.promotions(conn, version.policy_id)
            if str(p["policy_version_id"]) == version.policy_version_id
        ],
    }


def _replay(conn: Conn, version: PolicyVersion) -> dict[str, Any] | None:
    report = replays.latest_report(conn, version.policy_version_id)
    if report is None:
        return None
    known = datasets.all_datasets(conn)
    return {
        "dataset": lookup.dataset_name(known, report.dataset_digest),
        "digest": report.digest,
        "deterministic": report.certificate.deterministic,
        "aggregates": dict(report.aggregates),
    }


def _report(conn: Conn, version: PolicyVersion) -> dict[str, Any] | None:
    stored = gates.latest(conn, version.policy_version_id)
    if stored is None:
        return None
    return {
        "verdict": stored.report.verdict.value,
        "digest": stored.report.digest,
        "at": stored.created_at.isoformat(),
        "attempt": stored.attempt,
        "missing": stored.report.missing_evidence(),
    }


def _approval(conn: Conn, version: PolicyVersion) -> dict[str, Any] | None:
    found = policies.live_approval(conn, version.policy_version_id)
    if found is None:
        return None
    return {
        "kind": found.kind,
        "by": found.signed_by,
        "note": found.note,
        "at": found.signed_at.isoformat(),
        "covers_from": None if found.covers_from is None else found.covers_from.isoformat(),
        "until": None if found.expires_at is None else found.expires_at.isoformat(),
        "report_digest": found.report_digest,
        "covers": found.covers,
    }


def _ended(conn: Conn, version: PolicyVersion) -> dict[str, Any] | None:
    """How the last approval that ended did."""
    found = policies.last_voided(conn, version.policy_version_id)
    if found is None:
        return None
    return {"by": found.signed_by, "at": found.voided_at.isoformat(), "reason": found.reason}


def _rejection(conn: Conn, version: PolicyVersion) -> dict[str, Any] | None:
    found = policies.find_rejection(conn, version.policy_version_id)
    if found is None:
        return None
    return {
        "by": found.rejected_by,
        "reason": found.reason,
        "at": found.rejected_at.isoformat(),
        "report_digest": found.report_digest,
    }


def _test(conn: Conn, test: Experiment) -> dict[str, Any]:
    phases = experiments.phases(conn, test.experiment_id)
    return {
        "experiment_id": test.experiment_id,
        "status": test.status,
        "treated_share": phases[-1].treated_bp / 10_000,
        "units": experiments.count_exposures(conn, test.experiment_id),
        "reason": test.reason,
    }


def of_model(conn: Conn, uri: str) -> dict[str, Any] | None:
    """The policy version behind ``models:/name/N``."""
    for policy in policies.all_policies(conn):
        for version in policies.versions(conn, policy.policy_id):
            if models_uri(version) == uri:
                return of_version(conn, version)
    return None


def of_dataset(conn: Conn, digest: str) -> dict[str, Any] | None:
    """A dataset with every version that learnt from it."""
    known = next((each for each in datasets.all_datasets(conn) if digest in (each.digest, each.uri)), None)
    if known is None:
        return None
    learnt = [
        version
        for policy in policies.all_policies(conn)
        for version in policies.versions(conn, policy.policy_id)
        if version.dataset_digest == known.digest
    ]
    return {
        "dataset": known.version,
        "digest": known.digest,
        "uri": known.uri,
        "rows": known.rows,
        "mlflow_run_id": datasets.mlflow_run_id(conn, known.digest),
        "learnt_by": [{"name": version.name, "model": models_uri(version)} for version in learnt],
    }
