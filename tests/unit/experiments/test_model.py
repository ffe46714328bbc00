"""ExperimentSpec as a closed, checked value, and analyses that survive JSON."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bakeoff.errors import UsageError
from bakeoff.experiments.load import parse_spec
from bakeoff.experiments.model import Budget, ExperimentSpec, Guardrail, Threshold

SPEC = ExperimentSpec(
    hypothesis="superiority",
    primary="accepted",
    guardrails=(Guardrail(metric="intervention", margin=0.02, direction="lower"),),
    budgets=(Budget(metric="latency_s", maximum=2.0),),
    horizon_units=4000,
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": ()}, "at least one"),
        ({"stages": (500, 200)}, "must rise"),
        ({"stages": (1001, 2000)}, "at most 1000 basis points"),
        ({"stages": (1000, 5001)}, "at most 5000 basis points"),
        ({"hypothesis": "non_inferior"}, "needs a positive primary_margin"),
        ({"hypothesis": "thresholds"}, "at least one threshold"),
        ({"thresholds": (Threshold(metric="accepted"),)}, "a minimum, a maximum or both"),
        ({"guardrails": (Guardrail(metric="x", margin=0.0, direction="lower"),)}, "margins must be positive"),
        ({"guardrails": SPEC.guardrails * 2}, "named twice"),
        ({"alpha": 0.5}, "alpha"),
        ({"minimum_units": 1}, "at least 2"),
        ({"horizon_units": None}, "when to stop"),
        ({"dwell_hours": -1.0}, "dwell"),
    ],
)
def test_a_spec_that_cannot_work_is_refused_when_it_is_made(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SPEC, **change)


def test_spec_survives_json_with_its_digest() -> None:
    body = json.loads(json.dumps(SPEC.to_json()))
    assert parse_spec(body) == SPEC
    assert parse_spec(body).digest == SPEC.digest
    assert replace(SPEC, planned_units=2001).digest != SPEC.digest


def test_an_unknown_key_at_any_depth_is_an_error() -> None:
    body = SPEC.to_json()
    with pytest.raises(UsageError, match="primray"):
        parse_spec({**body, "primray": "x"})
    with pytest.raises(UsageError, match=r"guardrails\.0\.margni"):
        parse_spec({**body, "guardrails": [{**body["guardrails"][0], "margni": 1}]})
    with pytest.raises(UsageError, match="my spec"):
        parse_spec({}, source="my spec")


def test_a_spec_from_a_file_is_checked_like_one_from_code() -> None:
    with pytest.raises(UsageError, match="at most 1000 basis points"):
        parse_spec({**SPEC.to_json(), "stages": [2000, 5000]})


def test_every_metric_is_named_once_and_counted_once_for_harm() -> None:
    spec = replace(SPEC, guardrails=(*SPEC.guardrails, Guardrail(metric="accepted", margin=0.02, direction="higher")))
    assert spec.metrics == ("accepted", "intervention", "latency_s")
    assert spec.harm_tests == 3
