"""analyze: need outcomes in, per metric the arms, their difference and what may be claimed at every look.

The unit is randomised, so the unit is the row: a unit's matured needs are added up first (delta method), and
the interval is a confidence sequence, so looking at it often costs nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bakeoff.experiments.model import (
    ARMS,
    Analysis,
    Arm,
    ArmEstimate,
    ExperimentSpec,
    MetricAnalysis,
    NeedOutcome,
)
from bakeoff.stats.ratio import RatioEstimate, floored_se, ratio
from bakeoff.stats.sequential import confidence_sequence, lower_bound, upper_bound
from bakeoff.stats.srm import PhaseCounts, sample_ratio
from bakeoff.task import Metric

MAX_MISSING_SHARE = 0.05
"""Matured needs without a value, in one arm more than in the other: beyond it a metric counts as missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """One arm's matured needs, for one metric."""

    estimate: RatioEstimate | None  # None without a value
    needs: int  # with a value
    missing: float  # share of matured needs without a value


def analyze(
    spec: ExperimentSpec,
    metrics: Sequence[Metric],
    outcomes: Sequence[NeedOutcome],
    *,
    looked_at: datetime,
    exposed: Mapping[str, frozenset[str]] | None = None,
) -> Analysis:
    """One look at a running experiment: the spec's metrics first, then what else is declared, only to be shown.

    `metrics`: what the task declares (range and direction). `exposed`: unit ids per arm, from the exposures;
    without it the units of `outcomes` stand for them, which hides units that never came back."""
    seen = {arm: frozenset(o.unit_id for o in outcomes if o.arm == arm) for arm in ARMS}
    if exposed is not None:
        seen = {arm: seen[arm] | exposed.get(arm, frozenset()) for arm in ARMS}
    twice = seen["treated"] & seen["control"]
    kept: dict[str, list[NeedOutcome]] = {arm: [] for arm in ARMS}
    for outcome in outcomes:
        if outcome.matured and outcome.unit_id not in twice:
            kept[outcome.arm].append(outcome)
    counts: dict[str, int] = {arm: len(seen[arm] - twice) for arm in ARMS}
    srm = sample_ratio([PhaseCounts(expected=(1.0, 1.0), counts=(counts["treated"], counts["control"]))])
    ranges = {metric.name: metric for metric in metrics}
    names = dict.fromkeys([*spec.metrics, *ranges])
    return Analysis(
        spec_digest=spec.digest,
        looked_at=looked_at,
        exposed=counts,
        matured={arm: len({outcome.unit_id for outcome in kept[arm]}) for arm in ARMS},
        in_two_arms=len(twice),
        srm_log_e=srm.log_e,
        srm_alarm=srm.alarm,
        metrics=tuple(_metric(spec, name, ranges.get(name), kept) for name in names),
    )


def _metric(
    spec: ExperimentSpec, name: str, metric: Metric | None, outcomes: Mapping[str, Sequence[NeedOutcome]]
) -> MetricAnalysis:
    columns = {arm: _column(name, outcomes[arm]) for arm in ARMS}
    treated, control = columns["treated"], columns["control"]
    direction = _direction(spec, name, metric)
    span = None if metric is None or metric.low is None or metric.high is None else metric.high - metric.low
    missing = max(treated.missing, control.missing)
    if treated.estimate is None or control.estimate is None:
        empty = [arm for arm in ARMS if columns[arm].estimate is None]
        return _undecided(name, "missing", f"no value in {' and '.join(empty)}", direction, columns, missing)
    if abs(treated.missing - control.missing) > MAX_MISSING_SHARE:
        reason = f"no value on {treated.missing:.1%} of treated and {control.missing:.1%} of control needs"
        return _undecided(name, "missing", reason, direction, columns, missing)
    fewest = min(treated.estimate.units, control.estimate.units)
    if fewest < spec.minimum_units:
        reason = f"{fewest} matured units in the smaller arm; {spec.minimum_units} are needed"
        return _undecided(name, "burn_in", reason, direction, columns, missing)
    ses = floored_se(treated.estimate, span), floored_se(control.estimate, span)
    if _is_budget_only(spec, name):
        ses = treated.estimate.se, control.estimate.se
    if not all(math.isfinite(se) for se in ses):
        reason = "all units of an arm have the same value and the metric's range is open: nothing to go by"
        return _undecided(name, "burn_in", reason, direction, columns, missing)
    return _computed(spec, name, direction, treated, control, ses)


