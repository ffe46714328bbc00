"""Policies, their versions and approvals in PostgreSQL. The caller owns the transaction."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from bakeoff.datasets.model import Proposer
from bakeoff.errors import NotFound, UsageError
from bakeoff.inference.model import PolicySpec
from bakeoff.policies.model import (
    Approval,
    Policy,
    PolicyVersion,
    Rejection,
    Status,
    Voided,
    policy_version_id,
)

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]
_SPEC = TypeAdapter(PolicySpec)


def create_version(
    conn: Conn,
    policy_id: str,
    spec: PolicySpec,
    *,
    now: datetime,
    mlflow_model_name: str | None = None,
    mlflow_model_version: str | None = None,
    mlflow_run_id: str | None = None,
    dataset_digest: str | None = None,
) -> PolicyVersion:
    """The version of `policy_id` with this spec: the existing one, or a new one with the next number."""
    if not policy_id or "/" in policy_id:
        raise UsageError(f"policy name {policy_id!r}; expected a name without '/', for instance planner_policy")
    queries.insert_policy(conn, policy_id=policy_id, task=spec.task)
    owner = lock(conn, policy_id).task
    if owner != spec.task:
        raise UsageError(f"{policy_id} is a policy of task {owner}, this spec is for task {spec.task}")
    queries.insert_version(
        conn,
        policy_version_id=policy_version_id(policy_id, spec.fingerprint),
        policy_id=policy_id,
        spec=Jsonb(asdict(spec)),
        fingerprint=spec.fingerprint,
        config_defaults=Jsonb({}),
        mlflow_model_name=mlflow_model_name,
        mlflow_model_version=mlflow_model_version,
        mlflow_run_id=mlflow_run_id,
        dataset_digest=dataset_digest,
        created_at=now,
    )
    return _version(queries.version_by_fingerprint(conn, policy_id=policy_id, fingerprint=spec.fingerprint))


def has_version(conn: Conn, policy_id: str, spec: PolicySpec) -> bool:
    """Is there a version of `policy_id` with this spec?"""
    return queries.version_by_fingerprint(conn, policy_id=policy_id, fingerprint=spec.fingerprint) is not None


def lock(conn: Conn, policy_id: str) -> Policy:
    """Holds the policy until the transaction ends: numbering and moves of its default happen one after the other."""
    return _policy(queries.lock_policy(conn, policy_id=policy_id))


def lock_word(conn: Conn, policy_version_id: str) -> None:
    """Signatures and rejections of a version come one after the other, until the transaction ends: who comes second
    sees what the first one said."""
    queries.lock_word(conn, policy_version_id=policy_version_id)


def serving_versions(conn: Conn, policy_id: str, policy_version_id: str) -> tuple[PolicyVersion, PolicyVersion | None]:
    """The version with this id and the policy's last resort, in one query: every decision asks it."""
    rows = list(queries.serving_versions(conn, policy_id=policy_id, policy_version_id=policy_version_id))
    last_resort = next((_version(row) for row in rows if row["is_last_resort"]), None)
    return next(_version(row) for row in rows if str(row["policy_version_id"]) == policy_version_id), last_resort


def set_last_resort(conn: Conn, policy_id: str, version: PolicyVersion) -> None:
    if version.spec.engine != "python":
        raise UsageError(f"{version.name} runs on {version.spec.engine}; a last resort is a python policy")
    if version.policy_id != policy_id:
        raise UsageError(f"{version.name} is a version of another policy; a last resort is one of {policy_id}")
    queries.set_last_resort(conn, policy_id=policy_id, policy_version_id=version.policy_version_id)


def find_policy(conn: Conn, policy_id: str) -> Policy:
    """Raises UsageError that lists the known ones."""
    row = queries.policy(conn, policy_id=policy_id)
    if row is None:
        known = ", ".join(p.policy_id for p in all_policies(conn)) or "none yet"
        raise NotFound(f"no policy {policy_id!r}; known: {known}", cure="bakeoff policy list shows them")
    return _policy(row)


def all_policies(conn: Conn) -> list[Policy]:
    return [_policy(row) for row in queries.all_policies(conn)]


