"""ExperimentSpec from JSON or TOML values; closed: an unknown key is an error."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from bakeoff.errors import UsageError
from bakeoff.experiments.model import Budget, Counterweight, ExperimentSpec, Guardrail, Threshold

_CLOSED = ConfigDict(extra="forbid", allow_inf_nan=False)
_LISTS: Mapping[str, type[Any]] = {
    "guardrails": Guardrail,
    "budgets": Budget,
    "thresholds": Threshold,
    "counterweights": Counterweight,
}
for _closed in (*_LISTS.values(), ExperimentSpec):
    with_config(_CLOSED)(_closed)


def parse_spec(body: Mapping[str, Any], *, source: str = "experiment spec") -> ExperimentSpec:
    """Reads a spec from parsed JSON or TOML. Raises UsageError naming `source`, each wrong key and what to type."""
    try:
        return TypeAdapter(ExperimentSpec).validate_python(dict(body))
    except ValidationError as error:
        raise UsageError(f"{source}: {'; '.join(_told(dict(item)) for item in error.errors())}") from error


def read_spec(path: Path) -> ExperimentSpec:
    """Reads a spec from a TOML file. Raises UsageError."""
    try:
        return parse_spec(tomllib.loads(path.read_text(encoding="utf-8")), source=str(path))
    except OSError as error:
        raise UsageError(f"experiment spec {path} cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def _told(item: Mapping[str, Any]) -> str:
    """One thing that is wrong: its key, what is, what was expected."""
    place: Sequence[str | int] = item["loc"]
    key, kind, given = ".".join(str(part) for part in place), item["type"], item.get("input")
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = [
            field.name for field in fields(_LISTS.get(str(place[0]), ExperimentSpec) if place[1:] else ExperimentSpec)
        ]
        close = get_close_matches(str(place[-1]), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        return f"{key} is no key of a spec; {hint}"
    if kind in ("missing", "missing_argument"):
        return f"{key} is missing: add {place[-1]} = ..."
    if kind == "literal_error":
        return f"{key} = {given!r}; expected {item['ctx']['expected']}"
    if not key:
        return str(item["msg"])
    return f"{key} = {given!r}; {item['msg'][:1].lower()}{item['msg'][1:]}"
