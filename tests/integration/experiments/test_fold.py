"""The log of a test becomes one row per need, incrementally, and the same rows whatever order events came in."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rows
import toy
from bakeoff.adapters.postgres import Connection
from bakeoff.events import store as events
from bakeoff.experiments import fold as folding
from bakeoff.experiments import needs, outcomes
from bakeoff.experiments.analyze import analyze, quantiles
from bakeoff.experiments.fold import fold
from bakeoff.experiments.model import Budget, ExperimentSpec, Guardrail
from bakeoff.task import Episode, Metric, Role

SPEC = ExperimentSpec(
    hypothesis="superiority",
    primary="accepted",
    guardrails=(Guardrail(metric="intervention", margin=0.02, direction="lower", kind="ramp"),),
    budgets=(Budget(metric="latency_s", maximum=1.0, statistic="p95"),),
    minimum_units=2,
    horizon_weeks=8,
    unit_weeks=2,
    cuped_weeks=2,
)


class Task(toy.ToyTask):
    """With a metric that is final only after ten days."""

    outcome_metrics = (
        *toy.ToyTask.outcome_metrics,
        Metric(
            name="praised", unit="share", direction="higher", low=0.0, high=1.0, meaning="said so within ten days",
            matures_hours=240.0,
        ),
    )  # fmt: skip

    def outcome(self, episode: Episode) -> dict[str, float | None]:
        praised = any(event.role is Role.KEPT for event in episode.outcomes)
        return {"accepted": float(episode.accepted()), "praised": float(praised)}


TASK = Task()
NAMES = [metric.name for metric in needs.metrics(TASK)]


class Log:
    """A test that began on day 10, with units exposed as they decide."""

    def __init__(self, conn: Connection) -> None:
        self.conn, self.shop = conn, rows.Shop(conn)
        self.shop.begin(conn, 10)
        conn.execute("update experiments set status = 'running', started_at = %s where experiment_id = %s",
                     (rows.at(10), self.shop.test))  # fmt: skip

    def context(self, arm: str) -> dict[str, str]:
        if arm == "default":
            return self.shop.context()
        variant, version = getattr(self.shop, arm), self.shop.first if arm == "control" else self.shop.second
        return {"experiment_id": self.shop.test, "variant_id": variant, "policy_version_id": version}

    def expose(self, unit: str, arm: str, day: float, **other: Any) -> None:
        row = {"phase": 1, "bucket": 3, "assignment_probability": 0.1, "hash_version": "hv1", **other}
        rows.insert(self.conn, "exposures", unit_id=unit, occurred_at=rows.at(day), **self.context(arm), **row)

    def decide(self, unit: str, arm: str, day: float, need: str = "n", **other: Any) -> str:
        payload = {"violations": [], "latency_s": 0.5, "cost": 0.01} | other.pop("payload", {})
        at = {"occurred_at": rows.at(day), "received_at": rows.at(other.pop("arrived", day))}
        return rows.event(
            self.conn, role="decision", unit_id=unit, need_id=need, payload=payload, **self.context(arm), **at, **other
        )

    def tell(self, decision: str, unit: str, arm: str, day: float, role: str = "accept", **other: Any) -> str:
        at = {"occurred_at": rows.at(day), "received_at": rows.at(other.pop("arrived", day))}
        said = {"payload": {"accepted_by": "user"}, "event_type": role, "decision_id": decision} | other
        return rows.event(self.conn, role=role, unit_id=unit, **self.context(arm), **at, **said)

    def fold(self, **how: Any) -> None:
        fold(self.conn, TASK, self.shop.test, SPEC, **how)

    def found(self) -> list[dict[str, Any]]:
        return self.conn.execute("select * from need_outcomes order by unit_id, need_id").fetchall()

    def values(self) -> dict[tuple[str, str], dict[str, float | None]]:
        return {
            (row["unit_id"], row["need_id"]): dict(zip(NAMES, row["measured"], strict=True)) for row in self.found()
        }

    def cohort(self, day: float, spec: ExperimentSpec = SPEC, phase_began: float = 10) -> outcomes.Cohort:
        return outcomes.cohort(
            self.conn, self.shop.test, spec, needs.metrics(TASK), now=rows.at(day), phase_began=rows.at(phase_began)
        )


@pytest.fixture
def log(scratch: Connection) -> Log:
    return Log(scratch)


def test_a_need_is_measured_by_what_happened_within_each_metrics_window(log: Log) -> None:
    log.expose("u", "treated", 11)
    one = log.decide("u", "treated", 11, payload={"violations": [{"rule": "r"}]})
    log.tell(one, "u", "treated", 12)
    log.tell(one, "u", "treated", 20, "kept")  # within ten days
    late = log.decide("u", "treated", 12, "later")
    log.tell(late, "u", "treated", 15.1)  # after 72 h
    log.tell(late, "u", "treated", 23, "kept")  # after ten days
    log.fold()
    assert log.values() == {
        ("u", "n"): {
            "accepted": 1.0, "praised": 1.0, "intervention": 1.0, "fallback": 0.0, "latency_s": 0.5, "cost": 0.01,
        },
        ("u", "later"): {
            "accepted": 0.0, "praised": 0.0, "intervention": 0.0, "fallback": 0.0, "latency_s": 0.5, "cost": 0.01,
        },
    }  # fmt: skip


def test_a_late_event_changes_the_need_and_a_repeated_look_changes_nothing(log: Log) -> None:
    log.expose("u", "treated", 11)
    decision = log.decide("u", "treated", 11)
    log.fold()
    assert log.values()["u", "n"]["accepted"] == 0.0
    log.tell(decision, "u", "treated", 12, arrived=19)
    log.fold()
    after = log.found()
    assert log.values()["u", "n"]["accepted"] == 1.0
    log.fold()
    assert log.found() == after


def test_what_was_written_behind_the_watermark_is_found_by_its_count(log: Log) -> None:
    """A transaction that took hours: its stamp of arrival is old when it commits."""
    log.expose("u", "treated", 11)
    log.expose("v", "control", 11)
    first, _ = log.decide("u", "treated", 11), log.decide("v", "control", 14)
    log.fold()
    log.tell(first, "u", "treated", 12, arrived=12)
    log.fold()
    assert log.values()["u", "n"]["accepted"] == 1.0


def test_another_shape_of_the_metrics_is_folded_from_scratch(log: Log) -> None:
    log.expose("u", "treated", 11)
    log.decide("u", "treated", 11)
    log.fold()
    fold(log.conn, toy.ToyTask(), log.shop.test, SPEC)
    assert [len(row["measured"]) for row in log.found()] == [len(NAMES) - 1]
    known = outcomes.fold(log.conn, log.shop.test)
    assert known is not None and "praised" not in known.metrics


def test_only_needs_with_new_events_are_read_again(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(20):
        log.expose(f"u{n}", "treated", 11)
        log.decide(f"u{n}", "treated", 11 + n / 10)
    log.fold()
    read: list[str] = []
    original = folding.measure

    def counting(task: Any) -> Any:
        measured = original(task)

        def one(episode: Episode) -> Any:
            read.append(episode.unit_id)
            return measured(episode)

        return one

    monkeypatch.setattr(folding, "measure", counting)
    log.tell(log.decide("u3", "treated", 14), "u3", "treated", 14.1)
    log.fold()
    assert sorted(set(read)) == ["u19", "u3"], "the newest of last time lies in the overlap"


def test_imported_history_and_what_it_makes_of_a_need_are_left_out(log: Log) -> None:
    log.expose("u", "treated", 11)
    log.decide("u", "treated", 12)
    log.decide("w", "control", 12, origin="backfill")
    log.fold()
    assert set(log.values()) == {("u", "n")}
    log.decide("u", "treated", 11.5, origin="backfill", arrived=13)  # the need's first decision now
    log.fold()
    assert log.values() == {}


def test_units_are_added_up_by_the_server_over_matured_needs_within_their_horizon(log: Log) -> None:
    log.expose("b", "control", 11)
    log.expose("a", "treated", 11)
    log.expose("idle", "treated", 12)
    log.expose("future", "treated", 99)
    for day, need in ((11, "n1"), (18, "n2"), (27, "n3")):  # the third began after two weeks
        log.tell(log.decide("a", "treated", day, need, payload={"latency_s": day / 10}), "a", "treated", day + 1)
    log.decide("b", "control", 11)
    log.fold()
    young, grown = log.cohort(18), log.cohort(60)
    assert grown.treated.tolist() == [True, False, True], "a, b, idle"
    accepted = grown.series["accepted"]
    assert (accepted.sums.tolist(), accepted.needs.tolist()) == ([2.0, 0.0, 0.0], [2, 1, 0])
    assert young.series["accepted"].needs.tolist() == [1, 1, 0]
    assert young.series["latency_s"].sums.tolist() == [1.1 + 1.8, 0.5, 0.0], "known at once"
    assert young.series["praised"].due.tolist() == [0, 0, 0]
    over = grown.series["latency_s over 1"]
    assert (over.sums.tolist(), over.needs.tolist()) == ([2.0, 0.0, 0.0], [2, 1, 0])
    assert log.cohort(60, phase_began=15).fresh.tolist() == [1, 0, 0]


def test_a_value_that_is_missing_counts_as_due_and_as_nothing_else(log: Log) -> None:
    log.expose("u", "treated", 11)
    log.decide("u", "treated", 11, payload={"latency_s": None})
    log.fold()
    series = log.cohort(60).series["latency_s"]
    assert (series.sums.tolist(), series.needs.tolist(), series.due.tolist()) == ([0.0], [0], [1])


def test_quantiles_are_read_from_the_values_of_matured_needs_of_units_in_one_arm(log: Log) -> None:
    for n, (unit, arm) in enumerate((("a", "treated"), ("b", "treated"), ("c", "control"), ("d", "treated"))):
        log.expose(unit, arm, 11)
        for day in (11, 12):
            log.decide(unit, arm, day, f"n{day}", payload={"latency_s": None if unit == "b" else n + day / 10})
    log.decide("d", "control", 12.5, "n12")
    log.decide("a", "treated", 40, "beyond the horizon")
    log.fold()
    found = outcomes.need_values(log.conn, log.shop.test, SPEC, needs.metrics(TASK), "latency_s", now=rows.at(60))
    assert found["treated"].values.tolist() == [1.1, 1.2] and found["control"].values.tolist() == [3.1, 3.2]
    assert len(set(found["treated"].units)) == 1
    (median, high) = quantiles("latency_s", found)
    assert (median.treated, median.control, high.level, high.lower) == (1.1, 3.1, 0.95, None)


def test_who_met_both_arms_is_marked_and_who_has_no_exposure_is_counted(log: Log) -> None:
    for unit in ("u", "v", "w"):
        log.expose(unit, "treated", 11)
    log.decide("u", "treated", 11)
    log.decide("v", "control", 12)  # a need in the other arm
    log.decide("w", "treated", 12)
    log.decide("w", "control", 12.5)  # both in one need
    log.decide("lost", "treated", 12)
    log.fold()
    cohort = log.cohort(60)
    assert cohort.in_two_arms.tolist() == [False, True, True]
    assert cohort.unexposed == 1
    assert cohort.exposed() == {"treated": 1, "control": 0}


def test_test_units_are_left_out_and_counted(log: Log) -> None:
    rows.insert(
        log.conn, "forced_variants", experiment_id=log.shop.test, unit_id="colleague", variant_id=log.shop.treated,
        policy_version_id=log.shop.second, forced_by="Ada", forced_at=rows.at(10),
    )  # fmt: skip
    log.expose("colleague", "treated", 11)  # met it while the row above was written: not marked itself
    log.expose("robot", "control", 11, forced=True)
    log.expose("u", "treated", 11)
    log.fold()
    cohort = log.cohort(60)
    assert (len(cohort.treated), cohort.forced) == (1, 2)


def test_the_weeks_before_are_as_they_were_known_when_the_unit_met_the_test(log: Log) -> None:
    for day, need in ((-4, "too old"), (1, "n1"), (3, "n2"), (10.5, "open")):
        log.tell(log.decide("u", "default", day, need), "u", "default", day + 0.5)
    log.tell(log.decide("u", "default", 5, "told late"), "u", "default", 5.5, arrived=12)
    log.decide("u", "default", 6, "imported later", arrived=12)
    log.expose("u", "treated", 11)
    log.expose("new", "control", 11)
    log.decide("u", "treated", 11)
    log.fold()
    cohort = log.cohort(60)
    accepted, intervention = cohort.series["accepted"], cohort.series["intervention"]
    assert accepted.sums_before is not None and accepted.needs_before is not None
    assert (accepted.sums_before.tolist(), accepted.needs_before.tolist()) == ([0.0, 2.0], [0, 3]), "new, u"
    assert intervention.needs_before is not None and intervention.needs_before.tolist() == [0, 4], "known at once"
    assert cohort.series["latency_s"].sums_before is None, "not compared"
    log.fold(afresh=True)
    again = log.cohort(60).series["accepted"].sums_before
    assert again is not None
    assert again.tolist() == [0.0, 2.0], "what came later is not known of that moment, today neither"


def test_how_much_arrived_and_when(log: Log) -> None:
    assert events.received(log.conn, log.shop.test, before=rows.at(99)) == events.Received(before=0, newest=None)
    log.decide("u", "treated", 11)
    log.decide("v", "treated", 13)
    got = events.received(log.conn, log.shop.test, before=rows.at(13))
    assert got == events.Received(before=1, newest=rows.at(13))


# ---- any order, any batches ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """One event of a random story."""

    unit: int
    need: int
    kind: str  # 'decide', 'again', 'accept', 'late', 'kept'
    hours: float  # after the first decision
    latency: float


STORIES = st.lists(
    st.builds(
        Told,
        unit=st.integers(0, 3),
        need=st.integers(0, 2),
        kind=st.sampled_from(["decide", "again", "accept", "kept", "backfill", "stray"]),
        hours=st.floats(0.1, 300),
        latency=st.floats(0.001, 9),
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda told: (told.unit, told.need, told.kind, told.hours),
)


def write(log: Log, story: Sequence[Told], arrived: Sequence[float], decisions: dict[tuple[int, int], str]) -> None:
    """Some events, each at its own time, arriving at another."""
    for told, at in zip(story, arrived, strict=True):
        unit, arm = f"u{told.unit}", ("treated", "control")[told.unit % 2]
        began = 11 + 3 * told.need + told.unit / 10
        ident = decisions.setdefault((told.unit, told.need), rows.new_id())
        day, name = began + told.hours / 24, f"n{told.need}"
        payload = {"latency_s": told.latency}
        known = log.conn.execute(
            "select 1 from events where decision_id = %s and role = 'decision'", (ident,)
        ).fetchone()
        if told.kind == "decide" and not known:
            log.decide(unit, arm, began, name, arrived=at, event_id=ident, decision_id=ident, payload=payload)
        elif told.kind == "again":
            log.decide(unit, arm, day, name, arrived=at, payload=payload)
        elif told.kind == "stray":
            log.decide(unit, "control", day, name, arrived=at, payload=payload)
        elif told.kind == "backfill":
            log.decide(unit, arm, began - 0.01 + told.hours / 1000, name, arrived=at, origin="backfill")
        elif told.kind in ("accept", "kept"):
            log.tell(ident, unit, arm, day, told.kind, arrived=at)  # perhaps before its decision is there


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(story=STORIES, data=st.data())
def test_folding_bit_by_bit_is_byte_for_byte_folding_at_once(
    scratch: Connection, story: list[Told], data: st.DataObject
) -> None:
    with scratch.transaction(force_rollback=True):
        log = Log(scratch)
        for n in range(4):
            log.expose(f"u{n}", ("treated", "control")[n % 2], 11 + n / 10)
        shuffled = data.draw(st.permutations(story))
        lags = data.draw(st.lists(st.floats(0, 3), min_size=len(story), max_size=len(story)))
        cuts = sorted(data.draw(st.sets(st.integers(0, len(story)), max_size=4)) | {0, len(story)})
        decisions: dict[tuple[int, int], str] = {}
        for step, (start, end) in enumerate(pairwise(cuts)):
            # Some arrive with a stamp from before the last look: they were written late.
            write(log, shuffled[start:end], [30 + step - lag for lag in lags[start:end]], decisions)
            log.fold()
        bit_by_bit, seen = log.found(), looked(log)
        log.fold(afresh=True)
        assert log.found() == bit_by_bit
        assert looked(log) == seen


def looked(log: Log) -> list[str]:
    """What three looks say, as text."""
    return [
        json.dumps(analyze(SPEC, needs.metrics(TASK), log.cohort(day), looked_at=rows.at(day)).to_json())
        for day in (14, 20, 60)
    ]
