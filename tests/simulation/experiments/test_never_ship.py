"""A candidate that would ship, and what goes wrong on the way to the analysis: then it never ships."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from bakeoff.experiments.cohort import Cohort, Series
from trials import START, Fault, endings

BETTER = 0.15


def with_series(cohort: Cohort, name: str, **columns: object) -> Cohort:
    changed: Series = replace(cohort.series[name], **columns)  # type: ignore[arg-type]
    return replace(cohort, series={**cohort.series, name: changed})


def swapped(cohort: Cohort, now: datetime) -> Cohort:
    """Somebody mixed up the names of the arms."""
    return replace(cohort, treated=~cohort.treated)


def partly_swapped(cohort: Cohort, now: datetime) -> Cohort:
    """One unit in thirty was served by the other arm at times."""
    return replace(cohort, in_two_arms=np.arange(len(cohort.treated)) % 30 == 0)


def missing(cohort: Cohort, now: datetime) -> Cohort:
    """Nobody logs interventions any more."""
    zero = np.zeros(len(cohort.treated))
    return with_series(cohort, "intervention", sums=zero, needs=zero.astype(np.int64))


def missing_in_one_arm(cohort: Cohort, now: datetime) -> Cohort:
    """The treated version's needs without an intervention are logged without the field, one in ten."""
    series = cohort.series["intervention"]
    lost = cohort.treated & (np.arange(len(cohort.treated)) % 10 == 0)
    return with_series(
        cohort, "intervention", sums=np.where(lost, 0.0, series.sums), needs=np.where(lost, 0, series.needs)
    )


def stale(cohort: Cohort, now: datetime) -> Cohort:
    """The log stopped in the first days; the same numbers are looked at again and again."""
    return replace(cohort, last_event_at=START)


def no_traffic(cohort: Cohort, now: datetime) -> Cohort:
    """Nobody of the control has come since the stage began."""
    return replace(cohort, fresh=np.where(cohort.treated, cohort.fresh, 0))


def lost_exposures(cohort: Cohort, now: datetime) -> Cohort:
    """One exposure in ten was not written."""
    return replace(cohort, unexposed=len(cohort.treated) // 10)


def uneven(cohort: Cohort, now: datetime) -> Cohort:
    """Treated units that did not accept everything are missing: what remains looks even better. (How many units a
    smaller imbalance takes to be seen: test_srm_peeking.)"""
    bad = cohort.treated & (cohort.series["accepted"].sums < cohort.series["accepted"].needs)
    kept = ~bad
    series = {
        name: Series(sums=one.sums[kept], needs=one.needs[kept], due=one.due[kept])
        for name, one in cohort.series.items()
    }
    return replace(
        cohort, treated=cohort.treated[kept], phase=cohort.phase[kept], in_two_arms=cohort.in_two_arms[kept],
        fresh=cohort.fresh[kept], series=series,
    )  # fmt: skip


def late(cohort: Cohort, now: datetime) -> Cohort:
    """Treated people answer after the window more often than not: an answer that is late is none."""
    series = cohort.series["accepted"]
    return with_series(cohort, "accepted", sums=np.where(cohort.treated, np.floor(series.sums * 0.4), series.sums))


def test_without_a_fault_it_ships() -> None:
    assert endings(12, 4000, effect=BETTER)["ship"] >= 11


@pytest.mark.parametrize(
    "fault",
    [swapped, partly_swapped, missing, missing_in_one_arm, stale, no_traffic, lost_exposures, uneven, late],
    ids=lambda fault: fault.__name__,
)
def test_with_a_fault_it_never_ships(fault: Fault) -> None:
    assert endings(12, 4000, effect=BETTER, fault=fault)["ship"] == 0


def test_a_win_that_is_bought_with_variety_does_not_ship() -> None:
    got = endings(12, 5000, effect=BETTER, narrower=0.25)
    assert got["ship"] == 0
    assert got["rollback"] == 0, "it is held and shown, not rolled back"
