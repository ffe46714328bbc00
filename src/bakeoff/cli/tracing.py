"""``bakeoff trace``"""

import uuid
from collections.abc import Callable
from typing import Any

import click

from bakeoff.cli import lineage, lookup, sightings
from bakeoff.cli.evidence import describe, look_row
from bakeoff.cli.session import answer, as_json, deps, outline
from bakeoff.datasets import store as datasets
from bakeoff.errors import UsageError
from bakeoff.events import store as events
from bakeoff.experiments import store as experiments
from bakeoff.gates import store as gates
from bakeoff.policies import store as policies
from bakeoff.replay import store as replays

Found = dict[str, Any] | None
SHOWN = 10
"""Of a long list, in the text; --json has all."""
KINDS = (
    "a decision or event id",
    "a policy version (planner_policy/3) or its id",
    "a model (models:/planner_model/1)",
    "an MLflow run id",
    "a dataset (2025-01-03, its folder or its digest)",
    "the id or digest of a replay",
    "the digest of a gate report",
    "an experiment id",
    "a unit, for the planner a household",
)


@click.command()
@click.argument("name", metavar="ID")
@as_json
def trace(name: str, as_json: bool) -> None:
    """Follow a thing both ways: decisions, versions, models, runs, datasets, replays, reports, tests, households.

    A decision leads to its request, variant, policy version, model, run, dataset and outcomes; a version to its
    model, run, dataset, approvals and tests; a dataset to every version that learnt from it; a household to everything
    that ever saw it.

    \b
    Example: bakeoff trace planner_policy/3
             bakeoff trace household-17
    """
    with deps() as wired, wired.db.transaction() as conn:
        body = follow(conn, name)
    if body is None:
        raise UsageError(
            f"nothing here is called {name!r}",
            cure="understood are: " + "; ".join(KINDS) + ". bakeoff policy list shows the versions, bakeoff dataset "
            "list the datasets, bakeoff experiment status the tests",
        )
    request = body.pop("request", None)  # pages long: for machines
    rest = "" if request is None else f"\nrequest: {len(str(request))} characters, shown by --json"
    answer(as_json, body | ({} if request is None else {"request": request}), outline(_short(body)) + rest)


def follow(conn: lookup.Conn, name: str) -> Found:
    """The first thing that is called so; None: nothing is. A unit's id may look like anything, so units come last."""
    for known in (_model, _digest, _version, _run, _ident, _dataset, sightings.of_unit):
        found = known(conn, name)
        if found is not None:
            return found
    if "/" in name and not name.startswith(lineage.MODELS):
        policies.find_version(conn, name)  # says what it knows
    return None


def _model(conn: lookup.Conn, name: str) -> Found:
    return lineage.of_model(conn, name) if name.startswith(lineage.MODELS) else None


def _digest(conn: lookup.Conn, name: str) -> Found:
    if not name.startswith("sha256:"):
        return None
    return lineage.of_dataset(conn, name) or _report(conn, name) or _replay(conn, name)


def _version(conn: lookup.Conn, name: str) -> Found:
    policy, _, number = name.partition("/")
    known = {each.policy_id for each in policies.all_policies(conn)}
    if policy not in known or not number.isdecimal():
        return None
    return lineage.of_version(conn, policies.find_version(conn, name))


def _run(conn: lookup.Conn, name: str) -> Found:
    """A run that registered a dataset, or that a version came from."""
    for dataset in datasets.all_datasets(conn):
        if datasets.mlflow_run_id(conn, dataset.digest) == name:
            return lineage.of_dataset(conn, dataset.digest)
    for policy in policies.all_policies(conn):
        for version in policies.versions(conn, policy.policy_id):
            if version.mlflow_run_id == name:
                return lineage.of_version(conn, version)
    return None


def _ident(conn: lookup.Conn, name: str) -> Found:
    """Whatever has a uuid for an id."""
    if not _is_uuid(name):
        return None
    ways: tuple[Callable[[lookup.Conn, str], Found], ...] = (lineage.of_decision, _event, _experiment, _owner, _replay)
    return next((found for way in ways if (found := way(conn, name)) is not None), None)


def _event(conn: lookup.Conn, name: str) -> Found:
    decision = events.decision_of_event(conn, name)
    found = None if decision is None else lineage.of_decision(conn, decision)
    return None if found is None else {"event_id": name, **found}


def _experiment(conn: lookup.Conn, name: str) -> Found:
    for policy in policies.all_policies(conn):
        for test in lookup.all_experiments(conn, policy.policy_id):
            if test.experiment_id == name:
                looks = [look_row(each) for each in experiments.snapshots(conn, name)]
                return {**describe(conn, test), "looks": looks}
    return None


def _owner(conn: lookup.Conn, name: str) -> Found:
    try:
        return lineage.of_version(conn, policies.version_by_id(conn, name))
    except UsageError:
        return None


def _replay(conn: lookup.Conn, name: str) -> Found:
    row = replays.about(conn, name)
    if row is None:
        return None
    reports = [] if row["digest"] is None else gates.on_replays(conn, [row["digest"]])
    return {
        "replay_id": str(row["replay_id"]),
        "digest": row["digest"],
        "status": row["status"],
        "at": row["started_at"].isoformat(),
        "selection": row["selection"],
        "aggregates": row["aggregates"],
        "gate_reports": [{"digest": each["digest"], "verdict": each["verdict"]} for each in reports],
        "policy_version": lineage.model_of(conn, policies.version_by_id(conn, str(row["policy_version_id"]))),
        "dataset": lineage.of_dataset(conn, row["dataset_digest"]),
    }


def _report(conn: lookup.Conn, name: str) -> Found:
    row = gates.about(conn, name)
    if row is None:
        return None
    judged, incumbent = (policies.version_by_id(conn, str(row[f"{who}_version_id"])) for who in ("policy", "incumbent"))
    approval = policies.live_approval(conn, judged.policy_version_id)
    signed = approval is not None and approval.report_digest == name
    return {
        "gate_report": name,
        "verdict": row["verdict"],
        "at": row["created_at"].isoformat(),
        "attempt": row["attempt"],
        "subject": row["subject"],
        "incumbent": incumbent.name,
        "approved_by": approval.signed_by if signed and approval is not None else None,
        "policy_version": lineage.model_of(conn, judged),
        "dataset": lineage.of_dataset(conn, row["dataset_digest"]),
    }


def _dataset(conn: lookup.Conn, name: str) -> Found:
    known = datasets.all_datasets(conn)
    found = next((each for each in known if name.rstrip("/") in (each.version, each.uri)), None)
    return None if found is None else lineage.of_dataset(conn, found.digest)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _short(body: dict[str, Any]) -> dict[str, Any]:
    """Long lists end with their newest, and say how many more there are."""
    return {
        name if not _is_long(value) else f"{name} ({len(value)}, the newest {SHOWN}; --json has all)": value
        if not _is_long(value)
        else value[-SHOWN:]
        for name, value in body.items()
    }


def _is_long(value: Any) -> bool:
    return isinstance(value, list) and len(value) > SHOWN
