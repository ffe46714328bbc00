"""Replays in PostgreSQL, row by row, so that a killed one goes on where it stopped. The caller owns the transaction."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection
from psycopg.types.json import Json, Jsonb
from pydantic import TypeAdapter

from bakeoff.fingerprint import as_stored, canonical_json
from bakeoff.replay.model import Certificate, ReplayReport, ReplayRow, Subject
from bakeoff.replay.workers import Key
from bakeoff.task import Completion, Violation

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]
_COMPLETION = TypeAdapter(Completion)
_NAMESPACE = uuid.UUID("9a1c8d5e-3b7f-5f0a-8a54-7d0f6c2b9e33")


def replay_id(subject: Subject, engine: Mapping[str, Any], attempt: int = 1, *, fresh: bool = False) -> str:
    """The same subject answered by the same engine is the same replay: a second one goes on with the first. `fresh`
    ones, which take no answer from the cache, are counted apart."""
    parts = [
        subject.fingerprint,
        subject.policy_version_id,
        subject.dataset_digest,
        subject.selection,
        subject.repeats,
        subject.scored_by,
        engine,
        attempt,
        fresh,
    ]
    return str(uuid.uuid5(_NAMESPACE, canonical_json(parts)))


def open_replay(
    conn: Conn,
    *,
    policy_version_id: str,
    fingerprint: str,
    dataset_digest: str,
    selection: Mapping[str, Any],
    engine: Mapping[str, Any],
    now: datetime,
    repeats: int = 1,
    scored_by: Mapping[str, str] | None = None,
    fresh: bool = False,
) -> str:
    """Creates the replay, or joins the one that is there. A `fresh` one is another than those that are finished.
    Returns its id."""
    subject = Subject(
        policy_version_id=policy_version_id,
        fingerprint=fingerprint,
        dataset_digest=dataset_digest,
        selection=selection,
        repeats=repeats,
        scored_by=scored_by or {},
    )
    attempt = 1 + (len(_finished(conn, subject, engine)) if fresh else 0)
    ident = replay_id(subject, engine, attempt, fresh=fresh)
    queries.insert_replay(
        conn, replay_id=ident, **_columns(subject), engine=Jsonb(dict(engine)), attempt=attempt, started_at=now
    )
    return ident


def find_finished(conn: Conn, subject: Subject, engine: Mapping[str, Any] | None = None) -> ReplayReport | None:
    """The newest finished replay of this subject, or None; with `engine` only one that it answered."""
    found = _finished(conn, subject, engine)
    return find_report(conn, found[0]) if found else None


def _finished(conn: Conn, subject: Subject, engine: Mapping[str, Any] | None) -> list[str]:
    stamp = None if engine is None else Jsonb(dict(engine))
    return [str(row["replay_id"]) for row in queries.finished(conn, **_columns(subject), engine=stamp)]


def _columns(subject: Subject) -> dict[str, Any]:
    return {
        "policy_version_id": subject.policy_version_id,
        "fingerprint": subject.fingerprint,
        "dataset_digest": subject.dataset_digest,
        "selection": Jsonb(dict(subject.selection)),
        "repeats": subject.repeats,
        "scored_by": Jsonb(dict(subject.scored_by)),
    }


def insert_row(conn: Conn, ident: str, row: ReplayRow) -> None:
    """One answered example; the same one again is nothing."""
    queries.insert_row(
        conn,
        replay_id=ident,
        example_id=row.example_id,
        repeat=row.repeat,
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
        request_digest=row.request_digest,
        prompt_digest=row.prompt_digest,
        from_cache=row.from_cache,
        segments=None if row.segments is None else Jsonb(dict(row.segments)),
    )


def answered(conn: Conn, ident: str) -> set[Key]:
    """Which rows are there."""
    return {(row["example_id"], row["repeat"]) for row in queries.answered(conn, replay_id=ident)}


def rows(conn: Conn, ident: str) -> list[ReplayRow]:
    """In order of example id, then of repeat; `repeats.averaged` makes one row per example of them."""
    return [_row(row) for row in queries.rows(conn, replay_id=ident)]


def finish(
    conn: Conn,
    ident: str,
    *,
    certificate: Certificate,
    aggregates: Mapping[str, float],
    digest: str,
    now: datetime,
    witness: Mapping[str, Any] | None = None,
    segments_digest: str | None = None,
) -> None:
    """`witness`: what a server said of itself meanwhile, written beside the engine's stamp."""
    queries.finish_replay(
        conn,
        replay_id=ident,
        certificate=Jsonb(asdict(certificate)),
        witness=Jsonb(dict(witness or {})),
        aggregates=Jsonb(dict(aggregates)),
        digest=digest,
        segments_digest=segments_digest,
        finished_at=now,
    )


def find_report(conn: Conn, ident: str) -> ReplayReport | None:
    """The finished replay with this id, or None."""
    return _report(queries.replay(conn, replay_id=ident))


def latest_report(conn: Conn, policy_version_id: str) -> ReplayReport | None:
    row = queries.latest_replay(conn, policy_version_id=policy_version_id)
    return None if row is None else find_report(conn, str(row["replay_id"]))


def of_unit(conn: Conn, unit_id: str) -> list[dict[str, Any]]:
    """Every replay that answered requests of a unit, oldest first: id, version, dataset, digest, rows."""
    return [dict(row) for row in queries.replays_of_unit(conn, unit_id=unit_id)]


def about(conn: Conn, ident: str) -> dict[str, Any] | None:
    """The replay with this id or digest, finished or not, as it is stored; None: there is none."""
    row = queries.any_replay(conn, ident=ident)
    return None if row is None else dict(row)


def keep_answer(
    conn: Conn,
    *,
    fingerprint: str,
    engine_digest: str,
    row: ReplayRow,
    completion: Completion,
    now: datetime,
    instead: bool = False,
) -> None:
    """Keeps what a model answered for the next replay that asks the same; `instead` of what is kept, else only where
    nothing is. What JSON cannot say is not kept."""
    body = asdict(completion)
    try:
        as_stored(body)
    except ValueError:
        return
    key = {"fingerprint": fingerprint, "engine_digest": engine_digest, "prompt_digest": row.prompt_digest}
    if instead:
        queries.forget_answer(conn, **key, repeat=row.repeat)
    queries.keep_answer(conn, **key, repeat=row.repeat, completion=Json(body), answered_at=now)


def kept_answers(
    conn: Conn, *, fingerprint: str, engine_digest: str, prompt_digests: Sequence[str]
) -> dict[tuple[str, int], Completion]:
    """By prompt digest and repeat."""
    found = queries.kept_answers(
        conn, fingerprint=fingerprint, engine_digest=engine_digest, prompt_digests=list(prompt_digests)
    )
    return {(row["prompt_digest"], row["repeat"]): _COMPLETION.validate_python(row["completion"]) for row in found}


def by_digest(conn: Conn, policy_version_id: str, digest: str) -> ReplayReport | None:
    """The finished replay of a version whose rows have this digest, or None."""
    row = queries.replay_by_digest(conn, policy_version_id=policy_version_id, digest=digest)
    return None if row is None else find_report(conn, str(row["replay_id"]))


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
        repeats=row["repeats"],
        scored_by=row["scored_by"],
        cached=row["cached"],
        segments_digest=row["segments_digest"],
        finished_at=row["finished_at"],
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
        repeat=row["repeat"],
        request_digest=row["request_digest"],
        prompt_digest=row["prompt_digest"],
        from_cache=row["from_cache"],
        segments=row["segments"],
    )
