"""What the log says about the needs of the last weeks, from which an experiment is planned. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bakeoff.experiments.needs import measure
from bakeoff.experiments.needs import metrics as measured_by
from bakeoff.experiments.plan import History
from bakeoff.task import Episode, Metric, Task

WEEK = timedelta(weeks=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """A stretch of the log, as a plan needs it."""

    since: datetime  # of the first need
    until: datetime  # of the last one
    needs: int  # with a matured value of any of the metrics
    units: int
    histories: tuple[History, ...]  # one for each metric that has a value in at least two units


@dataclass(kw_only=True, slots=True)
class _Unit:
    first: datetime
    sums: dict[str, float] = field(default_factory=dict)
    needs: dict[str, int] = field(default_factory=dict)


def read(task: Task, metrics: Sequence[Metric], episodes: Iterable[Episode], *, until: datetime) -> Past | None:
    """Means and spreads per unit of `metrics`, over values that have matured by `until`; None without one. What an
    experiment would measure of a need is what is measured here."""
    measured, every = measure(task), [metric.name for metric in measured_by(task)]
    wanted = [(metric.name, every.index(metric.name), timedelta(hours=metric.matures_hours)) for metric in metrics]
    units: dict[str, _Unit] = {}
    moments: list[datetime] = []
    for episode in episodes:
        moment = episode.decision.occurred_at
        due = [(name, place) for name, place, window in wanted if until - moment >= window]
        if not due:
            continue
        moments.append(moment)
        unit = units.setdefault(episode.unit_id, _Unit(first=moment))
        unit.first = min(unit.first, moment)
        values = measured(episode).measured
        for name, place in due:
            if (value := values[place]) is not None:
                unit.sums[name] = unit.sums.get(name, 0.0) + value
                unit.needs[name] = unit.needs.get(name, 0) + 1
    if not moments:
        return None
    since, last = min(moments), max(moments)
    rate = _new_per_week(units, since, last)
    found = (_history(metric.name, units, rate) for metric in metrics)
    return Past(
        since=since,
        until=last,
        needs=len(moments),
        units=len(units),
        histories=tuple(history for history in found if history is not None),
    )


def _history(metric: str, units: dict[str, _Unit], rate: float) -> History | None:
    means = [unit.sums[metric] / unit.needs[metric] for _, unit in sorted(units.items()) if metric in unit.sums]
    if len(means) < 2:
        return None
    mean = math.fsum(means) / len(means)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in means) / (len(means) - 1))
    share = len(means) / len(units)
    return History(metric=metric, mean=mean, sd=sd, units=len(means), new_units_per_week=rate * share)


def _new_per_week(units: dict[str, _Unit], since: datetime, until: datetime) -> float:
    """Units that came in the second half, per week; 0 where there is less than two weeks to tell by."""
    if until - since < WEEK:
        return 0.0
    middle = since + (until - since) / 2
    return sum(unit.first > middle for unit in units.values()) / max(1.0, (until - middle) / WEEK)
