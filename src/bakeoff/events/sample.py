"""Some episodes of a log that may be long: the same ones every time, half of them accepted where there are any."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql

from bakeoff.events.store import Conn, _logged
from bakeoff.task import Episode, LoggedEvent, Request, RequestKey

queries = aiosql.from_path(Path(__file__).with_name("sample.sql"), "psycopg")


def some_episodes(conn: Conn, task: str, rows: int) -> list[Episode]:
    """At most `rows` needs of the log, by their first decisions' time. Reads the ids of the whole log once, and the
    content of these needs only."""
    accepted = _ids(queries.some_decisions(conn, task=task, accepted=True, rows=(rows + 1) // 2))
    drawn = _ids(queries.some_decisions(conn, task=task, accepted=False, rows=rows))
    chosen = list(dict.fromkeys([*accepted, *drawn]))[:rows]
    decisions = list(queries.decisions_of_needs(conn, task=task, decision_ids=chosen))
    known: defaultdict[str, list[LoggedEvent]] = defaultdict(list)
    for row in queries.outcomes_of_decisions(conn, decision_ids=[str(row["decision_id"]) for row in decisions]):
        known[str(row["decision_id"])].append(_logged(row))
    needs: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in decisions:
        needs[row["unit_id"], row["need_id"]].append(row)
    return [_episode(group, known) for group in needs.values()]


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


def _episode(group: Sequence[dict[str, Any]], known: dict[str, list[LoggedEvent]]) -> Episode:
    outcomes = [event for row in group for event in known.get(str(row["decision_id"]), ())]
    first = group[0]
    return Episode(
        need_id=first["need_id"],
        unit_id=first["unit_id"],
        request=first["request"],
        request_digest=first["request_digest"],
        decisions=tuple(_logged(row) for row in group),
        outcomes=tuple(sorted(outcomes, key=lambda event: (event.occurred_at, event.event_id))),
    )
