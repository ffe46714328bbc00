"""Episodes of a test -> one row per need and arm: the task's outcome metrics and those that every decision has."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bakeoff.experiments.model import ARMS, Arm, Exposure, NeedOutcome, Variant
from bakeoff.task import Episode, Metric, Task

MATURES_AFTER = timedelta(hours=72)
"""The outcome window of a need, from its first decision (design rule 12)."""

DECISION_METRICS: tuple[Metric, ...] = (
    Metric(
        name="intervention", unit="share of needs", direction="lower", low=0.0, high=1.0,
        meaning="the validator found at least one violation in the first answer",
    ),
    Metric(
        name="fallback", unit="share of needs", direction="lower", low=0.0, high=1.0,
        meaning="the last resort answered instead of the assigned version",
    ),
    Metric(
        name="latency_s", unit="s", direction="lower", low=0.0, high=None,
        meaning="wall-clock seconds of the first decision's model call",
    ),
    Metric(
        name="cost", unit="currency", direction="lower", low=0.0, high=None,
        meaning="tokens times the declared price, first decision",
    ),
)  # fmt: skip
"""Computed for every task from the decision itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """Where a unit belongs in a test, by its first exposure."""

    arm: Arm
    variant_id: str
    exposed_at: datetime


def metrics(task: Task) -> tuple[Metric, ...]:
    """All online metrics of a task."""
    return (*task.outcome_metrics, *DECISION_METRICS)


def arms(exposures: Iterable[Exposure], variants: Iterable[Variant]) -> dict[str, Placed]:
    """Unit -> its arm."""
    role = {variant.variant_id: variant.role for variant in variants}
    return {
        exposure.unit_id: Placed(
            arm="treated" if role[exposure.variant_id] == "treated" else "control",
            variant_id=exposure.variant_id,
            exposed_at=exposure.occurred_at,
        )
        for exposure in exposures
    }


def exposed(placed: Mapping[str, Placed]) -> dict[str, frozenset[str]]:
    """Arm -> units that met it."""
    return {arm: frozenset(unit for unit, place in placed.items() if place.arm == arm) for arm in ARMS}


def live(episodes: Iterable[Episode]) -> Iterator[Episode]:
    """Without imported history: a test is judged by what it did to people itself. An episode goes by its first
    decision, as a need does."""
    return (episode for episode in episodes if episode.decision.origin == "live")


def outcomes(
    task: Task, episodes: Iterable[Episode], *, arms: Mapping[str, Placed], now: datetime
) -> Sequence[NeedOutcome]:
    """One row per need of an exposed unit, judged by its first decision. A need matures 72 h after it."""
    return [
        NeedOutcome(
            unit_id=episode.unit_id,
            arm=arms[episode.unit_id].arm,
            exposed_at=arms[episode.unit_id].exposed_at,
            matured=now - episode.decision.occurred_at >= MATURES_AFTER,
            values={**task.outcome(episode), **decision_values(episode)},
        )
        for episode in episodes
        if episode.unit_id in arms
    ]


def decision_values(episode: Episode) -> dict[str, float]:
    """The metrics of `DECISION_METRICS`, from the payload that `serving` wrote."""
    decision = episode.decision
    payload = decision.payload
    return {
        "intervention": float(bool(payload["violations"])),
        "fallback": float(decision.served_policy_version_id != decision.policy_version_id),
        "latency_s": float(payload["latency_s"]),
        "cost": float(payload["cost"]),
    }
