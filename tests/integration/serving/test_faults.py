"""What goes wrong while a process serves, and what people see of it: an answer, in time, and an honest log."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

import rows
import shop
import toy
from bakeoff.adapters.postgres import Pool
from bakeoff.errors import Unreachable
from bakeoff.events import store as events
from bakeoff.serving import service as module
from bakeoff.serving.service import Service
from bakeoff.task import PythonAnswer, Request, Served

NOW = rows.at(1)
ASKED = {"likes": "coffee", "day": 1}


@pytest.fixture
def pool(dsn: str) -> Iterator[Pool]:
    found = Pool(dsn, "exp", size=6, patience_s=30)
    yield found
    found.close()


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """Set when the test is over: nothing hangs for longer."""
    event = threading.Event()
    yield event
    event.set()


@contextmanager
def serving(pool: Pool, machine: shop.Machine, **how: Any) -> Iterator[Service]:
    service = Service(pool, machine, lambda _: toy.ToyTask(), clock=lambda: NOW, **{"poll_s": 0.05, **how})
    service.start(load_s=0.2)
    yield service
    service.stop(0.1)


@pytest.fixture
def a_second(monkeypatch: pytest.MonkeyPatch) -> float:
    """Gives the deadline under which a version has one second; all else belongs to the last resort and to writing,
    so that a machine that is busy for a while changes nothing."""
    monkeypatch.setattr(module, "RESERVE", 0.95)
    monkeypatch.setattr(module, "RESERVE_S", 60.0)
    return 20.0


def ask(service: Service, key: str = "k", unit: str = "u", **how: Any) -> Served:
    return service.decide(shop.POLICY, key=key, unit_id=unit, request=ASKED, **how)


def logged(pool: Pool, served: Served) -> dict[str, Any]:
    with pool.transaction() as conn:
        row = events.find_decision(conn, served.decision_id)
    assert row is not None
    return row


def wait_until(true: Callable[[], object], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


# ---- an engine that fails ----


def hangs(event: threading.Event) -> Callable[[float], str]:
    """Does not look at the time that it has."""
    return lambda _: "coffee" if event.wait(60) else "tea"


def test_an_engine_that_hangs_holds_nobody_and_is_asked_no_more_after_some(
    pool: Pool, go_on: threading.Event, a_second: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last resort answers within the deadline; the unit stays in its variant."""
    monkeypatch.setattr(module, "LATE_LIMIT", 2)
    shop.open_with_model(pool, "hanging")
    told: Counter[str] = Counter()

    def count(name: str, labels: Mapping[str, str]) -> None:
        told[labels.get("fallback", name)] += 1

    with serving(pool, shop.Machine(hanging=hangs(go_on)), on_count=count) as service:
        for key in ("a", "b"):
            began = time.monotonic()
            served = ask(service, key, deadline_s=a_second)
            assert time.monotonic() - began < a_second
            row = logged(pool, served)
            assert row["payload"]["fallback_reason"].startswith("late: toy_policy/2 did not stop after ")
            assert row["policy_version_id"] != row["served_policy_version_id"]
        assert service.readiness().late == 2
        began = time.monotonic()
        monkeypatch.setattr(module, "RESERVE", 0.25)
        served = ask(service, "c", deadline_s=50)
        assert time.monotonic() - began < 30, "nobody waits for what hangs"
        assert logged(pool, served)["payload"]["fallback_reason"].startswith("busy: 2 earlier answers")
        go_on.set()
        wait_until(lambda: service.readiness().late == 0)
        assert ask(service, "d").answer == {"drink": "coffee"}, "and when it is well again, it is asked again"
    assert (told["late"], told["busy"], told["none"]) == (4, 1, 1), "two were left behind, and counted as such"


def test_an_engine_that_minds_its_deadline_is_not_left_behind(pool: Pool) -> None:
    """It gets less time than the caller has, so that the last resort can still answer."""
    given: list[float] = []

    def minds(seconds: float) -> str:
        given.append(seconds)
        raise TimeoutError("the deadline passed at a model step")

    shop.open_with_model(pool, "minding")
    with serving(pool, shop.Machine(minding=minds)) as service:
        served = ask(service, deadline_s=8.0)
        assert service.readiness().late == 0
    assert given[0] < 0.9 * 6, "a tenth earlier than it would be left behind, and that is two seconds before the end"
    assert given[0] > 1
    assert logged(pool, served)["payload"]["fallback_reason"] == "TimeoutError: the deadline passed at a model step"


