"""A spec that asks for what nobody measures is refused before any traffic, with the key and what to type."""

import re
from dataclasses import replace
from typing import Any

import pytest

from bakeoff.errors import UsageError
from bakeoff.experiments.check import check
from bakeoff.experiments.model import Budget, Counterweight, ExperimentSpec, Guardrail, Threshold
from bakeoff.experiments.needs import DECISION_METRICS
from bakeoff.task import Metric

METRICS = (
    Metric(name="accepted", unit="share", direction="higher", low=0.0, high=1.0, meaning=""),
    Metric(name="cooked", unit="share", direction="higher", low=0.0, high=1.0, meaning="", matures_hours=168.0),
    *DECISION_METRICS,
)
SPEC = ExperimentSpec(hypothesis="superiority", primary="accepted", dwell_hours=72, horizon_weeks=8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"primary": "acepted"}, r"primary = 'acepted' is not measured, did you mean 'accepted'\?"),
        ({"primary": "zzz"}, r"primary = 'zzz' is not measured$"),
        ({"primary_direction": "lower"}, "primary_direction = 'lower', but of accepted higher is better"),
        ({"budgets": (Budget(metric="latency", maximum=1.0),)}, "budgets.0.metric = 'latency' .* 'latency_s'"),
        ({"hypothesis": "thresholds", "thresholds": (Threshold(metric="x", minimum=1.0),)},
         "thresholds.0.metric = 'x'"),
        ({"counterweights": (Counterweight(metric="y", margin=1, direction="lower"),)},
         "counterweights.0.metric = 'y'"),
        ({"hypothesis": "non_inferior", "primary_margin": 0.1, "cheaper": "price"}, "cheaper = 'price'"),
        ({"hypothesis": "non_inferior", "primary_margin": 1.0}, "primary_margin = 1 is the whole range of accepted"),
        (
            {"guardrails": (Guardrail(metric="cooked", margin=0.1, direction="lower"),)},
            "guardrails.0.direction = 'lower', but of cooked higher is better",
        ),
        (
            {"guardrails": (Guardrail(metric="fallback", margin=5.0, direction="lower"),)},
            "guardrails.0.margin = 5 is the whole range of fallback",
        ),
        (
            {"guardrails": (Guardrail(metric="cooked", margin=0.1, direction="higher", kind="ramp"),)},
            "guardrails.0.kind = 'ramp', but cooked is known 168 h after a decision and dwell_hours is 72: "
            "say kind = 'ship', or dwell_hours = 168",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        check(replace(SPEC, **change), METRICS, source="test.toml")
    first, _, cure = str(refused.value).partition("\n")
    assert first.startswith("test.toml: ")
    assert re.search(message, first), first
    assert "measured are: accepted (higher is better), cooked" in cure


def test_what_fits_passes() -> None:
    guardrails = (
        Guardrail(metric="cooked", margin=0.1, direction="higher"),
        Guardrail(metric="fallback", margin=0.02, direction="lower", kind="ramp"),
    )
    check(replace(SPEC, guardrails=guardrails), METRICS)
