"""A real MLflow server that goes away: before, during and after training. Nothing that was learnt is lost, nothing
is doubled, and nothing incomplete can be registered."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import stages
import teachable
import tiny
from bakeoff import lifecycle
from bakeoff.adapters import tracking
from bakeoff.bootstrap import open_deps
from bakeoff.cli.ui import environment
from bakeoff.datasets.model import Dataset
from bakeoff.errors import Refused, Unreachable
from bakeoff.inference.model import Price
from bakeoff.lifecycle import Deps
from bakeoff.settings import Settings
from bakeoff.training import contract, outbox
from bakeoff.training.run import Trained

pytestmark = pytest.mark.slow

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Server:
    """MLflow's own server process over PostgreSQL, with artefacts through it."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        self.uri, self.artifacts, self.port = uri, artifacts, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", HOST, "--port", str(self.port)),
                *("--backend-store-uri", self.uri, "--artifacts-destination", str(self.artifacts)),
            ],
            env=environment(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{self.port}/health", timeout=1):
                return
            time.sleep(0.1)
        raise AssertionError("MLflow's server did not start")

    def stop(self) -> None:
        """The group that this test started: the server and its worker."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Wire:
    """A TCP proxy in front of the server: 'open', 'cut' (connections are closed) or 'hanging' (nothing moves)."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.mode = "open"
        self.listener = socket.create_server((HOST, 0))
        self.port: int = self.listener.getsockname()[1]
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *about: socket.socket) -> None:
        self.threads.append(threading.Thread(target=work, args=about, daemon=True))
        self.threads[-1].start()

    def close(self) -> None:
        self.turn("cut")
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(5)

    def turn(self, mode: str) -> None:
        self.mode = mode
        if mode == "cut":
            for side in (side for pair in self.pairs for side in pair):
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
            self.pairs.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.mode == "cut":
                client.close()
                continue
            try:
                server = socket.create_connection((HOST, self.target))
            except OSError:  # the server is dead
                client.close()
                continue
            self.pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                self._start(self._pump, source, sink)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                while self.mode == "hanging":
                    time.sleep(0.02)
                sink.sendall(data)
        for side in (source, sink):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
        source.close()  # the other direction's thread closes the other one


