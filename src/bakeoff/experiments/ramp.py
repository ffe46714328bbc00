"""advise: what to do with a running experiment. Fails closed: what is not known never advances anything.

Any harm rolls back (alpha split over everything that can roll back). Shipping needs the primary metric to win
and every 'ship' guardrail to be proven non-inferior, each at alpha: all must hold, so nothing is split.
"""

from datetime import datetime, timedelta

from bakeoff.errors import UsageError
from bakeoff.experiments.model import (
    Advice,
    Analysis,
    Budget,
    ExperimentSpec,
    Guardrail,
    MetricAnalysis,
    Phase,
    Threshold,
)
from bakeoff.stats.power import units_until

MAX_IN_TWO_ARMS = 0.01
POINT_CHECK_FROM_BP = 1_000


def advise(
    spec: ExperimentSpec,
    phase: Phase,
    analysis: Analysis,
    now: datetime,
    *,
    started_at: datetime | None = None,
) -> Advice:
    """One of advance, hold, rollback, ship, keep.

    `phase` is the current one; `started_at` when the experiment began (default: with this phase). `now`
    has a time zone. Raises UsageError if the analysis was made for another spec."""
    if analysis.spec_digest != spec.digest:
        raise UsageError(
            "the analysis was made for another experiment spec",
            cure="analyse again with the spec that was frozen when the experiment was created",
        )
    if harm := _harm(spec, analysis):
        return Advice(verdict="rollback", reason=harm, next_treated_bp=0, missing_units=None)
    doubts = _doubts(spec, analysis)
    lacking = _lacking(spec, analysis) if not doubts else []
    ended = _horizon(spec, analysis, now - (started_at or phase.began_at))
    if ended and (doubts or lacking):
        return _keep(spec, analysis, ended, [*doubts, *lacking])
    if doubts:
        return _hold(spec, phase, analysis, doubts[0])
    if waiting := _dwell(spec, phase, now):
        return _hold(spec, phase, analysis, waiting)
    if phase.treated_bp < spec.stages[-1]:
        return _advance(spec, phase, analysis)
    if lacking:
        return _hold(spec, phase, analysis, f"not proven yet: {'; '.join(lacking)}")
    return Advice(verdict="ship", reason=_win(spec, analysis), next_treated_bp=phase.treated_bp, missing_units=None)


def _harm(spec: ExperimentSpec, analysis: Analysis) -> str:
    """Why to roll back, or ''."""
    compared = dict.fromkeys([spec.primary, *(guardrail.metric for guardrail in spec.guardrails)])
    for name in compared:
        found = analysis.of(name)
        if found is not None and found.harm_below is not None and found.harm_below < 0:
            return f"{name} is harmed: treated is worse by at least {-found.harm_below:.3g} {_sure(spec)}"
    for budget in spec.budgets:
        found = analysis.of(budget.metric)
        if found is not None and found.treated_above is not None and _over(budget, found.treated_above):
            return (
                f"{budget.metric} is over its budget of {budget.maximum:g}: "
                f"at least {found.treated_above:.3g} {_sure(spec)}"
            )
    return ""


def _doubts(spec: ExperimentSpec, analysis: Analysis) -> list[str]:
    """Reasons for which the numbers cannot be trusted, or are not there."""
    doubts = []
    if analysis.srm_alarm:
        doubts.append(
            "units do not arrive evenly in the two arms, are exposures lost? "
            f"({analysis.exposed['treated']} treated, {analysis.exposed['control']} control)"
        )
    met = sum(analysis.exposed.values()) + analysis.in_two_arms
    if analysis.in_two_arms and analysis.in_two_arms >= MAX_IN_TWO_ARMS * met:
        doubts.append(f"{analysis.in_two_arms} of {met} units were seen in both arms")
    for name in spec.metrics:
        found = analysis.of(name)
        if found is None or found.state == "missing":
            doubts.append(f"{name} is missing: {found.reason if found else 'it was not analysed'}")
    for name in spec.metrics:
        found = analysis.of(name)
        if found is not None and found.state == "burn_in":
            doubts.append(f"{name}: {found.reason}")
    return doubts


def _lacking(spec: ExperimentSpec, analysis: Analysis) -> list[str]:
    """What still has to be proven before shipping. Called only when every metric was computed."""
    lacking = [] if (primary := _primary_lacks(spec, analysis)) == "" else [primary]
    for guardrail in spec.guardrails:
        found = analysis.of(guardrail.metric)
        if guardrail.kind == "ship" and not _non_inferior(found, guardrail.margin):
            lacking.append(f"{guardrail.metric} may be worse by more than {guardrail.margin:g}")
    for budget in spec.budgets:
        found = analysis.of(budget.metric)
        if found is None or found.treated is None or _over(budget, found.treated.value):
            lacking.append(f"{budget.metric} is over its budget of {budget.maximum:g}, within noise")
    return lacking


def _over(budget: Budget, value: float) -> bool:
    """A rounding error of a sum is not over budget."""
    return value > budget.maximum + 1e-9 * abs(budget.maximum)


