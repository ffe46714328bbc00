"""The only reader of the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bakeoff.errors import UsageError


class Settings(BaseModel):
    """Where things are. Every field is the environment variable ``BAKEOFF_<FIELD>``, but for
    ``MLFLOW_TRACKING_URI``, which keeps the name that MLflow gives it."""

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

    @property
    def datasets(self) -> str:
        return self.datasets_root or str(self.home.resolve() / "datasets")

    @property
    def models(self) -> Path:
        return (self.model_cache or self.home / "models").resolve()


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment. Raises UsageError that names the variable."""
    environ = os.environ if environ is None else environ
    values = {}
    for name, field in Settings.model_fields.items():
        key = field.alias or name
        variable = "MLFLOW_TRACKING_URI" if name == "mlflow_tracking_uri" else f"BAKEOFF_{key.upper()}"
        if environ.get(variable):
            values[key] = environ[variable]
    try:
        return Settings(**values)  # type: ignore[arg-type]  # pydantic turns the texts into values
    except ValidationError as error:
        first = error.errors()[0]
        variable = f"BAKEOFF_{str(first['loc'][0]).upper()}"
        raise UsageError(f"{variable} is {first['input']!r}: {first['msg']}") from error
