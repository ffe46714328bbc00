"""advise: what to do with a running experiment. Fails closed: what is not known never advances anything.

Any harm rolls back (alpha split over everything that can roll back). Shipping needs the primary metric to win
and every 'ship' guardrail to be proven non-inferior, each at alpha: all must hold, so nothing is split.
"""

import math
from collections.abc import Iterable
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
    Rule,
    Threshold,
)
from bakeoff.stats.power import units_until

MAX_LOST = 0.01
"""Share of units seen in both arms, or without an exposure, from which on nothing goes forward."""
POINT_CHECK_FROM_BP = 1_000
MAX_SRM_TO_SHIP = math.log(20)
"""Evidence against an even split, up to which a test may ship. The alarm that holds a ramp asks for 1000 to 1, so that
it is never false; a few hundred units that went missing in one arm can make a winner long before that."""


def advise(
    spec: ExperimentSpec,
    phase: Phase,
    analysis: Analysis,
    now: datetime,
    *,
    started_at: datetime | None = None,
    waived: Iterable[Rule] = (),
) -> Advice:
    """One of advance, hold, rollback, ship, keep.

    `phase` is the current one; `started_at` when the experiment began (default: with this phase). `now`
    has a time zone. `waived`: rules that a person set aside for this phase; they let a stage be left sooner and do
    nothing else. Raises UsageError if the analysis was made for another spec."""
    if analysis.spec_digest != spec.digest:
        raise UsageError(
            "the analysis was made for another experiment spec",
            cure="analyse again with the spec that was frozen when the experiment was created",
        )
    if harm := _harm(spec, analysis):
        return Advice(verdict="rollback", reason=harm, next_treated_bp=0, missing_units=None)
    flags = _flags(spec, analysis)
    doubts = [*_doubts(spec, analysis, now), *flags]
    lacking = _lacking(spec, analysis)
    ended = _horizon(spec, analysis, now - (started_at or phase.began_at))
    if ended and (doubts or lacking):
        return _keep(spec, analysis, ended, doubts or lacking, flags)
    if doubts:
        return _hold(spec, phase, analysis, doubts[0], flags)
    if phase.treated_bp < spec.stages[-1]:
        return _widen(spec, phase, analysis, now, frozenset(waived))
    if waiting := _dwell(spec, phase, now) or _quiet(analysis):
        return _hold(spec, phase, analysis, waiting)
    if lacking:
        return _hold(spec, phase, analysis, f"not proven yet: {'; '.join(lacking)}")
    return Advice(verdict="ship", reason=_win(spec, analysis), next_treated_bp=phase.treated_bp, missing_units=None)


def _harm(spec: ExperimentSpec, analysis: Analysis) -> str:
    """Why to roll back, or ''."""
    for name in spec.compared:
        found = analysis.of(name)
        if found is not None and found.harm_below is not None and found.harm_below < 0:
            return f"{name} is harmed: treated is worse by at least {-found.harm_below:.3g} {_sure(spec)}"
    for budget in spec.budgets:
        found = analysis.of(budget.name)
        if found is not None and found.treated_above is not None and _over(budget, found.treated_above):
            least = budget.tell(found.treated_above)
            return f"{budget} is over its budget of {budget.maximum:g}: at least {least} {_sure(spec)}"
    return ""


def _doubts(spec: ExperimentSpec, analysis: Analysis, now: datetime) -> list[str]:
    """Reasons for which the numbers cannot be trusted. Nobody can waive them."""
    doubts = []
    if analysis.srm_alarm:
        doubts.append(
            "units do not arrive evenly in the two arms, are exposures lost? "
            f"({analysis.exposed['treated']} treated, {analysis.exposed['control']} control)"
        )
    met = sum(analysis.exposed.values()) + analysis.in_two_arms
    if analysis.in_two_arms and analysis.in_two_arms >= MAX_LOST * met:
        doubts.append(f"{analysis.in_two_arms} of {met} units were seen in both arms")
    if analysis.unexposed and analysis.unexposed >= MAX_LOST * (met + analysis.unexposed):
        doubts.append(f"{analysis.unexposed} units have decisions of this test but no exposure: some were lost")
    if silence := _silence(spec, analysis, now):
        doubts.append(silence)
    for name in spec.metrics:
        found = analysis.of(name)
        if found is None or found.state == "missing":
            doubts.append(f"{name} is missing: {found.reason if found else 'it was not analysed'}")
        elif found.differed_before:
            doubts.append(f"{name} differed between the arms before the test: was the lottery fair?")
    return doubts


def _silence(spec: ExperimentSpec, analysis: Analysis, now: datetime) -> str:
    """Whether the log still tells of this test, or ''."""
    if analysis.last_event_at is None or now - analysis.last_event_at <= timedelta(hours=spec.stale_hours):
        return ""
    hours = (now - analysis.last_event_at).total_seconds() / 3600
    return f"no event of this test for {hours:.0f} h: is the log still written?"


def _quiet(analysis: Analysis) -> str:
    """Whether both arms had traffic in this stage, or ''. Evidence must be fresh to open the next one."""
    quiet = [arm for arm, needs in (analysis.fresh or {}).items() if not needs]
    return f"nothing has begun in this stage in {' and '.join(quiet)}: is there traffic?" if quiet else ""


