"""The only reader of the environment and of the settings file ``bakeoff.toml``."""

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bakeoff.errors import UsageError

FILE_NAME = "bakeoff.toml"
_PLACES = ("home", "model_cache", "datasets_root")  # paths, which a file means relative to itself


class ModelPrice(BaseModel):
    """What a served model costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float = Field(ge=0, description="per million prompt tokens")
    completion: float = Field(ge=0, description="per million completion tokens")
    currency: str = "EUR"


class EndpointSettings(BaseModel):
    """An OpenAI-compatible server: the table ``[endpoints.NAME]``. Policies know it by its name only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(description="for instance http://localhost:8000/v1")
    key_variable: str | None = Field(default=None, description="environment variable with the API key; unset: no key")
    timeout_s: float = Field(default=120.0, gt=0, description="seconds for one answer, its retries included")
    retries: int = Field(default=3, ge=0, le=20, description="of one request that failed for a reason that may pass")
    requests_per_minute: float | None = Field(default=None, gt=0, description="of one process; unset: no limit")
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="how the server calls the limit of an answer's length"
    )
    prices: Mapping[str, ModelPrice] = Field(default={}, description="by model, for policies that are made from now on")

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^@\s]+", value):
            raise ValueError("expected for instance http://localhost:8000/v1, and no login in it")
        return value


