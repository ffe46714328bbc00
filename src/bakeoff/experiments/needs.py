"""What a need came to: the task's outcome metrics and those that every decision has, each by what happened within
its own window. A pure function of the need's events, whatever order they arrived in."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bakeoff.fingerprint import digest
from bakeoff.task import Episode, Metric, Task

DECISION_METRICS: tuple[Metric, ...] = (
    Metric(
        name="intervention", unit="share of needs", direction="lower", low=0.0, high=1.0, matures_hours=0.0,
        meaning="the validator found at least one violation in the first answer",
    ),
    Metric(
        name="fallback", unit="share of needs", direction="lower", low=0.0, high=1.0, matures_hours=0.0,
        meaning="the last resort answered instead of the assigned version",
    ),
    Metric(
        name="latency_s", unit="s", direction="lower", low=0.0, high=None, matures_hours=0.0,
        meaning="wall-clock seconds of the first decision's model call",
    ),
    Metric(
        name="cost", unit="currency", direction="lower", low=0.0, high=None, matures_hours=0.0,
        meaning="tokens times the declared price, first decision",
    ),
)  # fmt: skip
"""Computed for every task from the decision itself, so they are known at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NeedOutcome:
    """One need of a unit (the planner: a household's week), judged by its first decision."""

    unit_id: str
    need_id: str
    variant_id: str  # of the first decision
    in_two_arms: bool  # its decisions name more than one variant
    began_at: datetime  # of the first decision
    measured: tuple[float | None, ...]  # in the order of `metrics`; None: not applicable


def metrics(task: Task) -> tuple[Metric, ...]:
    """All online metrics of a task."""
    return (*task.outcome_metrics, *DECISION_METRICS)


def shape(task: Task) -> str:
    """Digest of what a need is measured by. Outcomes of another shape are not comparable."""
    return digest([[metric.name, metric.matures_hours] for metric in metrics(task)])


def measure(task: Task) -> Callable[[Episode], NeedOutcome]:
    """The outcome of one episode, by the metrics of `task`."""
    names = [(metric.name, metric.matures_hours) for metric in task.outcome_metrics]
    windows = {hours: timedelta(hours=hours) for _, hours in names}

    def measured(episode: Episode) -> NeedOutcome:
        decision = episode.decision
        seen = _at_ends(task, episode, windows)
        values = [seen[hours].get(name) for name, hours in names]
        values += decision_values(episode).values()
        if not all(value is None or math.isfinite(value) for value in values):
            raise ValueError(_not_finite(task, episode, values))
        return NeedOutcome(
            unit_id=episode.unit_id,
            need_id=episode.need_id,
            variant_id=decision.variant_id,
            in_two_arms=any(event.variant_id != decision.variant_id for event in episode.decisions),
            began_at=decision.occurred_at,
            measured=tuple(None if value is None else float(value) for value in values),
        )

    return measured


def is_live(episode: Episode) -> bool:
    """Not imported history: a test is judged by what it did to people itself. An episode goes by its first decision,
    as a need does."""
    return episode.decision.origin == "live"


def decision_values(episode: Episode) -> dict[str, float | None]:
    """The metrics of `DECISION_METRICS`, from the payload that `serving` wrote; None where nobody wrote it."""
    decision = episode.decision
    payload = decision.payload
    violations = payload.get("violations")
    return {
        "intervention": None if violations is None else float(bool(violations)),
        "fallback": float(decision.fell_back),
        "latency_s": _number(payload, "latency_s"),
        "cost": _number(payload, "cost"),
    }


def _at_ends(
    task: Task, episode: Episode, windows: Mapping[float, timedelta]
) -> dict[float, Mapping[str, float | None]]:
    """The task's metrics at the end of each window; computed once where nothing happened in between."""
    began = episode.decision.occurred_at
    last = (episode.outcomes[-1] if episode.outcomes else episode.decision).occurred_at
    latest = max(last, episode.decisions[-1].occurred_at) - began
    found: dict[float, Mapping[str, float | None]] = {}
    whole: Mapping[str, float | None] | None = None
    for hours, window in windows.items():
        if latest > window:
            found[hours] = task.outcome(_until(episode, began + window))
        else:
            whole = found[hours] = task.outcome(episode) if whole is None else whole
    return found


def _until(episode: Episode, end: datetime) -> Episode:
    return replace(
        episode,
        decisions=tuple(event for event in episode.decisions if event.occurred_at <= end),
        outcomes=tuple(event for event in episode.outcomes if event.occurred_at <= end),
    )


def _number(payload: Mapping[str, Any], name: str) -> float | None:
    value = payload.get(name)
    return None if value is None else float(value)


def _not_finite(task: Task, episode: Episode, values: Sequence[float | None]) -> str:
    wrong = [
        f"{metric.name} is {value}"
        for metric, value in zip(metrics(task), values, strict=True)
        if value is not None and not math.isfinite(value)
    ]
    where = f"unit {episode.unit_id}, need {episode.need_id}"
    return f"{where}: {', '.join(wrong)}; expected a finite number or None"