def _flags(spec: ExperimentSpec, analysis: Analysis) -> list[str]:
    """Wins that look bought: the primary looks better while a counterweight looks worse than its margin."""
    primary = analysis.of(spec.primary)
    if primary is None or primary.estimate is None or primary.estimate <= 0:
        return []
    return [
        f"{spec.primary} looks better while {found.metric} looks worse by {-found.estimate:.3g} "
        f"(margin {limit.margin:g}): is the win bought with it?"
        for limit in spec.counterweights
        if (found := analysis.of(limit.metric)) is not None
        and found.estimate is not None
        and found.estimate < -limit.margin
    ]


def _immature(analysis: Analysis, names: Iterable[str]) -> list[str]:
    """What is not known yet of these metrics."""
    return [
        f"{name}: {found.reason}"
        for name in names
        if (found := analysis.of(name)) is not None and found.state == "burn_in"
    ]


def _lacking(spec: ExperimentSpec, analysis: Analysis) -> list[str]:
    """What still has to be known or proven before shipping."""
    lacking = _immature(analysis, spec.metrics)
    if lacking:
        return lacking
    if analysis.srm_log_e > MAX_SRM_TO_SHIP:
        met = f"{analysis.exposed['treated']} treated, {analysis.exposed['control']} control"
        lacking.append(f"the arms may not fill evenly ({met}: {math.exp(analysis.srm_log_e):.0f} to 1 against it)")
    if primary := _primary_lacks(spec, analysis):
        lacking.append(primary)
    if spec.cheaper is not None and not _non_inferior(analysis.of(spec.cheaper), 0.0):
        lacking.append(f"{spec.cheaper} not proven lower")
    for guardrail in spec.guardrails:
        found = analysis.of(guardrail.metric)
        if guardrail.kind == "ship" and not _non_inferior(found, guardrail.margin):
            lacking.append(f"{guardrail.metric} may be worse by more than {guardrail.margin:g}")
    for budget in spec.budgets:
        found = analysis.of(budget.name)
        if found is None or found.treated is None or _over(budget, found.treated.value):
            lacking.append(f"{budget} is over its budget of {budget.maximum:g}, within noise")
    return lacking


def _over(budget: Budget, value: float) -> bool:
    """A rounding error of a sum is not over budget."""
    return value > budget.limit + 1e-9 * abs(budget.limit)


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


def _widen(spec: ExperimentSpec, phase: Phase, analysis: Analysis, now: datetime, waived: frozenset[Rule]) -> Advice:
    """The next stage, if nothing speaks against it but what a person has set aside."""
    young = _immature(analysis, spec.needed_to_widen)
    waiting = _dwell(spec, phase, now)
    if young and "minimum_units" not in waived:
        return _hold(spec, phase, analysis, young[0])
    if waiting and "dwell" not in waived:
        return _hold(spec, phase, analysis, waiting)
    if quiet := _quiet(analysis):
        return _hold(spec, phase, analysis, quiet)
    if (young or phase.treated_bp >= POINT_CHECK_FROM_BP) and (worse := _beyond_margin(spec, analysis)):
        text = f"{worse.metric} looks worse by more than its margin of {worse.margin:g}, although not for sure"
        return _hold(spec, phase, analysis, text)
    used = [rule for rule, holds in (("dwell", waiting), ("minimum_units", young)) if holds]
    known = f"{' and '.join(used)} waived" if used else "every metric computed"
    return Advice(
        verdict="advance",
        reason=f"no harm in {analysis.units} matured units; {known}",
        next_treated_bp=next(stage for stage in spec.stages if stage > phase.treated_bp),
        missing_units=_missing_units(spec, analysis),
        waived=tuple(used),
    )


def _beyond_margin(spec: ExperimentSpec, analysis: Analysis) -> Guardrail | None:
    """A guardrail whose point estimate lies beyond its margin; before the burn-in too, by the plain difference."""
    for guardrail in spec.guardrails:
        found = analysis.of(guardrail.metric)
        if found is not None and (at := _point(found)) is not None and at < -guardrail.margin:
            return guardrail
    return None


def _point(found: MetricAnalysis) -> float | None:
    if found.estimate is not None or found.treated is None or found.control is None:
        return found.estimate
    plain = found.treated.value - found.control.value
    return plain if found.direction == "higher" else -plain


def _horizon(spec: ExperimentSpec, analysis: Analysis, running: timedelta) -> str:
    """Which end was reached, or ''."""
    if spec.horizon_units is not None and analysis.units >= spec.horizon_units:
        return f"{analysis.units} units were seen"
    if spec.horizon_weeks is not None and running >= timedelta(weeks=spec.horizon_weeks):
        return f"{spec.horizon_weeks:g} weeks are over"
    return ""


def _keep(spec: ExperimentSpec, analysis: Analysis, ended: str, lacking: list[str], flags: list[str]) -> Advice:
    missing = _missing_units(spec, analysis)
    more = f"; about {missing} more units would probably settle it" if missing else ""
    reason = f"{ended} without a proven win, so the incumbent stays: {'; '.join(lacking)}{more}"
    return Advice(verdict="keep", reason=reason, next_treated_bp=0, missing_units=missing, flags=tuple(flags))


def _hold(spec: ExperimentSpec, phase: Phase, analysis: Analysis, reason: str, flags: Iterable[str] = ()) -> Advice:
    return Advice(
        verdict="hold",
        reason=reason,
        next_treated_bp=phase.treated_bp,
        missing_units=_missing_units(spec, analysis),
        flags=tuple(flags),
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
