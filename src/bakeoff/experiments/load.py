"""ExperimentSpec from JSON or TOML values; closed: an unknown key is an error."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from bakeoff.errors import UsageError
from bakeoff.experiments.model import Budget, ExperimentSpec, Guardrail, Threshold

_CLOSED = ConfigDict(extra="forbid", allow_inf_nan=False)
for _closed in (Guardrail, Budget, Threshold, ExperimentSpec):
    with_config(_CLOSED)(_closed)


def parse_spec(body: Mapping[str, Any], *, source: str = "experiment spec") -> ExperimentSpec:
    """Reads a spec from parsed JSON or TOML. Raises UsageError naming `source` and each wrong key."""
    try:
        return TypeAdapter(ExperimentSpec).validate_python(dict(body))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'spec'}: {item['msg']}" for item in error.errors()
        )
        raise UsageError(f"{source}: {wrong}") from error


def read_spec(path: Path) -> ExperimentSpec:
    """Reads a spec from a TOML file. Raises UsageError."""
    try:
        return parse_spec(tomllib.loads(path.read_text(encoding="utf-8")), source=str(path))
    except OSError as error:
        raise UsageError(f"experiment spec {path} cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
