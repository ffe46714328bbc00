"""analyze: what units came to in, per metric the arms, their difference and what may be claimed at every look.

The unit is randomised, so the unit is the row: a unit's matured needs are added up first (delta method), what it did
in the weeks before takes out what the test cannot have caused (CUPED), and the interval is a confidence sequence, so
looking at it often costs nothing. Both arms get equal shares in every phase, so phases are pooled."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import numpy as np

from bakeoff.experiments.cohort import Cohort, Series
from bakeoff.experiments.model import (
    ARMS,
    Analysis,
    Arm,
    ArmEstimate,
    Counterweight,
    ExperimentSpec,
    Guardrail,
    MetricAnalysis,
    QuantileAnalysis,
)
from bakeoff.stats.cuped import Sums, adjusted, difference_before
from bakeoff.stats.quantile_difference import Rows, quantile_difference
from bakeoff.stats.ratio import RatioEstimate, floored_se, least_se, ratio
from bakeoff.stats.sequential import confidence_sequence, half_width, lower_bound, upper_bound
from bakeoff.stats.srm import PhaseCounts, sample_ratio
from bakeoff.task import Metric

MAX_MISSING_SHARE = 0.05
"""Matured needs without a value, in one arm more than in the other: beyond it a metric counts as missing."""
ALPHA_BEFORE = 0.001
"""For "the arms differed before the test", over all compared metrics and all looks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """One arm's matured needs, for one metric."""

    estimate: RatioEstimate | None  # None without a value
    needs: int  # with a value
    due: int  # matured, with or without a value

    @property
    def missing(self) -> float:
        return 1 - self.needs / self.due if self.due else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compared:
    """Treated minus control, in the metric's own direction."""

    estimate: float
    ses: tuple[float, float]  # treated, control
    own_se: float  # of the treated arm's own value
    variance_cut: float | None = None
    differed_before: bool = False


def analyze(
    spec: ExperimentSpec,
    metrics: Sequence[Metric],
    cohort: Cohort,
    *,
    looked_at: datetime,
    adjustment: str = "",
) -> Analysis:
    """One look at a running experiment: the spec's metrics first, then what else is declared, only to be shown.

    `metrics`: what the task declares (range and direction). `adjustment`: why the weeks before the test must not be
    used; '' where they may."""
    arms = {arm: cohort.arm(arm) for arm in ARMS}
    phases = [
        PhaseCounts(
            expected=(1.0, 1.0),
            counts=(
                int((arms["treated"] & (cohort.phase == n)).sum()),
                int((arms["control"] & (cohort.phase == n)).sum()),
            ),
        )
        for n in np.unique(cohort.phase)
    ]
    srm = sample_ratio(phases)
    known = {metric.name: metric for metric in metrics}
    names = dict.fromkeys([*spec.metrics, *known])
    found = tuple(_metric(spec, name, known.get(name), cohort, adjust=not adjustment) for name in names)
    primary = found[0]
    return Analysis(
        spec_digest=spec.digest,
        looked_at=looked_at,
        exposed={arm: int(arms[arm].sum()) for arm in ARMS},
        matured={arm: side.units if (side := getattr(primary, arm)) else 0 for arm in ARMS},
        in_two_arms=int(cohort.in_two_arms.sum()),
        srm_log_e=srm.log_e,
        srm_alarm=srm.alarm,
        metrics=found,
        fresh={arm: int(cohort.fresh[arms[arm]].sum()) for arm in ARMS},
        forced=cohort.forced,
        unexposed=cohort.unexposed,
        last_event_at=cohort.last_event_at,
        adjustment=adjustment,
    )


def quantiles(metric: str, values: Mapping[Arm, Rows]) -> tuple[QuantileAnalysis, ...]:
    """Median and 95th percentile of every matured need; none where an arm has no value."""
    if not all(len(values[arm].values) for arm in ARMS):
        return ()
    found = [(level, quantile_difference(values["treated"], values["control"], level)) for level in (0.5, 0.95)]
    return tuple(
        QuantileAnalysis(
            metric=metric,
            level=level,
            treated=each.treated,
            control=each.control,
            lower=each.lower if math.isfinite(each.lower) else None,
            upper=each.upper if math.isfinite(each.upper) else None,
        )
        for level, each in found
    )


def _metric(spec: ExperimentSpec, name: str, metric: Metric | None, cohort: Cohort, *, adjust: bool) -> MetricAnalysis:
    series = cohort.series.get(name)
    columns = {arm: _column(series, cohort, arm) for arm in ARMS}
    treated, control = columns["treated"], columns["control"]
    direction = _direction(spec, name, metric)
    if series is None:
        return _undecided(name, "missing", "the task does not measure it", direction, columns)
    if not treated.due or not control.due:
        return _undecided(name, "burn_in", "nothing has matured yet", direction, columns)
    if treated.estimate is None or control.estimate is None:
        empty = [arm for arm in ARMS if columns[arm].estimate is None]
        return _undecided(name, "missing", f"no value in {' and '.join(empty)}", direction, columns)
    if abs(treated.missing - control.missing) > MAX_MISSING_SHARE:
        reason = f"no value on {treated.missing:.1%} of treated and {control.missing:.1%} of control needs"
        return _undecided(name, "missing", reason, direction, columns)
    fewest = min(treated.estimate.units, control.estimate.units)
    if fewest < spec.minimum_units:
        reason = f"{fewest} matured units in the smaller arm; {spec.minimum_units} are needed"
        return _undecided(name, "burn_in", reason, direction, columns)
    span = None if metric is None or metric.low is None or metric.high is None else metric.high - metric.low
    compared = _plain(spec, name, span, treated.estimate, control.estimate)
    if adjust and name in spec.compared and (sums := _sums(series, cohort)) is not None:
        compared = _adjusted(spec, span, compared, sums)
    if not all(math.isfinite(se) for se in compared.ses):
        reason = "all units of an arm have the same value and the metric's range is open: nothing to go by"
        return _undecided(name, "burn_in", reason, direction, columns)
    return _computed(spec, name, direction, columns, compared)