class ServeSettings(BaseModel):
    """How `bakeoff serve` answers: the table ``[serve]``. Limits are those of one process (a replica)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(default=16, ge=1, le=256, description="requests that are worked on at once")
    connections: int = Field(default=10, ge=1, le=100, description="to PostgreSQL, of one process")
    waiting: int = Field(default=128, ge=0, description="requests that may wait for a thread; more are sent away (503)")
    deadline_s: float = Field(default=10.0, gt=0, le=600, description="seconds for one decision")
    poll_s: float = Field(default=3.0, gt=0, le=60, description="seconds between looks at what serves now")
    drain_s: float = Field(default=30.0, ge=0, description="seconds that running requests have when it ends")
    body_bytes: int = Field(default=2_097_152, ge=1024, description="of one request's body")
    body_s: float = Field(default=10.0, gt=0, le=600, description="seconds in which a body has to come")
    header_bytes: int = Field(default=16_384, ge=1024, le=65_536, description="of one request's headers together")
    batch_events: int = Field(default=1000, ge=1, le=10_000, description="events in one batch")
    requests_per_second: float = Field(default=100.0, gt=0, description="of one key, in the long run")
    burst: int = Field(default=200, ge=1, description="requests of one key at once, after a pause")
    cost_limits: Mapping[str, Annotated[float, Field(gt=0)]] = Field(
        default={}, description="by policy: the most that one answer may cost, in the currency of its declared price"
    )


EndpointName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Settings(BaseModel):
    """Where things are. Every field is the environment variable ``BAKEOFF_<FIELD>``, but for
    ``MLFLOW_TRACKING_URI``, which keeps the name that MLflow gives it; and the key ``<field>`` of ``bakeoff.toml``.
    The environment wins over the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default=Path(".bakeoff"), description="folder for everything that needs no server")
    database_url: str | None = Field(default=None, description="DSN of your PostgreSQL; unset: the embedded one")
    schema_name: str = Field(
        default="exp",
        alias="schema",
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="schema of bakeoff's tables, in lower case",
    )
    mlflow_tracking_uri: str | None = Field(default=None, description="your MLflow; unset: local, on the embedded one")
    datasets_root: str | None = Field(default=None, description="folder or s3:// for datasets; unset: {home}/datasets")
    model_cache: Path | None = Field(default=None, description="converted base models; unset: {home}/models")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="numerics of local models")
    threads: int | None = Field(default=None, ge=1, description="threads of a local model; unset: all cores")
    endpoints: Mapping[EndpointName, EndpointSettings] = Field(
        default={}, description="OpenAI-compatible servers by name; in the environment as JSON"
    )

    serve: ServeSettings = Field(
        default=ServeSettings(), description="limits of the HTTP API; in the environment as JSON"
    )
    gates: Mapping[str, Path] = Field(
        default={}, description="gate file in force by task, instead of the task's own; in the environment as JSON"
    )

    @field_validator("endpoints", "gates", "serve", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @property
    def datasets(self) -> str:
        return self.datasets_root or str(self.home.resolve() / "datasets")

    @property
    def models(self) -> Path:
        return (self.model_cache or self.home / "models").resolve()


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where settings come from; as text, a sentence for people."""

    file: Path | None  # the bakeoff.toml that was read
    in_file: tuple[str, ...]  # its keys that count
    variables: tuple[str, ...]  # environment variables that are set; they win over the file
    overruled: tuple[str, ...]  # keys of the file that a variable overrules

    def __str__(self) -> str:
        parts = []
        if self.file is not None:
            parts.append(f"{self.file} ({', '.join(self.in_file) or 'nothing that counts'})")
        if self.variables:
            parts.append(f"the environment ({', '.join(self.variables)})")
        said = " and ".join(parts) or f"defaults only: no {FILE_NAME} here or above, no variable is set"
        overruled = f"; the environment overrules {', '.join(self.overruled)} of the file" if self.overruled else ""
        return said + overruled


def load(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Settings from the environment, then from the nearest ``bakeoff.toml`` in `folder` or above it (None: the
    working directory). Paths in the file are relative to the file. Raises UsageError that names the variable, or
    the file and its key."""
    environ = os.environ if environ is None else environ
    file = find_file(folder)
    filed = {} if file is None else read_file(file)
    return _settings({**filed, **_set_variables(environ)}, lambda key: _source(key, environ, file))


def combined(file: Path, values: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """What `load` would say if `file` held `values`: for checks before it is written. Raises UsageError."""
    environ = os.environ if environ is None else environ
    filed = _checked(file, values)
    return _settings({**filed, **_set_variables(environ)}, lambda key: _source(key, environ, file))


def origin(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Origin:
    """Where `load` would take its values from. Raises UsageError where the file cannot be read."""
    environ = os.environ if environ is None else environ
    file = find_file(folder)
    keys = [] if file is None else list(parse_file(file))
    own = _set_variables(environ)
    return Origin(
        file=file,
        in_file=tuple(key for key in keys if key not in own),
        variables=tuple(variable(key) for key in _keys() if key in own),
        overruled=tuple(key for key in keys if key in own),
    )


def variable(key: str) -> str:
    """'schema' -> 'BAKEOFF_SCHEMA'."""
    return "MLFLOW_TRACKING_URI" if key == "mlflow_tracking_uri" else f"BAKEOFF_{key.upper()}"


def from_environment(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """Keys that the environment sets."""
    return frozenset(_set_variables(os.environ if environ is None else environ))


def tracking_login(environ: Mapping[str, str] | None = None) -> str | None:
    """'user:password' of the MLflow server, from the variables that MLflow itself reads; None where one is not set."""
    environ = os.environ if environ is None else environ
    user, password = environ.get("MLFLOW_TRACKING_USERNAME"), environ.get("MLFLOW_TRACKING_PASSWORD")
    return f"{user}:{password}" if user and password else None


def endpoint(settings: Settings, name: str) -> EndpointSettings:
    """The server called `name`. Raises UsageError with the lines that would make it known."""
    if name not in settings.endpoints:
        known = ", ".join(sorted(settings.endpoints)) or "none yet"
        raise UsageError(
            f"no endpoint {name!r} in the settings; known: {known}",
            cure=f'add to {FILE_NAME}:\n    [endpoints.{name}]\n    base_url = "http://localhost:8000/v1"\n'
            '    key_variable = "MY_KEY"    # only where the server asks for a key',
        )
    return settings.endpoints[name]


def endpoint_key(name: str, found: EndpointSettings, environ: Mapping[str, str] | None = None) -> str | None:
    """The API key of an endpoint; None where it needs none. Raises UsageError that names the variable."""
    environ = os.environ if environ is None else environ
    if found.key_variable is None:
        return None
    if not environ.get(found.key_variable):
        raise UsageError(
            f"endpoint {name!r} takes its key from the variable {found.key_variable}, which is not set",
            cure=f"export {found.key_variable}=...",
        )
    return environ[found.key_variable]


def find_file(folder: Path | None = None) -> Path | None:
    """The nearest ``bakeoff.toml`` in `folder` or above it."""
    start = (folder or Path.cwd()).resolve()
    return next((path for each in (start, *start.parents) if _is_file(path := each / FILE_NAME)), None)


def _is_file(path: Path) -> bool:
    """False also where a folder above may not be looked into."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_file(file: Path) -> dict[str, Any]:
    """Values of a settings file, checked; its paths made absolute. Raises UsageError."""
    return _checked(file, parse_file(file))


def _checked(file: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    values = {"home": ".bakeoff", **given}
    checked = _settings(values, lambda key: f"{key} in {file}")  # the file's own mistakes first
    placed = {key: _placed(file.parent, value) if key in _PLACES else value for key, value in values.items()}
    if checked.gates:
        placed["gates"] = {task: _placed(file.parent, path) for task, path in checked.gates.items()}
    return placed


def parse_file(file: Path) -> dict[str, Any]:
    """Keys and values of a settings file as they are written. Raises UsageError, also for an unknown key."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {error}", cure='a line is for instance: schema = "exp"') from error
    known = _keys()
    for key in values:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            raise UsageError(
                f"{file} has a setting {key!r} that nobody knows" + (f"; did you mean {close[0]!r}?" if close else ""),
                cure=f"known: {', '.join(known)}",
            )
    return values


def _placed(folder: Path, value: Any) -> str:
    """A path of a file in `folder`; a URL (s3://) as it is."""
    return str(value) if "://" in str(value) else str(folder / Path(str(value)).expanduser())


def _keys() -> list[str]:
    return [field.alias or name for name, field in Settings.model_fields.items()]


def _set_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Keys whose variable is set to something."""
    return {key: environ[variable(key)] for key in _keys() if environ.get(variable(key))}


def _source(key: str, environ: Mapping[str, str], file: Path | None) -> str:
    """'schema' or 'endpoints.local.retries', and where it was said."""
    top, _, within = key.partition(".")
    if environ.get(variable(top)) or file is None:
        return variable(top) + (f" ({within})" if within else "")
    return f"{key} in {file}"


def _settings(values: Mapping[str, Any], source: Callable[[str], str]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = source(".".join(str(part) for part in first["loc"]))
        if first["type"] == "missing":
            raise UsageError(f"{where} is missing") from error
        if first["type"] == "extra_forbidden":
            raise UsageError(f"{where} is a setting that nobody knows") from error
        given = re.sub(r"//[^/@]*@", "//...@", repr(first["input"]))  # a login stays out of logs
        raise UsageError(f"{where} is {given}: {first['msg'].removeprefix('Value error, ')}") from error