def _computed(
    spec: ExperimentSpec,
    name: str,
    direction: str,
    treated: _Column,
    control: _Column,
    ses: tuple[float, float],
) -> MetricAnalysis:
    assert treated.estimate is not None
    assert control.estimate is not None
    sign = 1.0 if direction == "higher" else -1.0
    estimate = sign * (treated.estimate.value - control.estimate.value)
    se, units = math.hypot(*ses), treated.estimate.units + control.estimate.units
    planned, alpha, split = spec.planned_units, spec.alpha, spec.alpha / spec.harm_tests
    shown = confidence_sequence(estimate, se, units, planned=planned, alpha=alpha)
    own, own_se, own_units = treated.estimate.value, ses[0], treated.estimate.units
    half = max(1.0, planned / 2)
    return MetricAnalysis(
        metric=name,
        state="computed",
        reason="",
        direction="higher" if direction == "higher" else "lower",
        treated=_arm(treated),
        control=_arm(control),
        estimate=estimate,
        se=se,
        lower=shown.lower,
        upper=shown.upper,
        proven_above=lower_bound(estimate, se, units, planned=planned, alpha=alpha),
        harm_below=upper_bound(estimate, se, units, planned=planned, alpha=split),
        treated_above=lower_bound(own, own_se, own_units, planned=half, alpha=split),
        treated_floor=lower_bound(own, own_se, own_units, planned=half, alpha=alpha),
        treated_ceiling=upper_bound(own, own_se, own_units, planned=half, alpha=alpha),
        missing=max(treated.missing, control.missing),
    )


def _undecided(
    name: str, state: str, reason: str, direction: str, columns: Mapping[Arm, _Column], missing: float
) -> MetricAnalysis:
    return MetricAnalysis(
        metric=name,
        state="missing" if state == "missing" else "burn_in",
        reason=reason,
        direction="higher" if direction == "higher" else "lower",
        treated=_arm(columns["treated"]),
        control=_arm(columns["control"]),
        estimate=None,
        se=None,
        lower=None,
        upper=None,
        proven_above=None,
        harm_below=None,
        treated_above=None,
        treated_floor=None,
        treated_ceiling=None,
        missing=missing,
    )


def _column(name: str, outcomes: Sequence[NeedOutcome]) -> _Column:
    sums: dict[str, float] = {}
    needs: dict[str, int] = {}
    for outcome in outcomes:
        value = outcome.values.get(name)
        if value is None:
            continue
        if not math.isfinite(value):
            raise ValueError(f"{name} of unit {outcome.unit_id} is {value}; expected a finite number or None")
        sums[outcome.unit_id] = sums.get(outcome.unit_id, 0.0) + value
        needs[outcome.unit_id] = needs.get(outcome.unit_id, 0) + 1
    order = sorted(sums)
    found = sum(needs.values())
    return _Column(
        estimate=ratio([sums[unit] for unit in order], [needs[unit] for unit in order]) if order else None,
        needs=found,
        missing=1 - found / len(outcomes) if outcomes else 0.0,
    )


def _arm(column: _Column) -> ArmEstimate | None:
    if column.estimate is None:
        return None
    se = column.estimate.se
    return ArmEstimate(
        value=column.estimate.value,
        se=se if math.isfinite(se) else None,
        units=column.estimate.units,
        needs=column.needs,
    )


def _is_budget_only(spec: ExperimentSpec, name: str) -> bool:
    """A budget needs no difference, so a constant (a declared price) is as good as any value."""
    compared = {spec.primary, *(g.metric for g in spec.guardrails), *(t.metric for t in spec.thresholds)}
    return name not in compared


def _direction(spec: ExperimentSpec, name: str, metric: Metric | None) -> str:
    """The spec was frozen with its own directions; it goes before what the task declares today."""
    if name == spec.primary:
        return spec.primary_direction
    guardrail = next((g for g in spec.guardrails if g.metric == name), None)
    if guardrail is not None:
        return guardrail.direction
    if any(budget.metric == name for budget in spec.budgets):
        return "lower"
    return metric.direction if metric is not None else "higher"
