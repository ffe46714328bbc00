"""A process that serves: its decisions, its events, and how it ends."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

import rows
import shop
import toy
from bakeoff.adapters.postgres import Pool
from bakeoff.errors import Refused, Unreachable, UsageError
from bakeoff.events import bulk
from bakeoff.events import store as events
from bakeoff.experiments import store as experiments
from bakeoff.serving.model import Stopping
from bakeoff.serving.service import Service
from bakeoff.task import PythonAnswer, Request, RequestKey, Served

NOW = rows.at(1)
ASKED = {"likes": "coffee", "day": 1}
NOBODY: Any = None  # python policies need no engines


@pytest.fixture
def pool(dsn: str) -> Iterator[Pool]:
    found = Pool(dsn, "exp", size=4, patience_s=30)
    yield found
    found.close()


class Told:
    """What a service counted."""

    def __init__(self) -> None:
        self.all: Counter[tuple[str, ...]] = Counter()

    def __call__(self, name: str, labels: Mapping[str, str]) -> None:
        self.all[(name, *labels.values())] += 1


class Tables(toy.ToyTask):
    """Builds requests from a table of the application."""

    def requests(self, conn: Any, keys: Any) -> list[Request | None]:
        found = conn.execute("select likes from public.shoppers where unit_id = %s", (keys[0].unit_id,)).fetchone()
        return [None if found is None else {"likes": found["likes"], "day": int(keys[0].need_id)}]


@contextmanager
def serving(
    pool: Pool, *, now: Callable[[], datetime] = lambda: NOW, task: Any = None, **how: Any
) -> Iterator[Service]:
    service = Service(pool, NOBODY, lambda _: task or toy.ToyTask(), clock=now, **{"poll_s": 0.05, **how})
    service.start()
    yield service
    service.stop(5)


def ask(service: Service, key: str = "k", unit: str = "u", **how: Any) -> Served:
    return service.decide(shop.POLICY, key=key, unit_id=unit, **{"request": ASKED, **how})


def logged(pool: Pool, served: Served) -> dict[str, Any]:
    with pool.transaction() as conn:
        row = events.find_decision(conn, served.decision_id)
    assert row is not None
    return row


def count(pool: Pool, what: str = "events") -> int:
    with pool.transaction() as conn:
        row = conn.execute(f"select count(*) as n from {what}".encode()).fetchone()
    return int(row["n"]) if row else -1


# ---- decisions ----


def test_an_answer_is_durable_and_a_retry_gets_it_again(pool: Pool) -> None:
    shop.open_shop(pool, "good")
    told = Told()
    with serving(pool, on_count=told) as service:
        first = ask(service)
        assert first.answer == {"drink": "coffee"}
        assert ask(service) == first
    row = logged(pool, first)
    assert (row["occurred_at"], row["received_at"]) == (NOW, NOW)
    assert count(pool) == 1
    assert told.all[("decisions", shop.POLICY, "2", "2", "none")] == 1
    assert told.all[("answered_again", shop.POLICY)] == 1


def test_two_processes_that_are_asked_the_same_give_one_answer(dsn: str, pool: Pool) -> None:
    shop.open_shop(pool, "racing", module=__name__)
    other = Pool(dsn, "exp", size=2, patience_s=30)
    found: list[Served] = []
    with serving(pool) as one, serving(other) as two:
        threads = [threading.Thread(target=lambda s=s: found.append(ask(s, deadline_s=60))) for s in (one, two)]  # type: ignore[misc]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    other.close()
    assert len(raced) == 2, "both ran the policy"
    assert found[0] == found[1]
    assert count(pool) == 1


start_line = threading.Barrier(2, timeout=60)
raced: list[str] = []


def racing(request: Request, *, seed: int) -> PythonAnswer:
    start_line.wait()
    raced.append(toy.DRINKS[len(raced) % 2])
    return PythonAnswer(answer={"drink": raced[-1]})


def test_the_task_builds_the_request_from_keys_and_a_retry_is_known_by_them(pool: Pool) -> None:
    """The application's tables have moved on when the retry comes; it is the same decision."""
    shop.open_shop(pool, "good")
    with pool.transaction() as conn:
        conn.execute("create table public.shoppers (unit_id text primary key, likes text)")
        conn.execute("insert into public.shoppers values ('u', 'tea')")
    need = RequestKey(unit_id="u", need_id="3", as_of=NOW)
    with serving(pool, task=Tables()) as service:
        first = ask(service, request=None, need=need)
        assert logged(pool, first)["request"] == {"likes": "tea", "day": 3}
        with pool.transaction() as conn:
            conn.execute("update public.shoppers set likes = 'coffee'")
        assert ask(service, request=None, need=need) == first
        with pytest.raises(UsageError, match="used for another request"):
            ask(service, request=None, need=RequestKey(unit_id="u", need_id="4", as_of=NOW))
        with pytest.raises(UsageError, match="cannot build the request of unit v, need 3"):
            ask(service, "l", "v", request=None, need=RequestKey(unit_id="v", need_id="3", as_of=NOW))
        with pool.transaction() as conn:
            conn.execute("drop table public.shoppers")
        with pytest.raises(Refused, match="failed to build the request of unit u.*UndefinedTable"):
            ask(service, "l", request=None, need=need)
    assert count(pool) == 1


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"request": None}, "without a request"),
        ({"need": RequestKey(unit_id="u", need_id="1", as_of=NOW)}, "with a request and with keys"),
        ({"request": None, "need": RequestKey(unit_id="v", need_id="1", as_of=NOW)}, "in the name of unit 'u'"),
        ({"at": NOW - timedelta(minutes=11)}, "leave the moment out"),
        ({"at": NOW + timedelta(minutes=11)}, "leave the moment out"),
        ({"at": NOW.replace(tzinfo=None)}, "has no time zone"),
        ({"deadline_s": 0}, "a deadline of 0 seconds"),
    ],
)
def test_what_is_asked_wrongly_is_refused_and_nothing_is_written(pool: Pool, how: dict[str, Any], message: str) -> None:
    shop.open_shop(pool, "good")
    with serving(pool) as service, pytest.raises(UsageError, match=message):
        ask(service, **how)
    assert count(pool) == 0


