"""Gate files: TOML text becomes a frozen `Gate`, or an error that says what to type."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from bakeoff.datasets.split import SLICES
from bakeoff.errors import UsageError
from bakeoff.gates.model import SCORE, Absolute, Gate, NonInferior, RowSet, Rule, Shown
from bakeoff.gates.prediction import misplaced


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _NonInferior(_Closed):
    kind: Literal["non_inferior"]
    margin: Annotated[float, Field(gt=0)]
    rows: RowSet = "all"
    not_below: bool = False
    fallback: str | None = None
    maximum_bias: Annotated[float, Field(gt=0)] | None = None


class _Absolute(_Closed):
    kind: Literal["absolute"]
    column: str | None = None
    statistic: Literal["mean", "p95"] = "mean"
    minimum: float | None = None
    maximum: float | None = None
    rows: RowSet = "all"
    wall_clock: bool = False

    @model_validator(mode="after")
    def _has_a_limit(self) -> "_Absolute":
        if self.minimum is None and self.maximum is None:
            raise ValueError("an absolute rule needs `minimum`, `maximum` or both")
        return self


class _Shown(_Closed):
    kind: Literal["shown"]
    rows: RowSet = "all"


class _GateFile(_Closed):
    name: Annotated[str, Field(min_length=1)]
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    minimum_effective_units: Annotated[float, Field(ge=2)] = 30.0
    maximum_missing_share: Annotated[float, Field(ge=0, lt=1)] = 0.02
    slices_per_gate: Annotated[int, Field(ge=1, le=SLICES)] | None = None
    minimum_segment_units: Annotated[float, Field(ge=5)] = 12.0
    stress_requests: Annotated[int, Field(ge=0)] = 3
    metrics: dict[str, Annotated[_NonInferior | _Absolute | _Shown, Field(discriminator="kind")]]
    weights: dict[str, Annotated[float, Field(gt=0)]] = {}

    @model_validator(mode="after")
    def _score_has_weights(self) -> "_GateFile":
        if SCORE in self.metrics and not self.weights:
            raise ValueError(f"a rule about {SCORE} needs a [weights] table")
        return self

    @model_validator(mode="after")
    def _fallbacks_are_checked_predictions(self) -> "_GateFile":
        wrong = misplaced(self.rules())
        if wrong:
            raise ValueError(wrong)
        return self

    def rules(self) -> tuple[Rule, ...]:
        return tuple(_rule(name, rule) for name, rule in self.metrics.items())


def parse_gate(text: str, *, source: str) -> Gate:
    """Reads a gate from TOML `text`. Raises UsageError naming `source` and each wrong key."""
    try:
        parsed = TypeAdapter(_GateFile).validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not TOML: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg']}" for item in error.errors()
        )
        raise UsageError(
            f"{source} is not a gate: {wrong}",
            cure="compare it with the planner task's gate.toml, which explains each key",
        ) from error
    return Gate(
        name=parsed.name,
        rules=parsed.rules(),
        weights=dict(parsed.weights),
        alpha=parsed.alpha,
        minimum_effective_units=parsed.minimum_effective_units,
        maximum_missing_share=parsed.maximum_missing_share,
        slices_per_gate=parsed.slices_per_gate,
        minimum_segment_units=parsed.minimum_segment_units,
        stress_requests=parsed.stress_requests,
    )


def read_gate(path: Path) -> Gate:
    """Reads a gate file. Raises UsageError if it is not there or not a gate."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"gate file {path} cannot be read: {error.strerror}") from error
    return parse_gate(text, source=str(path))


def _rule(name: str, rule: _NonInferior | _Absolute | _Shown) -> Rule:
    if isinstance(rule, _NonInferior):
        return NonInferior(
            metric=name,
            margin=rule.margin,
            rows=rule.rows,
            not_below=rule.not_below,
            fallback=rule.fallback,
            maximum_bias=rule.maximum_bias,
        )
    if isinstance(rule, _Shown):
        return Shown(metric=name, rows=rule.rows)
    return Absolute(
        metric=name,
        column=rule.column or name,
        statistic=rule.statistic,
        minimum=rule.minimum,
        maximum=rule.maximum,
        rows=rule.rows,
        wall_clock=rule.wall_clock,
    )
