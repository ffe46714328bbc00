"""Rows written by hand, past every store: what a person with psql could try. The database has to hold alone."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from bakeoff.adapters.postgres import Connection

POLICY = "p"
START = datetime(2025, 1, 6, 8, tzinfo=UTC)


def at(days: float) -> datetime:
    return START + timedelta(days=days)


def fingerprint(number: int) -> str:
    return f"sha256:{number:064x}"


def new_id() -> str:
    return str(uuid.uuid4())


@contextmanager
def refused(conn: Connection, message: str, error: type[psycopg.Error] = psycopg.DatabaseError) -> Iterator[None]:
    """The block is refused with this message, and nothing of it stays."""
    with pytest.raises(error, match=message), conn.transaction():
        yield


def insert(conn: Connection, table: str, **values: Any) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, values))
    holes = sql.SQL(", ").join(sql.Placeholder() * len(values))
    filled = [Jsonb(value) if isinstance(value, dict) else value for value in values.values()]
    conn.execute(sql.SQL("insert into {} ({}) values ({})").format(sql.Identifier(table), names, holes), filled)


def policy(conn: Connection, policy_id: str = POLICY) -> str:
    insert(conn, "policies", policy_id=policy_id, task="toy")
    return policy_id


def version(conn: Connection, number: int, policy_id: str = POLICY, **other: Any) -> str:
    ident = new_id()
    row: dict[str, Any] = {"spec": {}, "fingerprint": fingerprint(number), "status": "registered", "created_at": START}
    insert(conn, "policy_versions", policy_version_id=ident, policy_id=policy_id, version=number, **{**row, **other})
    return ident


def dataset(conn: Connection) -> str:
    digest = fingerprint(0xDA7A)
    conn.execute(
        "insert into datasets values (%s, 'toy', 'there', %s, %s, 1, '{}', null, %s) on conflict do nothing",
        (digest, START, START, START),
    )
    return digest


def report(conn: Connection, judged: str, number: int, *, verdict: str = "PASS", **other: Any) -> str:
    """A report on `judged`, whose version number is `number`."""
    digest = fingerprint(uuid.uuid4().int)
    row: dict[str, Any] = {
        "policy_version_id": judged,
        "incumbent_version_id": judged,
        "fingerprint": fingerprint(number),
        "dataset_digest": dataset(conn),
        "gate_digest": "sha256:g",
        "verdict": verdict,
        "report": {},
        "attempt": 1,
        "created_at": START,
    }
    insert(conn, "gate_reports", digest=digest, **{**row, **other})
    return digest


def approval(conn: Connection, target: str, number: int, **other: Any) -> str:
    """An adoption, or with `report_digest` a signature that expires after thirty days."""
    ident = new_id()
    signed = "report_digest" in other
    row: dict[str, Any] = {
        "kind": "signed" if signed else "adopted",
        "fingerprint": fingerprint(number),
        "signed_by": "Ada",
        "note": "looked at it",
        "signed_at": START,
        "expires_at": at(30) if signed else None,
    }
    insert(conn, "approvals", approval_id=ident, policy_version_id=target, **{**row, **other})
    return ident


def rejection(conn: Connection, target: str, report_digest: str, **other: Any) -> None:
    row: dict[str, Any] = {"rejected_by": "Ada", "reason": "the plans are dull", "rejected_at": at(1)}
    insert(
        conn, "rejections", rejection_id=new_id(), policy_version_id=target, report_digest=report_digest,
        **{**row, **other},
    )  # fmt: skip


def experiment(conn: Connection, kind: str = "test", policy_id: str = POLICY, **other: Any) -> str:
    ident = new_id()
    row: dict[str, Any] = {"spec": {}, "spec_digest": "sha256:s", "status": "created", "created_at": START}
    insert(conn, "experiments", experiment_id=ident, policy_id=policy_id, kind=kind, **{**row, **other})
    return ident


def variant(conn: Connection, experiment_id: str, role: str, target: str) -> str:
    ident = new_id()
    insert(
        conn, "variants", variant_id=ident, experiment_id=experiment_id, name=f"{role}-{ident}", role=role,
        policy_version_id=target, config={"policy_version_id": target},
    )  # fmt: skip
    return ident


def snapshot(conn: Connection, experiment_id: str, day: float, **other: Any) -> str:
    ident = new_id()
    row: dict[str, Any] = {
        "phase_number": 1,
        "verdict": "advance",
        "reason": "r",
        "analysis": {"advice": {"next_treated_bp": 2500}},
    }
    insert(
        conn, "monitor_snapshots", snapshot_id=ident, experiment_id=experiment_id, taken_at=at(day), **{**row, **other}
    )
    return ident


def phase(conn: Connection, experiment_id: str, control: str, treated: str | None, day: float, **other: Any) -> None:
    row: dict[str, Any] = {"number": 1, "treated_bp": 1000 if treated else 0, "snapshot_id": None}
    insert(
        conn, "phases", phase_id=new_id(), experiment_id=experiment_id, control_variant_id=control,
        treated_variant_id=treated, began_at=at(day), **{**row, **other},
    )  # fmt: skip


def promotion(conn: Connection, target: str, number: int = 1, **other: Any) -> None:
    row: dict[str, Any] = {
        "policy_id": POLICY,
        "kind": "promotion",
        "signed_by": "Ada",
        "reason": "it won",
        "promoted_at": at(9),
    }
    insert(conn, "promotions", promotion_id=new_id(), policy_version_id=target, number=number, **{**row, **other})


def event(conn: Connection, **other: Any) -> str:
    """An outcome; with ``role='decision'`` a decision on an empty request."""
    ident = new_id()
    row: dict[str, Any] = {
        "event_id": ident,
        "content_digest": "sha256:c",
        "event_type": "offered",
        "role": "accept",
        "task": "toy",
        "unit_id": "u",
        "decision_id": ident,
        "occurred_at": at(1),
        "received_at": at(1),
        "payload": {},
    }
    if other.get("role") == "decision":
        conn.execute("insert into requests values ('sha256:r', 'toy', '1', '{}') on conflict do nothing")
        row |= {"need_id": "n", "request_digest": "sha256:r"}
        row["served_policy_version_id"] = other["policy_version_id"]
    insert(conn, "events", **{**row, **other})
    return ident


class Shop:
    """Version 1 is adopted and serves everyone; version 2 is judged and signed; a test of it is ready to begin."""

    def __init__(self, conn: Connection) -> None:
        policy(conn)
        self.first = version(conn, 1)
        approval(conn, self.first, 1)
        self.default = experiment(conn, "default")
        self.incumbent = variant(conn, self.default, "incumbent", self.first)
        phase(conn, self.default, self.incumbent, None, 0)
        self.second = version(conn, 2)
        self.report = report(conn, self.second, 2)
        self.approval = approval(conn, self.second, 2, report_digest=self.report)
        self.test = experiment(conn)
        self.control = variant(conn, self.test, "control", self.first)
        self.treated = variant(conn, self.test, "treated", self.second)

    def begin(self, conn: Connection, day: float = 1, **other: Any) -> None:
        phase(conn, self.test, self.control, self.treated, day, **other)

    def context(self) -> dict[str, str]:
        """Of an event that the default experiment served."""
        return {
            "experiment_id": self.default,
            "variant_id": self.incumbent,
            "policy_version_id": self.first,
        }
