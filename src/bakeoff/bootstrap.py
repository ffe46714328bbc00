"""The only place that wires `Deps`: settings in, ports out. Heavy parts are opened when they are first used."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, cast

from bakeoff import plugins
from bakeoff.adapters import embedded, postgres
from bakeoff.adapters.engines import EnginesByKind
from bakeoff.adapters.remote.connection import Endpoint
from bakeoff.adapters.replay_workers import ReplayWorkers
from bakeoff.errors import Unreachable, UsageError
from bakeoff.fingerprint import digest
from bakeoff.gates.load import read_gate
from bakeoff.gates.model import Gate
from bakeoff.inference.model import Engines, ModelRef
from bakeoff.lifecycle import Deps, Progress
from bakeoff.registry.model import ModelRegistry
from bakeoff.settings import Settings, endpoint_key, find_file
from bakeoff.settings import endpoint as find_endpoint
from bakeoff.training.run import Base
from bakeoff.training.tracker import Tracker
from bakeoff.training.tuning.model import Studies


def utc_now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def open_deps(
    settings: Settings, *, progress: Progress, clock: Callable[[], datetime] = utc_now, migrate: bool = True
) -> Iterator[Deps]:
    """Ports for one command. Starts the embedded PostgreSQL where no other is named, and migrates it."""
    settings.home.mkdir(parents=True, exist_ok=True)
    server = settings.database_url or embedded.start(settings.home.resolve() / "postgres")
    dsn = settings.database_url or embedded.ensure_database(server, "bakeoff")
    db = postgres.Database(dsn, settings.schema_name)
    if migrate and settings.database_url is None:
        with db.transaction() as conn:
            postgres.migrate(conn, settings.schema_name, plugins.migration_folders())
    late = _Late(settings, server)
    engines = cast(Engines, _Proxy(lambda: late.engines))
    try:
        yield Deps(
            db=db,
            tracker=cast(Tracker, _Proxy(lambda: late.mlflow.tracker)),
            models=cast(ModelRegistry, _Proxy(lambda: late.mlflow.registry)),
            engines=engines,
            workers=ReplayWorkers(
                engines=engines, elsewhere=partial(engines_elsewhere, settings, server), cores=_cores
            ),
            bases=_Bases(settings.models, alias_files(settings)),
            datasets_root=settings.datasets,
            work=settings.home.resolve() / "work",
            reports=settings.home.resolve() / "reports",
            gate_in_force=partial(gate_in_force, settings),
            clock=clock,
            progress=progress,
            threads=settings.threads or _cores(),
            provenance=provenance,
        )
    finally:
        late.close()
        db.close()


def engines_elsewhere(settings: Settings, server: str) -> Engines:
    """Engines for a process of a replay: whoever calls this in another process needs nothing else of this one."""
    return _Late(settings, server).engines


def studies(deps: Deps) -> Studies:
    """Where hyperparameter studies are kept: beside our tables. Raises UsageError where optuna is not installed."""
    try:
        from bakeoff.adapters.optuna_study import OptunaStudies
    except ImportError as error:
        raise UsageError(f"tuning needs optuna: {error}", cure="pip install 'bakeoff[tune]'") from error
    db = cast(postgres.Database, deps.db)
    return OptunaStudies(db.dsn, db.schema)


def tracking_uri(settings: Settings, server: str) -> str:
    """MLflow's address: the one in the settings, or a database of its own on the embedded server."""
    if settings.mlflow_tracking_uri:
        return settings.mlflow_tracking_uri
    if settings.database_url is not None:
        raise Unreachable(
            "BAKEOFF_DATABASE_URL names your PostgreSQL, but MLFLOW_TRACKING_URI names no MLflow",
            cure="set MLFLOW_TRACKING_URI, for instance to http://localhost:5000",
        )
    return embedded.ensure_database(server, embedded.MLFLOW_DATABASE)


def gate_in_force(settings: Settings, task_name: str) -> Gate | None:
    """The rules that a task's versions are judged by now: the settings' file, else the task's own. Raises UsageError
    where the task is not installed or the file cannot be read."""
    file = settings.gates.get(task_name) or plugins.load_task(task_name).gate_file
    return None if file is None else read_gate(file)