def test_an_engine_that_raises_and_one_that_talks_nonsense_are_answered_for(pool: Pool) -> None:
    says: list[Callable[[float], str]] = [lambda _: sys.exit(1), raises, lambda _: "petrol", lambda _: "tea"]
    shop.open_with_model(pool, "moody")
    with serving(pool, shop.Machine(moody=lambda seconds: says[-1](seconds))) as service:
        reasons = []
        while says:
            row = logged(pool, ask(service, str(len(says))))
            assert row["payload"]["answer"] == {"drink": "tea"}
            reasons.append(row["payload"]["fallback_reason"])
            says.pop()
    assert reasons == [
        None, "the answer could not be repaired", "OSError: the accelerator fell off the bus",
        "RuntimeError: SystemExit: 1",
    ]  # fmt: skip


def raises(_: float) -> str:
    raise OSError("the accelerator fell off the bus")


def test_a_hanging_arm_takes_no_place_of_another(pool: Pool, go_on: threading.Event) -> None:
    """The treated model hangs under load; those who are served by the control notice nothing."""
    trial = shop.Trial(pool, treated="hanging", by_model=True)
    treated, control = trial.units("treated", 1000, 4), trial.units("control", 1000, 20)
    with serving(pool, shop.Machine(hanging=hangs(go_on))) as service:
        stuck = [
            threading.Thread(target=lambda u=unit: ask(service, u, u, deadline_s=60))  # type: ignore[misc]
            for unit in treated
        ]
        for thread in stuck:
            thread.start()
        wait_until(lambda: service.readiness().running == len(stuck))
        for unit in control:
            assert logged(pool, ask(service, unit, unit))["payload"]["fallback_reason"] is None
        assert all(thread.is_alive() for thread in stuck), "they hang all the while"
        go_on.set()
        for thread in stuck:
            thread.join(60)


def test_a_python_policy_that_hangs_is_left_behind_too(pool: Pool, a_second: float) -> None:
    shop.open_shop(pool, "endless", module=__name__)
    with serving(pool, shop.Machine()) as service:
        began = time.monotonic()
        row = logged(pool, ask(service, deadline_s=a_second))
        assert time.monotonic() - began < a_second
        assert row["payload"]["fallback_reason"].startswith("late: toy_policy/2")
        enough.set()
        wait_until(lambda: service.readiness().late == 0)


enough = threading.Event()


def endless(request: Request, *, seed: int) -> PythonAnswer:
    while not enough.is_set():  # busy: it takes its share of the interpreter, and no more
        pass
    return PythonAnswer(answer={"drink": "coffee"})


# ---- a last resort that fails ----


def test_a_slow_last_resort_is_an_error_in_time_and_nothing_is_written(
    pool: Pool, go_on: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleepy(request: Request, *, seed: int) -> PythonAnswer:
        go_on.wait(60)
        return PythonAnswer(answer={"drink": "tea"})

    monkeypatch.setattr(toy, "stubborn", sleepy)
    shop.open_with_model(pool, "raising")
    from bakeoff.inference.python_policy import load_function

    load_function.cache_clear()
    with serving(pool, shop.Machine(raising=raises)) as service:
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"neither toy_policy/2 \(OSError: .*\) nor its last resort toy_policy/1"):
            ask(service, deadline_s=2)
        assert time.monotonic() - began < 30
    load_function.cache_clear()
    with pool.transaction() as conn:
        assert conn.execute("select count(*) as n from events").fetchone() == {"n": 0}


# ---- the cost of an answer ----


def test_an_answer_dearer_than_the_limit_is_cut_off_or_not_asked_for(pool: Pool) -> None:
    """The machine says of itself that it used 1000 + 500 tokens; the cut itself is the engine's (see unit tests)."""
    shop.open_with_model(pool, "dear", per_million_prompt_tokens=1.0)
    told: Counter[str] = Counter()
    for limit, reason in ((0.01, None), (1e-4, None), (1e-6, "cost: 8 words of prompt alone cost more than 1e-06 EUR")):
        how = {"cost_limits": {shop.POLICY: limit}, "on_count": lambda name, _: told.update([name])}
        with serving(pool, shop.Machine(dear=lambda _: "coffee"), **how) as service:
            found = logged(pool, ask(service, str(limit)))["payload"]
            assert (found["fallback_reason"] or "").startswith(reason or "")
            assert bool(found["fallback_reason"]) == bool(reason)
    assert told["over_cost"] == 1


# ---- a new version ----


def test_the_model_of_a_test_is_in_memory_before_the_test_begins(pool: Pool) -> None:
    """So that the first unit that meets it is answered by it."""
    trial = shop.Trial(pool, treated="new", by_model=True, begins=False)
    machine = shop.Machine(new=lambda _: "coffee")
    machine.loads["new"] = lambda: time.sleep(0.3)
    with serving(pool, machine) as service:
        wait_until(lambda: all(version.loaded for version in service.readiness().policies[0].versions))
        names = {version.name: version.roles for version in service.readiness().policies[0].versions}
        assert names["toy_policy/2"] == ("next",)
        trial.begin()
        (unit,) = trial.units("treated", 1000, 1)
        row = logged(pool, ask(service, unit=unit))
    assert row["payload"]["fallback_reason"] is None
    assert row["payload"]["answer"] == {"drink": "coffee"}
    assert machine.opened == ["new"]


