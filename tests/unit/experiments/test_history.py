"""What the log's weeks say about a unit, before any test."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

import toy
from bakeoff.experiments.history import Past, read
from bakeoff.task import Episode, LoggedEvent, Role

START = datetime(2025, 1, 6, tzinfo=UTC)
UNTIL = START + timedelta(days=28)


def episode(unit: str, day: float, *, accepted: bool) -> Episode:
    at = START + timedelta(days=day)
    ids = {"experiment_id": "e", "variant_id": "v", "policy_version_id": "p"}

    def event(role: Role, payload: Mapping[str, object]) -> LoggedEvent:
        return LoggedEvent(
            event_id=f"{unit}{day}{role}", event_type=role.value, role=role, unit_id=unit, decision_id=f"{unit}{day}",
            occurred_at=at, served_policy_version_id="p", payload=payload, **ids,
        )  # fmt: skip

    said = (event(Role.ACCEPT, {"accepted_by": "user"}),) if accepted else ()
    return Episode(
        need_id=str(day), unit_id=unit, request={}, request_digest="sha256:r",
        decisions=(event(Role.DECISION, {}),), outcomes=said,
    )  # fmt: skip


def past(*episodes: Episode) -> Past | None:
    task = toy.ToyTask()
    return read(task, task.outcome_metrics, episodes, until=UNTIL)


def test_means_and_spread_are_per_unit_however_many_needs_it_had() -> None:
    found = past(*(episode("often", day, accepted=day < 2) for day in (1, 2, 3, 4)), episode("once", 1, accepted=True))
    assert found is not None
    [history] = found.histories
    assert (history.metric, history.units, found.needs) == ("accepted", 2, 5)
    assert history.mean == pytest.approx((0.25 + 1) / 2)
    assert history.sd == pytest.approx(abs(0.25 - 1) / 2**0.5)


def test_a_need_that_has_not_matured_counts_for_nothing() -> None:
    fresh = (UNTIL - START) / timedelta(days=1) - 2
    assert past(episode("a", fresh, accepted=True), episode("b", fresh, accepted=True)) is None
    found = past(episode("a", 1, accepted=True), episode("b", 2, accepted=True), episode("a", fresh, accepted=False))
    assert found is not None
    assert (found.needs, found.histories[0].mean) == (2, 1.0)


def test_one_unit_says_nothing_about_the_spread() -> None:
    found = past(episode("a", 1, accepted=True))
    assert found is not None
    assert found.histories == ()


def test_units_that_come_in_the_second_half_are_the_new_ones() -> None:
    old = [episode(f"old-{n}", day, accepted=True) for n in range(4) for day in (0, 20)]
    new = [episode(f"new-{n}", 15, accepted=True) for n in range(3)]
    found = past(*old, *new)
    assert found is not None
    assert found.histories[0].new_units_per_week == pytest.approx(3 / (10 / 7))
    short = past(episode("a", 0, accepted=True), episode("b", 3, accepted=True))
    assert short is not None
    assert short.histories[0].new_units_per_week == 0.0
