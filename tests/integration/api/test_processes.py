"""`bakeoff serve` as a person starts it: what it says, how it ends, and clients that outlive it."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import stages
from answering import REQUEST, Caller, Process, application, hang_up, process, serving
from bakeoff.access.model import KeyRole
from bakeoff.bootstrap import open_deps, utc_now
from bakeoff.client import AsyncClient, Client, RateLimited, Rejected, Retry, Unavailable
from bakeoff.lifecycle import Deps
from bakeoff.settings import ServeSettings, Settings


def wait_until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 90
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


PATIENT = Retry(tries=1000, first_s=0.05, longest_s=0.2, patience_s=120)


@pytest.fixture(scope="module")
def shop(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deps]:
    """As the other modules', by the real clock: a process of its own has no other."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), database_url=module_dsn, threads=1)
    with open_deps(settings, progress=stages.Silent(), clock=utc_now) as deps:
        stages.open_shop(deps, "good")
        yield deps


@pytest.fixture(scope="module")
def server(
    shop: Deps, module_dsn: str, held: dict[KeyRole, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    with process(module_dsn, tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(autouse=True)
def no_call_is_left_open() -> Iterator[None]:
    yield
    hang_up()


def test_a_client_asks_says_what_people_did_and_gets_receipts(server: Process, held: dict[KeyRole, str]) -> None:
    with Client(server.url, held["application"]) as client:
        served = client.decide(stages.POLICY, unit_id="u", request=REQUEST, key="u/1")
        assert served.answer == {"drink": "coffee"}
        assert client.decide(stages.POLICY, unit_id="u", request=REQUEST, key="u/1") == served
        payload = {"accepted_by": "user", "drink": "coffee"}
        receipt = client.log("toy", "accepted", unit_id="u", context=served.context, payload=payload, event_id="mine")
        assert receipt.status == "stored"
        events = [{"event_type": "accepted", "unit_id": "u", "context": served.context, "payload": payload},
                  {"event_type": "thrown", "unit_id": "u", "context": served.context}]  # fmt: skip
        first, second = client.log_many("toy", events)
        assert (first.status, second.status) == ("stored", "refused")
        assert second.reason is not None
        assert client.log_many("toy", []) == []


def test_the_client_to_await_is_the_same(server: Process, held: dict[KeyRole, str]) -> None:
    async def story() -> None:
        async with AsyncClient(server.url, held["application"]) as client:
            asked = [client.decide(stages.POLICY, unit_id=f"a{n}", request=REQUEST, key=f"a{n}") for n in range(8)]
            answers = await asyncio.gather(*asked)
            assert len({served.decision_id for served in answers}) == 8
            context = answers[0].context
            said = await client.log("toy", "rejected", unit_id="a0", context=context, event_id="no")
            assert said.status == "stored"
            again = {"event_type": "rejected", "unit_id": "a0", "context": context, "event_id": "no-2"}
            assert [each.status for each in await client.log_many("toy", [again])] == ["stored"]

    asyncio.run(story())


def test_a_refusal_speaks_in_the_words_of_the_problem(server: Process, held: dict[KeyRole, str]) -> None:
    with Client(server.url, held["application"]) as client:
        with pytest.raises(Rejected, match="no policy|cannot serve") as refused:
            client.decide("none", unit_id="u", request=REQUEST)
        assert (refused.value.status, refused.value.type) == (404, "not-found")
        assert refused.value.cure is not None
        assert refused.value.instance is not None
        client.decide(stages.POLICY, unit_id="u", request=REQUEST, key="twice")
        with pytest.raises(Rejected, match="was used for another request"):
            client.decide(stages.POLICY, unit_id="other", request=REQUEST, key="twice")
    with Client(server.url, held["viewer"]) as viewer, pytest.raises(Rejected) as forbidden:
        viewer.decide(stages.POLICY, unit_id="u", request=REQUEST)
    assert forbidden.value.status == 403


def test_where_nobody_listens_the_client_gives_up_and_says_so(held: dict[KeyRole, str]) -> None:
    quick = Retry(tries=3, first_s=0.001)
    with (
        Client("http://127.0.0.1:9", held["application"], retry=quick) as client,
        pytest.raises(Unavailable, match="did not answer in 3 tries") as away,
    ):
        client.decide(stages.POLICY, unit_id="u", request=REQUEST)
    assert away.value.status is None


def test_a_limited_key_waits_as_it_is_told_and_then_gives_up(shop: Deps, held: dict[KeyRole, str]) -> None:
    with (
        serving(application(shop, ServeSettings(requests_per_second=0.01, burst=1))) as url,
        Client(url, held["application"], retry=Retry(tries=2, longest_s=0.1)) as client,
    ):
        client.decide(stages.POLICY, unit_id="u", request=REQUEST, key="u/1")
        with pytest.raises(RateLimited, match="may ask 0.01 times in a second"):
            client.decide(stages.POLICY, unit_id="u", request=REQUEST, key="u/1")


def test_a_server_that_is_killed_and_started_again_loses_and_doubles_nothing(
    shop: Deps, module_dsn: str, held: dict[KeyRole, str], tmp_path: Path
) -> None:
    """Every request is answered in the end, by the same keys, and has one event."""
    first = Process(module_dsn, tmp_path)
    answered: dict[str, str] = {}
    stop = threading.Event()

    def ask(name: str) -> None:
        with Client(first.url, held["application"], retry=PATIENT) as client:
            n = 0
            while not stop.is_set():
                key, n = f"{name}/{n}", n + 1
                answered[key] = client.decide(stages.POLICY, unit_id=name, request=REQUEST, key=key).decision_id

    threads = [threading.Thread(target=ask, args=(f"k{n}",)) for n in range(3)]
    try:
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answered) > 30)
        first.kill()
        before = len(answered)
        second = Process(module_dsn, tmp_path, "--port", first.port)
        wait_until(lambda: len(answered) > before + 30)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
        first.end()
    assert second.end() == 0, second.logged()
    with shop.db.transaction() as conn:
        rows = conn.execute("select decision_id, count(*) as n from events where unit_id ~ '^k' group by 1").fetchall()
    assert {row["n"] for row in rows} == {1}
    assert {str(row["decision_id"]) for row in rows} >= set(answered.values())
    assert len(set(answered.values())) == len(answered)


def test_replicas_need_nothing_of_each_other(shop: Deps, server: Process, held: dict[KeyRole, str]) -> None:
    with serving(application(shop)) as other:
        callers = [Caller(url, held["application"]) for url in (server.url, other)]
        answers = [[caller.decide(f"r{n}", unit=f"r{n}").json() for caller in callers] for n in range(5)]
        assert all(one == two for one, two in answers)


def test_it_ends_when_what_is_running_has_its_answer(
    shop: Deps, module_dsn: str, held: dict[KeyRole, str], tmp_path: Path
) -> None:
    started = Process(module_dsn, tmp_path)
    codes: list[int] = []

    def ask() -> None:
        caller = Caller(started.url, held["application"])
        for n in itertools.count():
            try:
                codes.append(caller.decide(f"end{n}", unit=f"end{n}").status_code)
            except Exception:  # it listens no more
                return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        wait_until(lambda: len(codes) > 10)
    finally:
        code = started.end()
    assert code == 0
    thread.join(60)
    assert set(codes) == {200}
    assert "Traceback" not in started.logged()


def test_several_workers_share_a_port_and_their_numbers(
    shop: Deps, module_dsn: str, held: dict[KeyRole, str], tmp_path: Path
) -> None:
    with process(module_dsn, tmp_path, "--workers", "2") as started:
        assert started.said["workers"] == 2
        for n in range(12):
            assert Caller(started.url, held["application"]).decide(f"w{n}", unit=f"w{n}").status_code == 200
            hang_up()  # a new connection may meet the other process
        text = Caller(started.url, held["viewer"]).get("/metrics").text
        hang_up()
        assert started.end() == 0, started.logged()
    counted = 'bakeoff_decisions_total{fallback="none",policy="toy_policy",served="1",version="1"} 12.0'
    assert counted in text, text


def test_what_it_says_of_an_open_door_and_of_a_missing_key(dsn: str, tmp_path: Path) -> None:
    with process(dsn, tmp_path, "--host", "0.0.0.0") as started:
        told = started.logged()
        assert Caller(started.url).get("/healthz").json() == {"status": "alive"}
    assert "put TLS in front" in told
    assert "bakeoff keys create --role application" in told


def test_a_port_that_is_taken_is_no_traceback(server: Process, module_dsn: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="cannot listen on 127.0.0.1 port") as said:
        Process(module_dsn, tmp_path, "--port", server.port)
    assert "Traceback" not in str(said.value)
