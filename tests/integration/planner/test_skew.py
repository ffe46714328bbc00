"""`lifecycle.check_skew` on the planner: stored requests against what its tables said at the time."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bakeoff import lifecycle
from bakeoff.adapters.postgres import Connection
from bakeoff.inference.model import PolicySpec
from bakeoff.lifecycle import Deps
from bakeoff.task import Request, Served
from bakeoff.world import Decide
from planner.task import PlannerTask
from planner.town.application import Application
from planner.town.world import Town
from planner_town import ENDS_ON
from stages import Clock

POLICY = "planner_policy"
WEEKS, UNITS = 2, 8
EVER = {"since": datetime(2024, 1, 1, tzinfo=UTC), "until": datetime(2026, 1, 1, tzinfo=UTC)}


@pytest.fixture
def served(deps: Deps, conn: Connection, clock: Clock) -> int:
    """A town whose application keeps its tables and asks bakeoff for its plans; how many it asked for."""
    task, asked = PlannerTask(), []
    function = "planner.policies:heuristic"
    spec = PolicySpec(task="planner", engine="python", prompt_version="1", function=function, function_version="1")
    clock.now = datetime(2024, 12, 1, tzinfo=UTC)
    version = lifecycle.create_policy(deps, POLICY, spec)
    lifecycle.adopt(deps, version, signed_by="Ada", reason="it serves already")

    def decide(*, key: str, unit_id: str, request: Request, at: datetime) -> Served:
        clock.now = at
        asked.append(key)
        return lifecycle.decide(deps, task, POLICY, key=key, unit_id=unit_id, request=request, at=at)

    def emit(
        *, event_id: str, event_type: str, context: Mapping[str, str], at: datetime, payload: Mapping[str, Any]
    ) -> None:
        pass

    application = Application(conn, Town(seed=2, units=UNITS, weeks=WEEKS, ends_on=ENDS_ON))
    application.open()
    serving: Decide = decide
    for week in range(WEEKS):
        application.live(week, serving, emit)
    conn.commit()
    return len(asked)


def test_an_application_that_keeps_its_history_has_no_skew(deps: Deps, served: int) -> None:
    report = lifecycle.check_skew(deps, PlannerTask(), **EVER)
    assert (report.compared, report.equal, report.not_rebuilt) == (served, served, 0)
    assert not report.skewed and report.examples == ()


def test_tables_that_forget_are_found_out_and_the_place_is_named(deps: Deps, conn: Connection, served: int) -> None:
    """What an application without a history does: the past looks like today."""
    conn.execute("delete from planner.plans_history where built_by = 'unaided'")
    conn.commit()
    report = lifecycle.check_skew(deps, PlannerTask(), **EVER)
    assert report.skewed and report.equal < served
    assert {"previous_plan", "previous_plan.accepted"} & set(report.differing)
    assert all(path.split(".")[0] in ("previous_plan", "history") for path in report.differing)
    assert report.examples[0].key.startswith("unit ")


def test_what_the_tables_never_knew_is_not_rebuilt(deps: Deps, conn: Connection, served: int) -> None:
    conn.execute("delete from planner.asks")
    conn.commit()
    report = lifecycle.check_skew(deps, PlannerTask(), **EVER)
    assert (report.compared, report.not_rebuilt) == (0, served) and not report.skewed


def test_a_sample_is_the_same_every_time_and_stays_inside_the_window(deps: Deps, served: int) -> None:
    monday = datetime(2025, 1, 6, tzinfo=UTC)
    week = {"since": monday, "until": monday + timedelta(days=7)}
    assert 0 < lifecycle.check_skew(deps, PlannerTask(), **week).compared < served
    some = [lifecycle.check_skew(deps, PlannerTask(), **EVER, sample=3) for _ in range(2)]
    assert some[0] == some[1] and some[0].compared == 3


def test_requests_of_another_version_are_not_compared(deps: Deps, served: int) -> None:
    class Next(PlannerTask):
        request_version = "2"

    assert lifecycle.check_skew(deps, Next(), **EVER).compared == 0
