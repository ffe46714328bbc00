"""Gate reports in PostgreSQL, by digest, append-only. The caller owns the transaction."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection
from psycopg.types.json import Jsonb

from bakeoff.errors import UsageError
from bakeoff.gates.model import GateReport
from bakeoff.replay.model import ReplayReport

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredReport:
    """A report with what it is about."""

    report: GateReport
    policy_version_id: str
    fingerprint: str  # of the judged policy spec
    attempt: int  # how many reports had been made on this dataset's test split, with this one
    created_at: datetime


def insert(conn: Conn, report: GateReport, candidate: ReplayReport, incumbent: ReplayReport, *, now: datetime) -> None:
    """The same report again is the one that is there."""
    queries.insert_report(
        conn,
        digest=report.digest,
        policy_version_id=candidate.policy_version_id,
        incumbent_version_id=incumbent.policy_version_id,
        fingerprint=candidate.fingerprint,
        dataset_digest=candidate.dataset_digest,
        gate_digest=report.gate_digest,
        verdict=report.verdict.value,
        report=Jsonb(report.to_json()),
        created_at=now,
    )


def find(conn: Conn, digest: str) -> StoredReport:
    """Raises UsageError where there is none, or where its content does not match its digest."""
    row = queries.report(conn, digest=digest)
    if row is None:
        raise UsageError(f"no gate report {digest}", cure="bakeoff gate POLICY/VERSION prints the digest of its report")
    return _stored(row)


def latest(conn: Conn, policy_version_id: str) -> StoredReport | None:
    row = queries.latest_report(conn, policy_version_id=policy_version_id)
    return None if row is None else _stored(row)


def digests(conn: Conn, policy_version_id: str) -> list[str]:
    """Of all reports on a version, the latest last."""
    return [str(row["digest"]) for row in queries.digests(conn, policy_version_id=policy_version_id)]


def _stored(row: dict[str, Any]) -> StoredReport:
    return StoredReport(
        report=GateReport.from_json(row["report"]),
        policy_version_id=str(row["policy_version_id"]),
        fingerprint=row["fingerprint"],
        attempt=row["attempt"],
        created_at=row["created_at"],
    )