def _plain(
    spec: ExperimentSpec, name: str, span: float | None, treated: RatioEstimate, control: RatioEstimate
) -> _Compared:
    ses = floored_se(treated, span), floored_se(control, span)
    if _takes_constants(spec, name):
        ses = treated.se, control.se
    return _Compared(estimate=treated.value - control.value, ses=ses, own_se=ses[0])


def _adjusted(spec: ExperimentSpec, span: float | None, plain: _Compared, sums: tuple[Sums, Sums]) -> _Compared:
    """By the weeks before, where enough units of both arms have some."""
    if min(int((side.d_before > 0).sum()) for side in sums) < spec.minimum_units:
        return plain
    found = adjusted(*sums)
    treated, control = (least_se(len(side.d), span) for side in sums)
    return replace(
        plain,
        estimate=found.estimate,
        ses=(max(found.treated_se, treated) or math.inf, max(found.control_se, control) or math.inf),
        variance_cut=found.variance_cut,
        differed_before=_differed_before(spec, sums),
    )


def _sums(series: Series, cohort: Cohort) -> tuple[Sums, Sums] | None:
    """The units that have a value now, with their past."""
    if series.sums_before is None or series.needs_before is None:
        return None
    sides = []
    for arm in ARMS:
        has = cohort.arm(arm) & (series.needs > 0)
        sides.append(
            Sums(
                x=series.sums[has],
                d=series.needs[has].astype(np.float64),
                x_before=series.sums_before[has],
                d_before=series.needs_before[has].astype(np.float64),
            )
        )
    return sides[0], sides[1]


def _differed_before(spec: ExperimentSpec, sums: tuple[Sums, Sums]) -> bool:
    past = difference_before(*sums)
    if past is None:
        return False
    alpha = ALPHA_BEFORE / len(spec.compared)
    return abs(past.estimate) > half_width(past.se, past.units, planned=spec.planned_units, alpha=alpha)


def _computed(
    spec: ExperimentSpec,
    name: str,
    direction: str,
    columns: Mapping[Arm, _Column],
    compared: _Compared,
) -> MetricAnalysis:
    treated, control = columns["treated"].estimate, columns["control"].estimate
    assert treated is not None
    assert control is not None
    sign = 1.0 if direction == "higher" else -1.0
    estimate = sign * compared.estimate
    se, units = math.hypot(*compared.ses), treated.units + control.units
    planned, alpha, split = spec.planned_units, spec.alpha, spec.alpha / spec.harm_tests
    shown = confidence_sequence(estimate, se, units, planned=planned, alpha=alpha)
    own, own_se, half = treated.value, compared.own_se, max(1.0, planned / 2)
    return MetricAnalysis(
        metric=name,
        state="computed",
        reason="",
        direction="higher" if direction == "higher" else "lower",
        treated=_arm(columns["treated"]),
        control=_arm(columns["control"]),
        estimate=estimate,
        se=se,
        lower=shown.lower,
        upper=shown.upper,
        proven_above=lower_bound(estimate, se, units, planned=planned, alpha=alpha),
        harm_below=upper_bound(estimate, se, units, planned=planned, alpha=split),
        treated_above=lower_bound(own, own_se, treated.units, planned=half, alpha=split),
        treated_floor=lower_bound(own, own_se, treated.units, planned=half, alpha=alpha),
        treated_ceiling=upper_bound(own, own_se, treated.units, planned=half, alpha=alpha),
        missing=max(column.missing for column in columns.values()),
        unadjusted=sign * (treated.value - control.value),
        variance_cut=compared.variance_cut,
        differed_before=compared.differed_before,
    )


def _undecided(
    name: str, state: Literal["missing", "burn_in"], reason: str, direction: str, columns: Mapping[Arm, _Column]
) -> MetricAnalysis:
    return MetricAnalysis(
        metric=name,
        state=state,
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
        missing=max(column.missing for column in columns.values()),
    )


def _column(series: Series | None, cohort: Cohort, arm: Arm) -> _Column:
    if series is None:
        return _Column(estimate=None, needs=0, due=0)
    inside = cohort.arm(arm)
    has = inside & (series.needs > 0)
    return _Column(
        estimate=ratio(series.sums[has], series.needs[has]) if has.any() else None,
        needs=int(series.needs[has].sum()),
        due=int(series.due[inside].sum()),
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


def _takes_constants(spec: ExperimentSpec, name: str) -> bool:
    """A budget needs no difference, and a declared price is no sample: a constant is as good as any value."""
    asked = {t.metric for t in spec.thresholds} | {c.metric for c in spec.counterweights} | set(spec.compared)
    return name not in asked


def _direction(spec: ExperimentSpec, name: str, metric: Metric | None) -> str:
    """The spec was frozen with its own directions; it goes before what the task declares today."""
    if name == spec.primary:
        return spec.primary_direction
    limits: list[Guardrail | Counterweight] = [*spec.guardrails, *spec.counterweights]
    for limit in limits:
        if limit.metric == name:
            return limit.direction
    if name == spec.cheaper or any(budget.name == name for budget in spec.budgets):
        return "lower"
    return metric.direction if metric is not None else "higher"
