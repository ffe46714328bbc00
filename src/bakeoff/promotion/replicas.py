"""What serving processes hold, as they tell it themselves at each poll. Not evidence: rows come and go with processes.

A serving process calls `report` at the end of each poll and `forget` when it stops in peace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from bakeoff.experiments.store import Conn
from bakeoff.promotion.apply import queries

SILENT = timedelta(minutes=1)
"""A replica that was not seen for longer has died, hangs, or cannot reach the database; it polls every few seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """One serving process."""

    name: str  # of its machine
    pid: int
    started_at: datetime  # with time zone
    seen_at: datetime  # its last poll
    loaded: frozenset[str]  # policy version ids that it can answer with at once

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """A replica that does not hold what it must serve, or that is silent."""

    replica: Replica
    kind: Literal["silent", "not_loaded"]
    versions: tuple[str, ...] = ()  # policy version ids that it lacks


def report(conn: Conn, *, name: str, pid: int, started_at: datetime, seen_at: datetime, loaded: Sequence[str]) -> None:
    """Says what this process holds; the same process again replaces what it said before."""
    queries.report_replica(
        conn, name=name, pid=pid, started_at=started_at, seen_at=seen_at, loaded=sorted(str(each) for each in loaded)
    )


def forget(conn: Conn, *, name: str, pid: int) -> None:
    """A process that stopped, or that is known to be gone."""
    queries.forget_replica(conn, name=name, pid=pid)


def replicas(conn: Conn) -> list[Replica]:
    """By name and process."""
    return [
        Replica(
            name=row["name"],
            pid=row["pid"],
            started_at=row["started_at"],
            seen_at=row["seen_at"],
            loaded=frozenset(str(each) for each in row["loaded"]),
        )
        for row in queries.replicas(conn)
    ]


def gaps(known: Sequence[Replica], needed: Mapping[str, datetime], now: datetime) -> list[Gap]:
    """Pure: where a replica differs from what our tables say. `needed`: policy version id -> since when it has had
    traffic; a replica that has not polled since then has not had its chance to load it yet."""
    found = []
    for replica in known:
        lacks = tuple(
            version for version, since in needed.items() if version not in replica.loaded and since <= replica.seen_at
        )
        if now - replica.seen_at > SILENT:
            found.append(Gap(replica=replica, kind="silent"))
        elif lacks:
            found.append(Gap(replica=replica, kind="not_loaded", versions=lacks))
    return found