def test_a_retry_may_come_an_hour_later_with_its_own_moment(pool: Pool) -> None:
    shop.open_shop(pool, "good")
    moments = [NOW]
    with serving(pool, now=lambda: moments[-1]) as service:
        first = ask(service, at=NOW)
        moments.append(NOW + timedelta(hours=1))
        assert ask(service, at=NOW) == first


def test_no_transaction_is_open_while_a_policy_thinks(pool: Pool, dsn: str) -> None:
    shop.open_shop(pool, "watching", module=__name__)
    watched.append(dsn)
    with serving(pool, poll_s=60) as service:
        ask(service)
    assert seen
    assert set(seen) == {"idle"}


watched: list[str] = []
seen: list[str] = []


def watching(request: Request, *, seed: int) -> PythonAnswer:
    import psycopg

    with psycopg.connect(watched[-1], autocommit=True) as other:
        seen.extend(
            state
            for (state,) in other.execute(
                "select state from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
                "and backend_type = 'client backend'"
            )
        )
    return PythonAnswer(answer={"drink": "tea"})


def test_a_decision_costs_three_round_trips(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is one that a customer waits for; an exposure, once per unit, costs the three of a transaction more."""
    trial = shop.Trial(pool)
    (inside,), (outside,) = trial.units("treated", 1000, 1), trial.units(None, 1000, 1)
    sent: list[Any] = []
    execute, begin = psycopg.Cursor.execute, psycopg.Transaction.__enter__

    def counted(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        sent.append(query)
        return execute(self, query, *args, **kwargs)

    def begun(self: Any) -> Any:
        sent.extend(("begin", "commit"))
        return begin(self)

    with serving(pool, poll_s=60) as service:
        monkeypatch.setattr(psycopg.Cursor, "execute", counted)
        monkeypatch.setattr(psycopg.Transaction, "__enter__", begun)
        for unit, trips in ((outside, 3), (inside, 6), (inside, 3)):
            sent.clear()
            ask(service, str(uuid.uuid4()), unit)
            assert len(sent) == trips, sent
        monkeypatch.undo()


def test_the_exposure_is_written_with_the_decision_once(pool: Pool) -> None:
    trial = shop.Trial(pool)
    (unit,) = trial.units("treated", 1000, 1)
    with serving(pool) as service:
        for key in ("a", "b"):
            assert ask(service, key, unit).context["variant_id"] == trial.treated
    with pool.transaction() as conn:
        (met,) = experiments.exposures(conn, trial.ident)
    assert (met.unit_id, met.variant_id, met.occurred_at) == (unit, trial.treated, NOW)


# ---- the end ----


def test_stopping_takes_nothing_new_and_waits_for_what_runs(pool: Pool) -> None:
    shop.open_shop(pool, "slow", module=__name__)
    found: list[Served] = []
    service = Service(pool, NOBODY, lambda _: toy.ToyTask(), clock=lambda: NOW)
    service.start()
    thread = threading.Thread(target=lambda: found.append(ask(service, deadline_s=60)))
    thread.start()
    assert thinking.wait(60)
    threading.Timer(0.3, enough.set).start()  # while it stops
    service.stop(60)
    thread.join(60)
    assert len(found) == 1, "what was running has its answer when stop returns"
    assert not service.readiness().ready
    with pytest.raises(Stopping):
        ask(service, "later")
    with pytest.raises(Stopping):
        service.log("toy", [])


thinking, enough = threading.Event(), threading.Event()


def slow(request: Request, *, seed: int) -> PythonAnswer:
    thinking.set()
    assert enough.wait(60)
    return PythonAnswer(answer={"drink": "tea"})


def test_readiness_names_who_serves_and_what_is_missing(pool: Pool) -> None:
    shop.open_shop(pool, "absent", module=__name__)
    with serving(pool) as service:
        found = service.readiness()
        assert found.database
        assert not found.ready, "the incumbent cannot answer here"
        (policy,) = found.policies
        assert {version.name: version.roles for version in policy.versions} == {
            "toy_policy/2": ("incumbent",),
            "toy_policy/1": ("last resort",),
        }
        assert [text.partition(":")[0] for text in found.missing] == ["toy_policy/2"]
        assert ask(service).answer == {"drink": "tea"}, "and yet nobody goes without"


def test_a_service_without_a_database_says_so(tmp_path: Any) -> None:
    gone = Pool(f"postgresql://nobody@/gone?host={tmp_path}", "exp", patience_s=0.2)
    service = Service(gone, NOBODY, lambda _: toy.ToyTask(), clock=lambda: NOW)
    with pytest.raises(Unreachable, match="PostgreSQL does not answer"):
        service.start()
    found = service.readiness()
    assert not found.ready
    assert not found.database
    assert "Unreachable" in found.missing[0]
    began = time.monotonic()
    with pytest.raises(Unreachable):
        ask(service, deadline_s=0.5)
    assert time.monotonic() - began < 20
    gone.close()


# ---- events ----


def accepted(served: Served, unit: str = "u", **change: Any) -> dict[str, Any]:
    row = {
        "event_id": str(uuid.uuid4()),
        "event_type": "accepted",
        "unit_id": unit,
        "decision_id": served.decision_id,
        "occurred_at": (NOW + timedelta(minutes=1)).isoformat(),
        "payload": {"accepted_by": "user", "drink": "coffee"},
        "context": dict(served.context),
    }
    return row | change


@pytest.fixture(params=[0, 100], ids=["staged", "few"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few events and many take different ways into the log."""
    monkeypatch.setattr(bulk, "FEW", request.param)


def test_each_event_gets_a_receipt_in_its_order_and_the_good_ones_stay(pool: Pool, either_way: None) -> None:
    shop.open_shop(pool, "good")
    told = Told()
    with serving(pool, on_count=told) as service:
        served = ask(service)
        good, other = accepted(served), accepted(served)
        batch = [
            good,
            accepted(served, payload={"accepted_by": "user"}),
            good,
            good | {"payload": {"accepted_by": "user", "drink": "tea"}},
            accepted(served, unit="v"),
            {"event_type": "offered", "event_id": "x"},
            "no object",
            other,
        ]
        receipts = service.log("toy", batch)  # type: ignore[list-item]
        assert [each.status for each in receipts] == [
            "stored", "refused", "known", "refused", "refused", "refused", "refused", "stored",
        ]  # fmt: skip
        assert [each.event_id for each in receipts] == [
            good["event_id"], batch[1]["event_id"], good["event_id"], good["event_id"], batch[4]["event_id"], "x", "",
            other["event_id"],
        ]  # fmt: skip
        reasons = [each.reason.partition(":")[0] for each in receipts if each.reason]
        assert reasons == [
            "missing field", "other content under the same id", "the context of another decision", "a decision",
            "not an object",
        ]  # fmt: skip
        assert receipts[1].cure == "accepted needs accepted_by, drink; it may have nothing else"
        assert {each.status for each in service.log("toy", [good, other])} == {"known"}
    assert count(pool) == 3
    assert told.all[("events", "toy", "stored")] == 2
    assert told.all[("events", "toy", "known")] == 3


def test_texts_come_back_as_they_were_sent(pool: Pool, either_way: None) -> None:
    """Whatever COPY or JSON would have to escape; and it is the same event when it is sent again."""
    shop.open_shop(pool, "good")
    said = 'tab\t line\n return\r back\\slash \\n \\N "quoted" {"a": 1} \u2028 caf\u00e9 \U0001f375'
    payload = {"accepted_by": "user", "drink": said, "big": 12345678901234567890, "tiny": 1e-7, "none": None}
    with serving(pool) as service:
        served = ask(service, unit="unit\\t\t1")
        row = accepted(served, "unit\\t\t1", payload=payload)
        assert [each.status for each in service.log("toy", [row])] == ["stored"]
        assert [each.status for each in service.log("toy", [row])] == ["known"]
    with pool.transaction() as conn:
        (kept,) = events.outcomes_of(conn, served.decision_id)
    assert kept["payload"] == payload
    assert kept["unit_id"] == "unit\\t\t1"


def test_events_that_happen_now_count_in_experiments(pool: Pool, either_way: None) -> None:
    """History (origin 'backfill') is left out of tests; what a service takes is no history."""
    shop.open_shop(pool, "good")
    with serving(pool) as service:
        served = ask(service)
        service.log("toy", [accepted(served)])
    with pool.transaction() as conn:
        (row,) = events.outcomes_of(conn, served.decision_id)
    assert (row["origin"], row["received_at"]) == ("live", NOW)


@pytest.mark.parametrize("began", [False, True], ids=["not begun", "not there"])
def test_a_test_that_began_after_the_last_look_is_known_to_its_events(pool: Pool, began: bool) -> None:
    trial = None if began else shop.Trial(pool, begins=False)
    with serving(pool, poll_s=60) as service:
        service.log("toy", [{"event_type": "accepted"}])  # reads what is there now
        trial = trial or shop.Trial(pool, begins=False)
        trial.begin()
        (unit,) = trial.units("treated", 1000, 1)
        served = ask(service, "t", unit)
        assert served.context["experiment_id"] == trial.ident
        (receipt,) = service.log("toy", [accepted(served, unit)])
        assert receipt.status == "stored"


def test_no_rows_are_no_events(pool: Pool) -> None:
    with serving(pool) as service:
        assert service.log("toy", []) == []
