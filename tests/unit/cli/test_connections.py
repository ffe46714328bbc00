"""What each connection says, and that asking leaves nothing behind."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from bakeoff.cli import connections
from bakeoff.settings import Settings

NOWHERE = "postgresql://nobody@127.0.0.1:9/nothing"
ME = "Basic bWU6aHVzaEBodXNo"  # me:hush@hush


class Answers(BaseHTTPRequestHandler):
    """``/mlflow/version`` as MLflow says it, at ``/closed`` for people that log in, else a page."""

    def do_GET(self) -> None:
        closed = self.path.startswith("/closed") and self.headers["Authorization"] != ME
        self.send_response(401 if closed else 200)
        self.end_headers()
        version = self.path in ("/mlflow/version", "/closed/version")
        self.wfile.write(b"3.17.2" if version else b"<html>welcome</html>")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def http() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def database(dsn: str, schema: str = "exp") -> connections.Found:
    return connections.database(Settings(database_url=dsn, schema=schema))


def test_a_server_says_its_version_and_what_is_in_the_schema(dsn: str) -> None:
    found = database(dsn)
    assert found.fine
    assert "PostgreSQL 1" in found.says
    assert "tables already" in found.says
    empty = database(dsn, "fresh")
    assert (empty.fine, "bakeoff db migrate will fill" in empty.says) == (True, True)
    with psycopg.connect(dsn) as conn:
        assert conn.execute("select count(*) from pg_namespace where nspname = 'fresh'").fetchone() == (0,)


@pytest.mark.parametrize("schema", ["exp", "fresh"])
def test_somebody_without_rights_is_told_what_to_ask_for(dsn: str, schema: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("create role bakeoff_guest login")
        try:
            found = database(dsn.replace("postgres@", "bakeoff_guest@"), schema)
            assert not found.fine
            assert "bakeoff_guest may not make tables" in found.says
            assert found.cure is not None
            grant = found.cure.partition("grant ")[2]
            admin.execute(sql.SQL("grant {}").format(sql.SQL(grant)))
            assert database(dsn.replace("postgres@", "bakeoff_guest@"), schema).fine
        finally:
            admin.execute("drop owned by bakeoff_guest")
            admin.execute("drop role bakeoff_guest")


def test_no_server_and_no_dsn_are_told_apart() -> None:
    away = database(NOWHERE)
    assert not away.fine
    assert "DSN" in str(away.cure)
    assert not database("postgresql://host:port:more/x").fine


@pytest.mark.parametrize(
    ("dsn", "secret"),
    [("postgresql://me:pw@h/d", True), ("host=h password=pw", True), ("postgresql://me@h/d", False), (None, False)],
)
def test_a_password_in_a_dsn_is_seen(dsn: str | None, secret: bool) -> None:
    assert connections.has_password(dsn) is secret


def test_mlflow_answers_as_itself_or_not(http: str) -> None:
    def says(uri: str) -> connections.Found:
        return connections.mlflow(Settings(mlflow_tracking_uri=uri))

    assert says(f"{http}/mlflow").says == f"MLflow 3.17.2 at {http}/mlflow"
    assert "not as MLflow does" in says(http).says
    assert "MLFLOW_TRACKING_USERNAME" in str(says(f"{http}/closed").cure)
    away = says("http://127.0.0.1:9")
    assert (away.fine, "refused" in away.says) == (False, True)
    assert not says(NOWHERE).fine


@pytest.mark.parametrize("login", ["me:hush@hush", "me:hush%40hush"])
def test_a_secret_in_an_address_is_used_and_not_shown(http: str, login: str) -> None:
    secret = http.replace("http://", f"http://{login}@")
    found = connections.mlflow(Settings(mlflow_tracking_uri=f"{secret}/closed"))
    assert (found.fine, found.says) == (True, f"MLflow 3.17.2 at {http}/closed")


def test_the_login_that_mlflow_reads_opens_the_server(http: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    assert not connections.mlflow(Settings(mlflow_tracking_uri=f"{http}/closed")).fine
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hush@hush")
    assert connections.mlflow(Settings(mlflow_tracking_uri=f"{http}/closed")).fine


def test_mlflow_in_a_database_or_a_file(dsn: str, tmp_path: Path) -> None:
    assert connections.mlflow(Settings(mlflow_tracking_uri=dsn)).fine
    assert connections.mlflow(Settings(mlflow_tracking_uri=f"sqlite:///{tmp_path}/m.db")).fine
    assert connections.mlflow(Settings()).fine
    assert not connections.mlflow(Settings(database_url=dsn)).fine


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_folder_is_made_written_and_left_as_it_was(tmp_path: Path, scheme: str) -> None:
    assert connections.datasets(f"{scheme}{tmp_path}/a/b").fine
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    found = connections.datasets(f"{scheme}{tmp_path}/file")
    assert (found.fine, found.cure) == (False, "choose a folder that you may write to: --datasets FOLDER")


def test_an_unknown_kind_of_storage_says_so() -> None:
    assert not connections.datasets("nosuch://bucket/x").fine
