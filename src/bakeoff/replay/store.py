"""Replays in PostgreSQL, row by row, so that a killed one goes on where it stopped. The caller owns the transaction."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection
from psycopg.types.json import Jsonb

from bakeoff.fingerprint import canonical_json
from bakeoff.replay.model import Certificate, ReplayReport, ReplayRow
from bakeoff.task import Violation

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]
_NAMESPACE = uuid.UUID("9a1c8d5e-3b7f-5f0a-8a54-7d0f6c2b9e33")


def replay_id(fingerprint: str, policy_version_id: str, dataset_digest: str, selection: Mapping[str, Any]) -> str:
    """The same spec over the same rows is the same replay: a second one is a look-up."""
    return str(uuid.uuid5(_NAMESPACE, canonical_json([fingerprint, policy_version_id, dataset_digest, selection])))


def open_replay(
    conn: Conn,
    *,
    policy_version_id: str,
    fingerprint: str,
    dataset_digest: str,
    selection: Mapping[str, Any],
    engine: Mapping[str, Any],
    now: datetime,
) -> str:
    """Creates the replay, or joins the one that is there. Returns its id."""
    ident = replay_id(fingerprint, policy_version_id, dataset_digest, selection)
    queries.insert_replay(
        conn,
        replay_id=ident,
        policy_version_id=policy_version_id,
        fingerprint=fingerprint,
        dataset_digest=dataset_digest,
        selection=Jsonb(dict(selection)),
        engine=Jsonb(dict(engine)),
        started_at=now,
    )
    return ident


def insert_row(conn: Conn, ident: str, row: ReplayRow) -> None:
    """One answered example; the same one again is nothing."""
    queries.insert_row(
        conn,
        replay_id=ident,
        example_id=row.example_id,
        unit_id=row.unit_id,
        raw_answer=row.raw_answer,
        parsed_answer=None if row.parsed_answer is None else Jsonb(dict(row.parsed_answer)),
        answer=None if row.answer is None else Jsonb(dict(row.answer)),
        violations=Jsonb([asdict(violation) for violation in row.violations]),
        metrics=Jsonb(dict(row.metrics)),
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        latency_s=row.latency_s,
        cost=row.cost,
        answer_digest=row.answer_digest,
    )


def rows(conn: Conn, ident: str) -> list[ReplayRow]:
    """In order of example id."""
    return [_row(row) for row in queries.rows(conn, replay_id=ident)]


def finish(
    conn: Conn,
    ident: str,
    *,
    certificate: Certificate,
    aggregates: Mapping[str, float],
    digest: str,
    now: datetime,
) -> None:
    queries.finish_replay(
        conn,
        replay_id=ident,
        certificate=Jsonb(asdict(certificate)),
        aggregates=Jsonb(dict(aggregates)),
        digest=digest,
        finished_at=now,
    )


def find_report(conn: Conn, ident: str) -> ReplayReport | None:
    """The finished replay with this id, or None."""
    return _report(queries.replay(conn, replay_id=ident))


def latest_report(conn: Conn, policy_version_id: str) -> ReplayReport | None:
    return _report(queries.latest_replay(conn, policy_version_id=policy_version_id))


def by_digest(conn: Conn, policy_version_id: str, digest: str) -> ReplayReport | None:
    """The finished replay of a version whose rows have this digest, or None."""
    return _report(queries.replay_by_digest(conn, policy_version_id=policy_version_id, digest=digest))


def _report(row: Mapping[str, Any] | None) -> ReplayReport | None:
    if row is None or row["status"] != "done":
        return None
    return ReplayReport(
        replay_id=str(row["replay_id"]),
        policy_version_id=str(row["policy_version_id"]),
        fingerprint=row["fingerprint"],
        dataset_digest=row["dataset_digest"],
        selection=row["selection"],
        engine=row["engine"],
        certificate=Certificate(**row["certificate"]),
        aggregates=row["aggregates"],
        digest=row["digest"],
    )


def _row(row: Mapping[str, Any]) -> ReplayRow:
    return ReplayRow(
        example_id=row["example_id"],
        unit_id=row["unit_id"],
        raw_answer=row["raw_answer"],
        parsed_answer=row["parsed_answer"],
        answer=row["answer"],
        violations=tuple(Violation(**violation) for violation in row["violations"]),
        metrics=row["metrics"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        latency_s=row["latency_s"],
        cost=row["cost"],
    )
