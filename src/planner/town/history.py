"""SIMULATION. The town as an application before bakeoff: some weeks of its own tables and its own log.

    python -m planner.town.history --folder old-app --dsn postgresql://... --units 40 --weeks 12

The heuristic answers, as what such an application does before it has a model. Its tables (``planner.*``) come from
``bakeoff db migrate``; its log is one JSONL file in its own field names (`planner.history` maps them), with plans
before and after, without edits, requests or any id of bakeoff's."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from bakeoff.errors import BakeoffError, Unreachable, UsageError
from bakeoff.task import Request, Served
from planner import tables
from planner.policies import heuristic
from planner.tables import Conn
from planner.town.application import Application
from planner.town.world import Town

LOG = "app.jsonl"
WEEKDAYS = {
    day[:3].lower(): day for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
}

Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What `write_history` left behind."""

    log: str  # path of the JSONL file
    lines: int
    plans: int  # proposals
    households: int
    first_at: str  # ISO 8601, UTC: when the first plan was made
    last_at: str  # of the last line


def write_history(conn: Conn, folder: Path, *, seed: int, units: int, weeks: int, ends_on: date) -> Written:
    """Lives `weeks` weeks, the last of which ends on `ends_on`; fills the tables in the caller's transaction and
    writes ``app.jsonl`` into `folder`. Raises UsageError where the tables are missing or hold another life."""
    _check_tables(conn)
    town = Town(seed=seed, units=units, weeks=weeks, ends_on=ends_on)
    lines: list[Line] = []
    application = Application(conn, town)
    application.open()
    logger = _Logger(lines)
    for week in range(weeks):
        application.live(week, logger.decide, logger.emit)
    tables.set_clock(conn, None)
    lines.sort(key=lambda line: (line["ts"], line["user"], line["kind"]))
    if not lines:
        raise UsageError("nobody asked for a plan", cure="give --units and --weeks of 1 or more")
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / LOG).write_text(text, encoding="utf-8")
    created = [line for line in lines if line["kind"] == "plan.created"]
    return Written(
        log=str(folder / LOG),
        lines=len(lines),
        plans=len(created),
        households=len({line["user"] for line in created}),
        first_at=created[0]["ts"],
        last_at=lines[-1]["ts"],
    )


class _Logger:
    """Answers by the heuristic and writes the application's log."""

    def __init__(self, lines: list[Line]) -> None:
        self._lines = lines
        self._users: dict[str, str] = {}  # plan id -> household

    def decide(self, *, key: str, unit_id: str, request: Request, at: datetime) -> Served:  # noqa: ARG002 - the application's log has no keys
        answer = heuristic(request, seed=0).answer
        plan_id = f"{unit_id[:8]}/{request['week_start']}"  # an id such as applications make them: no uuid
        self._users[plan_id] = unit_id
        self._write("app.opened", at - timedelta(seconds=30), unit_id)
        plan = {"plan_id": plan_id, "week": request["week_start"], "plan": _meals(answer["entries"])}
        self._write("plan.created", at, unit_id, **plan)
        return Served(decision_id=plan_id, answer=answer, context={"decision_id": plan_id})

    def emit(
        self,
        *,
        event_id: str,  # noqa: ARG002 - the application's log has none
        event_type: str,
        context: Mapping[str, str],
        at: datetime,
        payload: Mapping[str, Any],
    ) -> None:
        plan_id = context["decision_id"]
        for kind, more in _LINES.get(event_type, _unlogged)(payload):
            self._write(kind, at, self._users[plan_id], plan_id=plan_id, **more)

    def _write(self, kind: str, at: datetime, user: str, **more: Any) -> None:
        ts = at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        self._lines.append({"ts": ts, "user": user, "kind": kind, **more, "synthetic": True})


Said = Iterator[tuple[str, Line]]


def _unlogged(payload: Mapping[str, Any]) -> Said:  # noqa: ARG001 - as all of `_LINES` are called
    """Edits: this application logs only plans, before and after."""
    return iter(())


def _accepted(payload: Mapping[str, Any]) -> Said:
    plan = {"plan": _meals(payload["entries"])}
    if payload["accepted_by"] == "user_unaided":
        yield "plan.own", plan
    else:
        yield "plan.confirmed", {"by": "person" if payload["accepted_by"] == "user" else "nobody", **plan}


def _rejected(payload: Mapping[str, Any]) -> Said:
    yield (
        "plan.dismissed",
        {
            "why": payload["reason_code"],
            "then": "own plan" if payload["next"] == "manual" else "nothing",
        },
    )


def _cooked(payload: Mapping[str, Any]) -> Said:
    yield "week.done", {name: [_place(meal) for meal in payload[name]] for name in ("cooked", "skipped")}


_LINES: Mapping[str, Callable[[Mapping[str, Any]], Said]] = {
    "plan_accepted": _accepted,
    "plan_rejected": _rejected,
    "meals_cooked": _cooked,
}


def _meals(entries: Sequence[Mapping[str, Any]]) -> list[Line]:
    return [{**_place(entry), "people": entry["servings"]} for entry in entries]


def _place(entry: Mapping[str, Any]) -> Line:
    return {"weekday": WEEKDAYS[entry["day"]], "recipe": entry["recipe_id"]}


def _check_tables(conn: Conn) -> None:
    if not tables.exist(conn):
        raise UsageError("the planner's tables are not there", cure="bakeoff db migrate makes them")
    if tables.have_households(conn):
        raise UsageError("the planner's tables already hold households", cure="use a fresh database for another life")


# ---- the command -----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m planner.town.history``: prints one JSON object. Exits 2 for wrong use, 4 without a server."""
    given = _parser().parse_args(arguments)
    try:
        written = _write(given)
    except BakeoffError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps(asdict(written)))
    return 0


def _write(given: argparse.Namespace) -> Written:
    try:
        conn = psycopg.connect(given.dsn, row_factory=dict_row)
    except psycopg.OperationalError as error:
        raise Unreachable(f"PostgreSQL does not answer: {error}", cure="give a --dsn that does") from error
    with conn:
        return write_history(
            conn, given.folder, seed=given.seed, units=given.units, weeks=given.weeks, ends_on=given.ends_on
        )


def _parser() -> argparse.ArgumentParser:
    today = datetime.now(UTC).date()
    sunday = today - timedelta(days=today.weekday() + 1)
    parser = argparse.ArgumentParser(prog="python -m planner.town.history", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where app.jsonl goes")
    parser.add_argument("--dsn", required=True, help="a database in which `bakeoff db migrate` was run")
    parser.add_argument("--units", type=int, default=40, help="households (default 40)")
    parser.add_argument("--weeks", type=int, default=12, help="weeks (default 12; a year has 52)")
    parser.add_argument("--seed", type=int, default=1, help="of the town (default 1)")
    parser.add_argument(
        "--ends-on", type=date.fromisoformat, default=sunday, help="last day of the last week (default: last Sunday)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
