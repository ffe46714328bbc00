"""plan: before any traffic, what an experiment of a given size can show, and where to start."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bakeoff.experiments.model import BASIS_POINTS, MAX_FIRST_BP, ExperimentSpec
from bakeoff.stats.power import detectable_difference


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """What past traffic looked like for one metric."""

    metric: str
    mean: float  # per unit
    sd: float  # between units, of a unit's mean over its needs
    units: int  # distinct units that come back
    new_units_per_week: float = 0.0  # units never seen before


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """What one treated share can show."""

    treated_bp: int
    units_per_arm: int  # expected by the end
    detectable: float | None  # smallest difference shown with probability .8; None below the burn-in
    relative: float | None  # the same as a share of the historic mean; None where that is 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentPlan:
    """Answer to "is it worth starting, and how?"."""

    metric: str
    weeks: float
    reaches: tuple[Reach, ...]  # one per stage of the spec
    start_bp: int | None  # smallest start, at most 1000 basis points, that reaches the burn-in; None = not testable
    units_needed: int | None  # units in all for the burn-in at 1000 basis points, where that is not testable
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What a whole experiment could show, metric by metric."""

    weeks: float
    plans: tuple[ExperimentPlan, ...]  # one for each compared metric that has a past, the primary first
    unknown: tuple[str, ...]  # compared metrics without a past
    start_bp: (
        int | None
    )  # smallest start at which every metric that the ramp needs reaches its burn-in; None: none does
    reason: str


def outlook(spec: ExperimentSpec, histories: Iterable[History], *, weeks: float) -> Outlook:
    """`plan` for every compared metric, and the start that serves them all."""
    known = {history.metric: history for history in histories}
    plans = tuple(plan(spec, known[name], weeks=weeks) for name in spec.compared if name in known)
    unknown = tuple(name for name in spec.compared if name not in known)
    needed = [found for found in plans if found.metric in spec.needed_to_widen]
    stuck = next((found for found in needed if found.start_bp is None), None)
    if stuck is not None or not needed:
        reason = (
            f"{stuck.metric}: {stuck.reason}"
            if stuck
            else f"not testable: the log says nothing of {', '.join(unknown)}"
        )
        return Outlook(weeks=weeks, plans=plans, unknown=unknown, start_bp=None, reason=reason)
    slowest = max(needed, key=lambda found: found.start_bp or 0)
    return Outlook(
        weeks=weeks,
        plans=plans,
        unknown=unknown,
        start_bp=slowest.start_bp,
        reason=f"{slowest.metric}: {slowest.reason}",
    )


def plan(spec: ExperimentSpec, history: History, *, weeks: float) -> ExperimentPlan:
    """What each stage's share could detect in `weeks`, and the smallest start that can decide anything."""
    reaches = tuple(_reach(spec, history, stage, weeks) for stage in spec.stages)
    start = smallest_start(spec, history, weeks=weeks)
    total = _units(history, weeks)
    if start is None:
        needed = -(-spec.minimum_units * BASIS_POINTS // MAX_FIRST_BP)
        reason = (
            f"not testable: 10 % of {total:.0f} units give {total * MAX_FIRST_BP / BASIS_POINTS:.0f} per arm "
            f"in {weeks:g} weeks, and {spec.minimum_units} are needed before anything is decided"
        )
        return ExperimentPlan(
            metric=history.metric,
            weeks=weeks,
            reaches=reaches,
            start_bp=None,
            units_needed=needed,
            reason=reason,
        )
    return ExperimentPlan(
        metric=history.metric,
        weeks=weeks,
        reaches=reaches,
        start_bp=start,
        units_needed=None,
        reason=_promise(spec, reaches, start, weeks),
    )


def smallest_start(spec: ExperimentSpec, history: History, *, weeks: float) -> int | None:
    """Smallest treated share in basis points (at most 1000) with `minimum_units` per arm in `weeks`."""
    total = _units(history, weeks)
    if total <= 0:
        return None
    return next((bp for bp in range(1, MAX_FIRST_BP + 1) if total * bp / BASIS_POINTS >= spec.minimum_units), None)


def _reach(spec: ExperimentSpec, history: History, treated_bp: int, weeks: float) -> Reach:
    units = int(_units(history, weeks) * treated_bp / BASIS_POINTS)
    if units < spec.minimum_units:
        return Reach(treated_bp=treated_bp, units_per_arm=units, detectable=None, relative=None)
    found = detectable_difference(history.sd, units, alpha=spec.alpha, planned=spec.planned_units)
    relative = found / abs(history.mean) if history.mean else None
    return Reach(treated_bp=treated_bp, units_per_arm=units, detectable=found, relative=relative)


def _units(history: History, weeks: float) -> float:
    return history.units + history.new_units_per_week * max(0.0, weeks - 1)


def _promise(spec: ExperimentSpec, reaches: Sequence[Reach], start: int, weeks: float) -> str:
    best = next((reach for reach in reversed(reaches) if reach.detectable is not None), None)
    if best is None or best.detectable is None:
        return f"start at {start / 100:g} %; no stage of the spec reaches {spec.minimum_units} units per arm"
    text = (
        f"start at {start / 100:g} %; at {best.treated_bp / 100:g} % ({best.units_per_arm} units per arm) "
        f"{weeks:g} weeks show a difference of {best.detectable:.3g}"
    )
    if spec.minimum_effect is not None and best.detectable > spec.minimum_effect:
        return f"{text}, more than the {spec.minimum_effect:g} that is worth having: expect no decision"
    return text
