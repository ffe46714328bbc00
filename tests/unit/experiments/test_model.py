"""ExperimentSpec as a closed, checked value, and analyses that survive JSON."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bakeoff.errors import UsageError
from bakeoff.experiments.load import parse_spec
from bakeoff.experiments.model import Budget, Counterweight, ExperimentSpec, Guardrail, Threshold

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
        ({"cheaper": "cost"}, "only hypothesis 'non_inferior' can ask for something cheaper"),
        ({"counterweights": (Counterweight(metric="x", margin=0, direction="lower"),)}, "counterweight margins"),
        ({"unit_weeks": 0.0}, "must be positive"),
        ({"stale_hours": 0.0}, "must be positive"),
        ({"cuped_weeks": -1.0}, "cuped_weeks cannot be negative"),
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": [100]}, "stage is no key of a spec; did you mean stages?"),
        ({"zzz": 1}, "zzz is no key of a spec; known are hypothesis, primary"),
        ({"hypothesis": "better"}, "hypothesis = 'better'; expected 'superiority', 'non_inferior' or 'thresholds'"),
        ({"primary": None}, "primary = None; input should be a valid string"),
        ({"guardrails": [{"metric": "x", "margin": 1}]}, "guardrails.0.direction is missing: add direction = ..."),
        ({"budgets": [{"metric": "x", "maximum": 1, "statistic": "p99"}]},
         "budgets.0.statistic = 'p99'; expected 'mean'"),
        ({"guardrails": [{"metric": "x", "margn": 1, "direction": "lower"}]}, "guardrails.0.margn is no key of a spec; "
         "did you mean margin?"),
    ],
)  # fmt: skip
def test_an_error_in_a_file_names_the_key_and_what_to_type(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_spec({**SPEC.to_json(), **change}, source="test.toml")
    assert str(refused.value).startswith("test.toml: ")
    assert message in str(refused.value)


def test_a_spec_from_a_file_is_checked_like_one_from_code() -> None:
    with pytest.raises(UsageError, match="at most 1000 basis points"):
        parse_spec({**SPEC.to_json(), "stages": [2000, 5000]})


def test_every_metric_is_named_once_and_counted_once_for_harm() -> None:
    spec = replace(SPEC, guardrails=(*SPEC.guardrails, Guardrail(metric="accepted", margin=0.02, direction="higher")))
    assert spec.metrics == ("accepted", "intervention", "latency_s")
    assert spec.harm_tests == 3


def test_a_budget_of_a_quantile_is_watched_by_a_share() -> None:
    mean, high = Budget(metric="latency_s", maximum=2.0), Budget(metric="latency_s", maximum=2.5, statistic="p95")
    assert (mean.name, mean.limit, str(mean), mean.tell(2.25)) == ("latency_s", 2.0, "latency_s", "2.25")
    assert (high.name, high.limit) == ("latency_s over 2.5", pytest.approx(0.05))
    assert (str(high), high.tell(0.081)) == ("p95 of latency_s", "8.1% of needs above 2.5")
    spec = replace(SPEC, budgets=(mean, high))
    assert spec.metrics == ("accepted", "intervention", "latency_s", "latency_s over 2.5")
