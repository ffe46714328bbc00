"""A process that serves tells what it holds, so that doctor can compare it with who has traffic."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

import rows
import shop
import stages
import toy
from bakeoff.adapters.postgres import Pool
from bakeoff.experiments import store as experiments
from bakeoff.promotion import replicas
from bakeoff.promotion.plan import make_holdback
from bakeoff.serving.service import Service
from winners import POLICY, Won

NOBODY: Any = None  # python policies need no engines
HELD = make_holdback(stages.TEST, 500)


@pytest.fixture
def pool(dsn: str) -> Iterator[Pool]:
    found = Pool(dsn, "exp", size=4, patience_s=30)
    yield found
    found.close()


def told(pool: Pool) -> list[replicas.Replica]:
    with pool.transaction() as conn:
        return replicas.replicas(conn)


def until(what: Any, seconds: float = 60.0) -> bool:
    ends = time.monotonic() + seconds
    while not what() and time.monotonic() < ends:
        time.sleep(0.02)
    return bool(what())


@pytest.fixture
def service(pool: Pool) -> Iterator[Service]:
    found = Service(pool, NOBODY, lambda _: toy.ToyTask(), clock=lambda: rows.at(1), poll_s=0.05)
    yield found
    with suppress(Exception):
        found.stop(1)


def test_a_process_tells_what_it_holds_at_each_poll_and_goes_when_it_stops(pool: Pool, service: Service) -> None:
    shop.open_shop(pool, "good")
    service.start()
    (one,) = told(pool)
    assert (one.pid, one.seen_at, one.started_at) == (os.getpid(), rows.at(1), rows.at(1))
    with pool.transaction() as conn:
        serving = experiments.incumbent(conn, shop.POLICY)
        assert serving in one.loaded
        assert replicas.gaps([one], {serving: rows.at(0)}, rows.at(1)) == []
    service.stop(1)
    assert told(pool) == []


def test_a_look_that_is_under_way_when_a_process_stops_does_not_tell_of_it_again(
    pool: Pool, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else doctor would miss a process that ended as it should."""
    shop.open_shop(pool, "good")
    looking, go_on, report = threading.Event(), threading.Event(), replicas.report

    def slow(*args: Any, **named: Any) -> None:
        if threading.current_thread().name == "looks who serves":
            looking.set()
            assert go_on.wait(60)
        report(*args, **named)

    monkeypatch.setattr(replicas, "report", slow)
    service.start()
    assert looking.wait(60)
    stopping = threading.Thread(target=service.stop, args=(1,))
    stopping.start()
    stopping.join(0.5)  # as long as it takes to forget a process
    go_on.set()
    stopping.join(60)
    assert service._poller is not None
    service._poller.join(60)
    assert told(pool) == []


def test_both_arms_of_a_holdback_stay_in_memory_after_a_promotion(pool: Pool, service: Service) -> None:
    """The old version is retired, and yet has traffic: it must not be freed."""
    with pool.transaction() as conn:
        won = Won(conn)
        experiments.end(conn, won.test, status="shipped", reason="it won", now=rows.at(0.5))
        won.apply(won.plan(HELD), day=0.9)
        old, new = won.old.policy_version_id, won.new.policy_version_id
        assert experiments.running_holdback(conn, POLICY) is not None
    service.start()
    assert until(lambda: told(pool) and told(pool)[0].loaded == {old, new})
    roles = {each.name: each.roles for each in service.readiness().policies[0].versions}
    assert roles == {"p/1": ("control",), "p/2": ("incumbent", "treated")}


def test_what_cannot_be_loaded_is_not_told_as_held(pool: Pool, service: Service) -> None:
    shop.open_shop(pool, "gone", module="toy")
    service.start()
    (one,) = told(pool)
    with pool.transaction() as conn:
        serving = experiments.incumbent(conn, shop.POLICY)
    assert serving not in one.loaded
    assert [gap.kind for gap in replicas.gaps([one], {serving: rows.at(0)}, rows.at(1))] == ["not_loaded"]
