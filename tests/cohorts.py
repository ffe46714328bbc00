"""Cohorts from rows of needs, as a test writes them down: the plain way to add them up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from bakeoff.experiments.cohort import Cohort, Series
from bakeoff.experiments.model import Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """One need of an exposed unit; with no values a unit that met the test and never came back."""

    unit_id: str
    arm: Arm
    values: Mapping[str, float | None] = field(default_factory=dict)
    matured: bool = True
    phase: int = 1


def cohort(
    needs: Iterable[Need], *, before: Mapping[str, Mapping[str, float]] | None = None, **other: object
) -> Cohort:
    """`before`: unit -> values of its one need before the test."""
    rows = list(needs)
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    units = sorted({row.unit_id for row in rows})
    place = {unit: n for n, unit in enumerate(units)}
    arms: dict[str, set[str]] = {unit: set() for unit in units}
    phases = dict.fromkeys(units, 99)
    sums = {name: np.zeros(len(units)) for name in names}
    counts = {name: np.zeros(len(units), dtype=np.int64) for name in names}
    due = np.zeros(len(units), dtype=np.int64)
    for row in rows:
        arms[row.unit_id].add(row.arm)
        phases[row.unit_id] = min(phases[row.unit_id], row.phase)
        if not row.matured or not row.values:
            continue
        due[place[row.unit_id]] += 1
        for name, value in row.values.items():
            if value is not None:
                sums[name][place[row.unit_id]] += value
                counts[name][place[row.unit_id]] += 1
    pasts = {name: _past(name, units, before) for name in names}
    return Cohort(
        treated=np.array([next(iter(sorted(arms[unit], reverse=True))) == "treated" for unit in units], dtype=bool),
        in_two_arms=np.array([len(arms[unit]) > 1 for unit in units], dtype=bool),
        phase=np.array([phases[unit] for unit in units], dtype=np.int64),
        fresh=np.ones(len(units), dtype=np.int64),
        series={
            name: Series(
                sums=sums[name], needs=counts[name], due=due, sums_before=pasts[name][0], needs_before=pasts[name][1]
            )
            for name in names
        },
        **other,  # type: ignore[arg-type]
    )


def _past(name: str, units: list[str], before: Mapping[str, Mapping[str, float]] | None) -> tuple[object, object]:
    if before is None:
        return None, None
    known = [before.get(unit, {}).get(name) for unit in units]
    return (
        np.array([value or 0.0 for value in known]),
        np.array([value is not None for value in known], dtype=np.int64),
    )
