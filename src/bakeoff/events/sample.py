"""Some episodes of a log that may be long: the same ones every time, half of them accepted where there are any."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiosql

from bakeoff.events.store import Conn, stored_episodes
from bakeoff.task import Episode, Request, RequestKey

queries = aiosql.from_path(Path(__file__).with_name("sample.sql"), "psycopg")
_EVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def some_episodes(conn: Conn, task: str, rows: int) -> list[Episode]:
    """At most `rows` needs of the log, by their first decisions' time. Reads the ids of the whole log once, and the
    content of these needs only."""
    accepted = _ids(queries.some_decisions(conn, task=task, accepted=True, rows=(rows + 1) // 2))
    drawn = _ids(queries.some_decisions(conn, task=task, accepted=False, rows=rows))
    chosen = list(dict.fromkeys([*accepted, *drawn]))[:rows]
    stored = stored_episodes(conn, task, since=_EVER[0], until=_EVER[1], decision_ids=chosen)
    return [episode for episode, _ in stored]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRequest:
    """A request as a policy decided on it, with the key to build it again."""

    key: RequestKey
    request: Request

    @property
    def name(self) -> str:
        """For people."""
        return f"unit {self.key.unit_id}, need {self.key.need_id}, as of {self.key.as_of.isoformat()}"


def some_requests(
    conn: Conn, task: str, request_version: str, *, since: datetime, until: datetime, rows: int
) -> list[StoredRequest]:
    """At most `rows` requests of this version that were decided on in [since, until): the same ones every time."""
    window = {"since": since, "until": until, "rows": rows}
    return [
        StoredRequest(
            key=RequestKey(unit_id=row["unit_id"], need_id=row["need_id"], as_of=row["occurred_at"]),
            request=row["request"],
        )
        for row in queries.some_requests(conn, task=task, request_version=request_version, **window)
    ]


def _ids(rows: Any) -> list[str]:
    return [str(row["decision_id"]) for row in rows]