def find_version(conn: Conn, name: str) -> PolicyVersion:
    """A version by the name that people type, ``planner_policy/3``. Raises UsageError."""
    policy_id, _, number = name.partition("/")
    policy = find_policy(conn, policy_id)
    if not number.isdecimal():
        raise UsageError(f"{name!r} is not a policy version", cure=f"type for instance {policy.policy_id}/1")
    row = queries.version_by_number(conn, policy_id=policy_id, version=int(number))
    if row is None:
        known = ", ".join(v.name for v in versions(conn, policy_id)) or "none yet"
        raise UsageError(f"no policy version {name}; known: {known}")
    return _version(row)


def version_by_id(conn: Conn, policy_version_id: str) -> PolicyVersion:
    """Raises UsageError."""
    row = queries.version_by_id(conn, policy_version_id=policy_version_id)
    if row is None:
        raise UsageError(f"no policy version with id {policy_version_id}")
    return _version(row)


def versions(conn: Conn, policy_id: str) -> list[PolicyVersion]:
    return [_version(row) for row in queries.versions(conn, policy_id=policy_id)]


def proposers(conn: Conn, task: str) -> dict[str, Proposer]:
    """The versions of `task` by id, as a dataset's summary speaks of them."""
    owned = (policy.policy_id for policy in all_policies(conn) if policy.task == task)
    found = (version for name in owned for version in versions(conn, name))
    return {v.policy_version_id: Proposer(name=v.name, is_trained=v.mlflow_model_name is not None) for v in found}


def set_status(conn: Conn, version: PolicyVersion, status: Status) -> None:
    """Moves a version along registered -> candidate -> approved -> production -> retired, or to rejected; the
    database refuses other moves. The same status again is nothing."""
    queries.set_status(conn, policy_version_id=version.policy_version_id, status=status)


def insert_approval(conn: Conn, approval: Approval) -> None:
    """The version becomes 'approved' with it."""
    covers = None if approval.covers is None else Jsonb(dict(approval.covers))
    queries.insert_approval(conn, **asdict(approval) | {"covers": covers})


def live_approval(conn: Conn, policy_version_id: str) -> Approval | None:
    """The approval that was not voided (it may have expired), or None."""
    row = queries.live_approval(conn, policy_version_id=policy_version_id)
    if row is None:
        return None
    known = {name: _text(row[name]) for name in Approval.__slots__ if name != "covers"}
    return Approval(**known, covers=row["covers"])


def void_approval(conn: Conn, policy_version_id: str, *, now: datetime, reason: str) -> None:
    """Ends the live approval, if there is one: an approved version is a candidate again. Running traffic goes on,
    new phases are refused."""
    queries.void_approval(conn, policy_version_id=policy_version_id, now=now, reason=reason)


def last_voided(conn: Conn, policy_version_id: str) -> Voided | None:
    """How the approval that ended last did; None where none ever did."""
    row = queries.last_voided(conn, policy_version_id=policy_version_id)
    if row is None:
        return None
    return Voided(signed_by=row["signed_by"], voided_at=row["voided_at"], reason=row["void_reason"])


def insert_rejection(conn: Conn, rejection: Rejection) -> None:
    """The version becomes 'rejected' with it, and a live approval void."""
    queries.insert_rejection(conn, **asdict(rejection))


def find_rejection(conn: Conn, policy_version_id: str) -> Rejection | None:
    row = queries.rejection(conn, policy_version_id=policy_version_id)
    return None if row is None else Rejection(**{name: _text(row[name]) for name in Rejection.__slots__})


def is_advisory(conn: Conn) -> bool:
    """Whether the database's rules guard this user against mistakes only: who owns the tables, or is superuser, can
    change the rules themselves."""
    return bool(queries.stands_above(conn)["above"])


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, datetime) else str(value)


def _policy(row: Mapping[str, Any]) -> Policy:
    return Policy(policy_id=row["policy_id"], task=row["task"], last_resort=_text(row["last_resort"]))


def _version(row: Mapping[str, Any]) -> PolicyVersion:
    return PolicyVersion(
        policy_version_id=str(row["policy_version_id"]),
        policy_id=row["policy_id"],
        version=row["version"],
        spec=_SPEC.validate_python(row["spec"]),
        fingerprint=row["fingerprint"],
        status=row["status"],
        mlflow_model_name=row["mlflow_model_name"],
        mlflow_model_version=row["mlflow_model_version"],
        mlflow_run_id=row["mlflow_run_id"],
        dataset_digest=row["dataset_digest"],
        config_defaults=row["config_defaults"],
    )