@pytest.fixture(scope="module")
def server(mlflow_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tracking.with_driver(mlflow_dsn), tmp_path_factory.mktemp("stored"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    made = Wire(server.port)
    yield made
    made.close()


@pytest.fixture
def wired(wire: Wire, dsn: str, tmp_path: Path, clock: stages.Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deps]:
    """Everything as at work, with MLflow behind the wire."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    settings = Settings(
        home=tmp_path / "home", database_url=dsn, mlflow_tracking_uri=f"http://{HOST}:{wire.port}", dtype="float32",
        threads=1,
    )  # fmt: skip
    with open_deps(settings, progress=stages.Silent(), clock=clock) as opened:
        yield opened


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.write_model(tmp_path / "tiny")


Train = Callable[[Callable[[int, int], None]], Trained]


@pytest.fixture
def train(wired: Deps, clock: stages.Clock, base: Path) -> Train:
    """One training of eight steps; the test hears about each."""
    dataset: Dataset = teachable.shop_dataset(wired, clock)
    spec = teachable.spec(wired, dataset, base)

    def run(on_step: Callable[[int, int], None]) -> Trained:
        watched = replace(wired, progress=teachable.Watched(on_step))
        return lifecycle.train(watched, teachable.Teachable(), dataset, spec, price=Price())

    return run


def never(done: int, total: int) -> None:
    raise AssertionError("a step was made")


def assert_complete(wired: Deps, trained: Trained) -> None:
    """Everything is there, once."""
    record = wired.tracker.read_run(trained.run_id)
    assert contract.check(record, trained.requested) == ()
    assert record.tags["complete"] == "true"
    assert record.points["training_loss"] == 8
    assert record.points["learning_rate"] == 8
    assert record.points["validation_loss"] == 3
    assert "report/eval_rows.jsonl" in record.artifacts
    assert lifecycle.register(wired, teachable.Teachable(), trained, "toy_policy").status == "registered"


def test_a_tracker_that_is_away_at_the_start_is_noticed_before_the_first_step(
    wired: Deps, wire: Wire, train: Train
) -> None:
    wire.turn("cut")
    began = time.monotonic()
    with pytest.raises(Unreachable, match="does not answer"):
        train(never)
    assert time.monotonic() - began < 60
    assert list(outbox.folders(wired.work)) == []


def test_a_tracker_that_is_away_in_the_middle_is_not_missed(wired: Deps, wire: Wire, train: Train) -> None:
    """Away from step 2 to step 7: training goes on, and the whole curve is there in the end."""

    def step(done: int, total: int) -> None:
        assert total == 8
        wire.turn("cut" if 2 <= done < 7 else "open")

    assert_complete(wired, train(step))


def test_a_tracker_that_hangs_in_the_middle_holds_nothing_up(
    wired: Deps, wire: Wire, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    moments: list[float] = []

    def step(done: int, total: int) -> None:
        moments.append(time.monotonic())
        wire.turn("hanging" if 2 <= done < 8 else "open")

    trained = train(step)
    assert moments[-1] - moments[0] < 60, "eight steps of a tiny model take a blink, a request may take two minutes"
    assert_complete(wired, trained)


def test_a_server_that_dies_costs_no_training_and_sync_tells_the_next_one(
    wired: Deps, server: Server, train: Train
) -> None:
    """Killed at step 4, started again after the training: the run waits here, cannot be registered, then can."""

    def step(done: int, total: int) -> None:
        if done == 4:
            server.stop()

    with pytest.raises(Unreachable, match="bakeoff runs sync --run-id"):
        train(step)
    with pytest.raises(Unreachable):
        train(never)
    server.start()
    ((folder, started),) = outbox.folders(wired.work)
    assert outbox.state(folder) == "waiting"
    unsent = wired.tracker.read_run(started.run_id)
    with pytest.raises(Refused, match="RUNNING, expected FINISHED"):
        contract.enforce(unsent, {})
    sent = outbox.sync(wired.tracker, folder)
    assert sent.points >= 8
    assert outbox.sync(wired.tracker, folder).points == 0, "once more changes nothing"
    trained = train(never)
    assert (trained.reused, trained.run_id) == (True, started.run_id)
    assert_complete(wired, trained)


def test_a_training_that_fails_while_the_tracker_is_away_is_told_later(wired: Deps, wire: Wire, train: Train) -> None:
    def step(done: int, total: int) -> None:
        wire.turn("cut")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(step)
    wire.turn("open")
    ((folder, started),) = outbox.folders(wired.work)
    assert wired.tracker.read_run(started.run_id).status == "RUNNING"
    assert outbox.sync(wired.tracker, folder).failed
    assert wired.tracker.read_run(started.run_id).status == "FAILED"


def test_a_training_that_was_stopped_goes_on_as_the_same_run(wired: Deps, train: Train) -> None:
    """Stopped at step 5 after checkpoints: no second run, no point twice, and the steps before are not made again."""

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stop)
    ((folder, started),) = outbox.folders(wired.work)
    assert wired.tracker.read_run(started.run_id).status == "FAILED"
    seen: list[int] = []
    trained = train(lambda done, total: seen.append(done))
    assert (trained.run_id, seen[0] > 1, seen[-1]) == (started.run_id, True, 8)
    assert outbox.state(folder) == "synced"
    assert_complete(wired, trained)


def test_a_training_that_was_killed_before_its_first_checkpoint_is_ended_by_the_next(wired: Deps, train: Train) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stop)
    ((folder, killed),) = outbox.folders(wired.work)
    outbox.reopen(folder)  # as kill -9 leaves it
    wired.tracker.resume_run(killed.run_id)
    trained = train(lambda done, total: None)
    assert trained.run_id != killed.run_id
    assert wired.tracker.read_run(killed.run_id).status == "FAILED"


def test_the_same_training_twice_at_once_is_refused(wired: Deps, train: Train) -> None:
    """The second would write into the first one's folder."""

    def again(done: int, total: int) -> None:
        if done == 3:
            with pytest.raises(Refused, match="another process is training the same spec"):
                train(never)

    assert_complete(wired, train(again))