def dtype(settings: Settings) -> str:
    """'bfloat16' or 'float32': what local models compute in on this machine."""
    from bakeoff.adapters.generation.hardware import pick_dtype

    return str(pick_dtype(override=None if settings.dtype == "auto" else settings.dtype))


def endpoint(settings: Settings, name: str) -> Endpoint:
    """The server that policies call `name`, with its key. Raises UsageError where it is not in the settings, or its
    key is not set."""
    found = find_endpoint(settings, name)
    return Endpoint(
        name=name,
        base_url=found.base_url,
        key=endpoint_key(name, found),
        key_variable=found.key_variable,
        timeout_s=found.timeout_s,
        retries=found.retries,
        requests_per_minute=found.requests_per_minute,
        max_tokens_field=found.max_tokens_field,
    )


def alias_files(settings: Settings) -> tuple[Path, ...]:
    """Where people name base models of their own: in the home folder, and beside ``bakeoff.toml``, which wins."""
    beside = find_file()
    return (settings.home / "aliases.toml", *(() if beside is None else (beside.with_name("aliases.toml"),)))


@cache
def provenance() -> Mapping[str, str]:
    """Tags that say which code and which library versions run. Reads what is installed, a quarter of a second, so
    once per process."""
    commit = "unknown"
    with suppress(OSError, subprocess.CalledProcessError):
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
        commit = found.stdout.strip()
    installed = sorted({f"{dist.metadata['Name']}=={dist.version}" for dist in distributions()})
    return MappingProxyType({"git_commit": commit, "lock_digest": digest(installed)})


class _Late:
    """What costs seconds to open, opened once."""

    def __init__(self, settings: Settings, server: str) -> None:
        self.settings = settings
        self.server = server

    @cached_property
    def mlflow(self) -> Any:
        from bakeoff.adapters import tracking

        uri = tracking_uri(self.settings, self.server)
        # A server knows where its artefacts go; a bare database does not.
        artifacts = None if uri.startswith("http") else str(self.settings.home.resolve() / "artifacts")
        return tracking.connect(uri, artifacts)

    @cached_property
    def engines(self) -> EnginesByKind:
        return EnginesByKind({"transformers": self._local_engines, "openai": self._remote_engines})

    def _local_engines(self) -> Engines:
        from bakeoff.adapters.generation.transformers_engine import TransformersEngines

        bases = _Bases(self.settings.models, alias_files(self.settings))
        return TransformersEngines(
            base=lambda name: bases.resolve(name).path,
            adapter=self.adapter_folder,
            threads=self.settings.threads or _cores(),
        )

    def _remote_engines(self) -> Engines:
        from bakeoff.adapters.remote.engine import OpenAIEngines

        return OpenAIEngines(lambda name: endpoint(self.settings, name))

    def adapter_folder(self, model: ModelRef) -> Path:
        """Where an adapter lies: a folder as it is, a ``models:/`` URI from the cache or the registry. Whoever
        loads it compares its digest with the one that was judged."""
        place = model.adapter or ""
        if not place.startswith("models:/"):
            return Path(place)
        name, _, version = place.removeprefix("models:/").partition("/")
        cached = self.settings.home.resolve() / "adapters" / f"{name}-{version}"
        if not cached.is_dir():
            cached.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".part-", dir=cached.parent) as part:
                whole = self.mlflow.registry.download(name, version, Path(part) / cached.name)
                try:
                    whole.rename(cached)
                except OSError:  # another process of this machine was faster, with the same
                    if not cached.is_dir():
                        raise
        return cached / "adapter"

    def close(self) -> None:
        if "engines" in self.__dict__:
            self.engines.close()
        if "mlflow" in self.__dict__:
            self.mlflow.close()


class _Bases:
    def __init__(self, cache: Path, own_aliases: tuple[Path, ...] = ()) -> None:
        self.cache, self.own_aliases = cache, own_aliases

    def resolve(self, name: str) -> Base:
        from bakeoff.adapters.generation.weights import resolve_base

        return cast(Base, resolve_base(name, self.cache, own_aliases=self.own_aliases))


class _Proxy:
    """Stands for a port until its first use."""

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._opened = opened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened(), name)


def _cores() -> int:
    from bakeoff.adapters.generation.hardware import usable_cores

    return usable_cores()
