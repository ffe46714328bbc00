"""Gate reports and opened slices in PostgreSQL, append-only. The caller owns the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection
from psycopg.types.json import Jsonb

from bakeoff.errors import UsageError
from bakeoff.gates.model import GateReport
from bakeoff.gates.slices import ALL, Opening, Reading
from bakeoff.replay.model import ReplayReport

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredReport:
    """A report with what it is about."""

    report: GateReport
    policy_version_id: str
    fingerprint: str  # of the judged policy spec
    attempt: int  # how many reports had been made on the slices that it read, with this one
    created_at: datetime


def lock(conn: Conn, task: str) -> None:
    """Waits until no other gate of `task` opens slices or counts attempts."""
    list(queries.lock(conn, task=task))


def insert(
    conn: Conn,
    report: GateReport,
    candidate: ReplayReport,
    incumbent: ReplayReport,
    *,
    task: str,
    opening: int,
    question: str,
    now: datetime,
) -> GateReport:
    """Stores `report` and returns it with its attempt; the same report again is the one that is there. `question`:
    digest of all that the report answers. Call `lock` before."""
    there = queries.report(conn, digest=report.digest)
    if there is not None:
        return _stored(there).report
    attempt = queries.attempts(conn, task=task, opening=opening) + 1
    report = replace(report, attempt=attempt)
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
        attempt=attempt,
        task=task,
        opening=opening,
        question=question,
        created_at=now,
    )
    return report


def find(conn: Conn, digest: str) -> StoredReport:
    """Raises UsageError where there is none, or where its content does not match its digest."""
    row = queries.report(conn, digest=digest)
    if row is None:
        raise UsageError(f"no gate report {digest}", cure="bakeoff gate POLICY/VERSION prints the digest of its report")
    return _stored(row)


def answer_to(conn: Conn, question: str) -> GateReport | None:
    """The report that answers this question already."""
    row = queries.report_on(conn, question=question)
    return None if row is None else _stored(row).report


def latest(conn: Conn, policy_version_id: str) -> StoredReport | None:
    row = queries.latest_report(conn, policy_version_id=policy_version_id)
    return None if row is None else _stored(row)


def about(conn: Conn, digest: str) -> dict[str, Any] | None:
    """What a report is about, without its content (which may have been changed); None: there is none."""
    row = queries.about(conn, digest=digest)
    return None if row is None else dict(row)


def on_replays(conn: Conn, digests: Sequence[str]) -> list[dict[str, Any]]:
    """What reports are about that compared one of these replays, oldest first."""
    return [dict(row) for row in queries.reports_on_replays(conn, digests=list(digests))]


def judged_datasets(conn: Conn, task: str) -> list[str]:
    """Digests of the datasets that a gate of `task` has read."""
    return [row["dataset_digest"] for row in queries.judged_datasets(conn, task=task)]


# ---- slices ---------------------------------------------------------------------------------------------------------


def reading(conn: Conn, task: str) -> Reading | None:
    """What gates of `task` read now: the newest opening. None: nothing was opened yet."""
    rows = list(queries.opened(conn, task=task))
    if not rows:
        return None
    newest = [row for row in rows if row["opening"] == rows[-1]["opening"]]
    return Reading(
        opening=newest[0]["opening"],
        slices=tuple(row["slice"] for row in newest),
        since=newest[0]["since"],
        attempts=queries.attempts(conn, task=task, opening=newest[0]["opening"]),
    )


def sealed(conn: Conn, task: str) -> tuple[int, ...]:
    """Slices that no gate has read, ascending."""
    broken = {row["slice"] for row in queries.opened(conn, task=task)}
    return tuple(each for each in ALL if each not in broken)


def open_slices(conn: Conn, task: str, opening: Opening, *, dataset_digest: str, now: datetime) -> None:
    """For good. Call `lock` before."""
    for each in opening.slices:
        queries.open_slice(
            conn,
            task=task,
            opening=opening.opening,
            slice=each,
            since=opening.since,
            opened_at=now,
            dataset_digest=dataset_digest,
            reason=opening.reason,
        )


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