def _primary_lacks(spec: ExperimentSpec, analysis: Analysis) -> str:
    if spec.hypothesis == "thresholds":
        missed = [t.metric for t in spec.thresholds if not _reached(t, analysis.of(t.metric))]
        return f"{', '.join(missed)} not proven to reach the threshold" if missed else ""
    margin = spec.primary_margin if spec.hypothesis == "non_inferior" else 0.0
    if _non_inferior(analysis.of(spec.primary), margin or 0.0):
        return ""
    return f"{spec.primary} not proven {'better' if not margin else f'within {margin:g} of the control'}"


def _non_inferior(found: MetricAnalysis | None, margin: float) -> bool:
    return found is not None and found.proven_above is not None and found.proven_above > -margin


def _reached(threshold: Threshold, found: MetricAnalysis | None) -> bool:
    if found is None or found.treated_floor is None or found.treated_ceiling is None:
        return False
    high_enough = threshold.minimum is None or found.treated_floor >= threshold.minimum
    return high_enough and (threshold.maximum is None or found.treated_ceiling <= threshold.maximum)


def _win(spec: ExperimentSpec, analysis: Analysis) -> str:
    if spec.hypothesis == "thresholds":
        return "every threshold is reached and every guardrail holds " + _sure(spec)
    found = analysis.of(spec.primary)
    assert found is not None
    assert found.estimate is not None
    return (
        f"{spec.primary}: {found.estimate:+.3g} over the control, at least {found.proven_above:+.3g}; "
        f"every guardrail holds {_sure(spec)}"
    )


def _dwell(spec: ExperimentSpec, phase: Phase, now: datetime) -> str:
    """Why to wait, or ''."""
    is_last = phase.treated_bp >= spec.stages[-1]
    least = timedelta(hours=spec.last_dwell_hours if is_last else spec.dwell_hours)
    left = phase.began_at + least - now
    return f"{left.total_seconds() / 3600:.0f} h of this stage are left" if left > timedelta(0) else ""


def _advance(spec: ExperimentSpec, phase: Phase, analysis: Analysis) -> Advice:
    if phase.treated_bp >= POINT_CHECK_FROM_BP and (worse := _beyond_margin(spec, analysis)):
        text = f"{worse.metric} looks worse by more than its margin of {worse.margin:g}, although not for sure"
        return _hold(spec, phase, analysis, text)
    following = next(stage for stage in spec.stages if stage > phase.treated_bp)
    return Advice(
        verdict="advance",
        reason=f"no harm in {analysis.units} matured units; every metric computed",
        next_treated_bp=following,
        missing_units=_missing_units(spec, analysis),
    )


def _beyond_margin(spec: ExperimentSpec, analysis: Analysis) -> Guardrail | None:
    for guardrail in spec.guardrails:
        found = analysis.of(guardrail.metric)
        if found is not None and found.estimate is not None and found.estimate < -guardrail.margin:
            return guardrail
    return None


def _horizon(spec: ExperimentSpec, analysis: Analysis, running: timedelta) -> str:
    """Which end was reached, or ''."""
    if spec.horizon_units is not None and analysis.units >= spec.horizon_units:
        return f"{analysis.units} units were seen"
    if spec.horizon_weeks is not None and running >= timedelta(weeks=spec.horizon_weeks):
        return f"{spec.horizon_weeks:g} weeks are over"
    return ""


def _keep(spec: ExperimentSpec, analysis: Analysis, ended: str, lacking: list[str]) -> Advice:
    missing = _missing_units(spec, analysis)
    more = f"; about {missing} more units would probably settle it" if missing else ""
    reason = f"{ended} without a proven win, so the incumbent stays: {'; '.join(lacking)}{more}"
    return Advice(verdict="keep", reason=reason, next_treated_bp=0, missing_units=missing)


def _hold(spec: ExperimentSpec, phase: Phase, analysis: Analysis, reason: str) -> Advice:
    return Advice(
        verdict="hold",
        reason=reason,
        next_treated_bp=phase.treated_bp,
        missing_units=_missing_units(spec, analysis),
    )


def _missing_units(spec: ExperimentSpec, analysis: Analysis) -> int | None:
    """More matured units (both arms) until the slowest comparison would be settled; None if unknown."""
    wanted: list[int | None] = [2 * spec.minimum_units]
    primary = analysis.of(spec.primary)
    if spec.hypothesis != "thresholds" and primary is not None and primary.estimate is not None:
        gain = max(primary.estimate, spec.minimum_effect or 0.0)
        distance = primary.estimate + (spec.primary_margin or 0.0) if spec.hypothesis == "non_inferior" else gain
        wanted.append(_until(spec, primary, distance))
    for guardrail in spec.guardrails:
        found = analysis.of(guardrail.metric)
        if guardrail.kind == "ship" and found is not None and found.estimate is not None:
            wanted.append(_until(spec, found, found.estimate + guardrail.margin))
    known = [units for units in wanted if units is not None]
    if len(known) < len(wanted):
        return None
    return max(known) - analysis.units if max(known) > analysis.units else None


def _until(spec: ExperimentSpec, found: MetricAnalysis, distance: float) -> int | None:
    if found.se is None or found.treated is None or found.control is None:
        return None
    units = found.treated.units + found.control.units
    return units_until(found.se, units, distance, planned=spec.planned_units, alpha=spec.alpha)


def _sure(spec: ExperimentSpec) -> str:
    return f"({1 - spec.alpha:.0%} sure over all looks)"