def test_a_version_that_nobody_saw_coming_is_loaded_while_its_request_waits(
    pool: Pool, a_second: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = shop.Trial(pool, treated="new", by_model=True, begins=False)
    machine = shop.Machine(new=lambda _: "coffee")
    loading = threading.Event()
    machine.loads["new"] = lambda: loading.wait(60)
    with serving(pool, machine, poll_s=60) as service:
        trial.begin()
        first, second = trial.units("treated", 1000, 2)
        row = logged(pool, ask(service, unit=first, deadline_s=a_second))
        assert row["payload"]["fallback_reason"].startswith("loading: toy_policy/2 was not in memory within ")
        assert row["variant_id"] is not None
        assert str(row["variant_id"]) == trial.treated
        monkeypatch.setattr(module, "RESERVE", 0.25)
        threading.Timer(0.2, loading.set).start()
        row = logged(pool, ask(service, "l", second, deadline_s=60))
        assert row["payload"]["fallback_reason"] is None


def test_a_new_version_that_cannot_be_loaded_is_told_and_takes_no_process_out_of_service(pool: Pool) -> None:
    """Every process would go at once; those who are assigned to it are answered by the last resort."""
    trial = shop.Trial(pool, treated="new", by_model=True, begins=False)
    machine = shop.Machine(new=lambda _: "coffee")
    machine.loads["new"] = lambda: raises(0.0)
    with serving(pool, machine) as service:
        wait_until(lambda: service.readiness().ready)  # it only may begin: nothing that serves is missing
        trial.begin()
        wait_until(lambda: service.readiness().policies[0].versions[-1].serves)
        assert service.readiness().missing == ("toy_policy/2: OSError: the accelerator fell off the bus",)
        wait_until(lambda: service.readiness().ready)
        (unit,) = trial.units("treated", 1000, 1)
        row = logged(pool, ask(service, unit=unit))
        assert row["payload"]["fallback_reason"] == "OSError: the accelerator fell off the bus"
        assert str(row["variant_id"]) == trial.treated


def test_promotion_and_rollback_reach_a_running_process_without_a_failed_request(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load: nobody is refused, nobody is answered by a fallback, and from the commit on every new decision is
    of the version that serves now."""
    monkeypatch.setattr("bakeoff.serving.models.KEEP_S", 0.0)
    trial = shop.Trial(pool, treated="new", by_model=True, begins=False)
    machine = shop.Machine(new=lambda _: "coffee")
    machine.loads["new"] = lambda: time.sleep(0.2)
    stop, wrong, found = threading.Event(), list[Any](), list[tuple[float, Served]]()

    def load(n: int) -> None:
        m = 0
        while not stop.is_set():
            m, began = m + 1, time.monotonic()
            try:
                found.append((began, ask(service, f"{n}/{m}", f"u{n}-{m}")))
            except Exception as error:
                wrong.append(error)

    with serving(pool, machine) as service:
        threads = [threading.Thread(target=load, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        trial.begin()
        time.sleep(0.3)
        trial.promote()
        promoted = time.monotonic()
        wait_until(lambda: len([began for began, _ in found if began > promoted]) > 10)
        shipped = [served for began, served in found if began > promoted]
        trial.roll_back()
        back = time.monotonic()
        wait_until(lambda: len([began for began, _ in found if began > back]) > 10)
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not wrong
    with pool.transaction() as conn:
        reasons = conn.execute("select distinct payload ->> 'fallback_reason' as why from events").fetchall()
    assert [row["why"] for row in reasons] == [None]
    assert {str(served.answer["drink"]) for served in shipped} == {"coffee"}
    assert {str(served.answer["drink"]) for began, served in found if began > back} == {"tea"}


def test_what_served_before_is_freed_when_nobody_needs_it(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bakeoff.serving.models.KEEP_S", 0.0)
    trial = shop.Trial(pool, treated="new", by_model=True)
    machine = shop.Machine(new=lambda _: "coffee")
    with serving(pool, machine) as service:
        assert machine.opened == ["new"]
        with pool.transaction() as conn:
            shop.experiments.end(conn, trial.ident, status="rolled_back", reason="harm", now=NOW)
        wait_until(lambda: machine.released == ["new"])
        (unit,) = trial.units("treated", 1000, 1)
        assert ask(service, unit=unit).answer == {"drink": "tea"}
