"""Whole experiments through assign, analyze and advise: what is shipped, rolled back and kept, how often."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from bakeoff.experiments.analyze import analyze
from bakeoff.experiments.assign import assign
from bakeoff.experiments.cohort import Cohort, Series
from bakeoff.experiments.model import ExperimentSpec, Guardrail, Phase
from bakeoff.experiments.ramp import advise
from bakeoff.stats.proportion import exact_lower, exact_upper
from bakeoff.task import Metric

START = datetime(2025, 1, 6, tzinfo=UTC)
METRICS = (
    Metric(name="accepted", unit="share", direction="higher", low=0.0, high=1.0, meaning=""),
    Metric(name="intervention", unit="share", direction="lower", low=0.0, high=1.0, meaning=""),
)
SPEC = ExperimentSpec(
    hypothesis="superiority",
    primary="accepted",
    guardrails=(Guardrail(metric="intervention", margin=0.05, direction="lower"),),
    stages=(1000, 5000),
    dwell_hours=24,
    last_dwell_hours=168,
    minimum_units=50,
    planned_units=600,
    horizon_weeks=8,
)
HOUSEHOLDS = 700


def run(seed: int, *, effect: float = 0.0, harm: float = 0.0, past: bool = False) -> str:
    """One experiment on 700 households, a look a week: the verdict that ends it."""
    rng = np.random.default_rng(seed)
    taste = rng.beta(3, 3, HOUSEHOLDS)
    dealt = [assign(f"e{seed}", f"h{n}", 5000) for n in range(HOUSEHOLDS)]
    bucket = np.array([found.bucket for found in dealt if found])
    treated = np.array([found.arm == "treated" for found in dealt if found])
    before = rng.binomial(4, taste).astype(float), np.full(HOUSEHOLDS, 4)
    rates = {"accepted": np.clip(taste + effect * treated, 0, 1), "intervention": 0.02 + harm * treated}
    sums = {name: np.zeros(HOUSEHOLDS) for name in rates}
    needs, phase = np.zeros(HOUSEHOLDS, dtype=np.int64), np.zeros(HOUSEHOLDS, dtype=np.int64)
    current = Phase(experiment_id="e", number=1, treated_bp=SPEC.stages[0], began_at=START)
    for week in range(12):
        now = START + timedelta(weeks=week + 1)
        met = bucket < 2 * current.treated_bp
        phase[met & (phase == 0)] = current.number
        needs[met] += 1
        for name, rate in rates.items():
            sums[name][met] += rng.random(HOUSEHOLDS)[met] < np.broadcast_to(rate, HOUSEHOLDS)[met]
        series = {
            name: Series(
                sums=sums[name][met], needs=needs[met], due=needs[met],
                sums_before=before[0][met] if past and name == "accepted" else None,
                needs_before=before[1][met] if past and name == "accepted" else None,
            )
            for name in rates
        }  # fmt: skip
        seen = int(met.sum())
        cohort = Cohort(
            treated=treated[met], phase=phase[met], in_two_arms=np.zeros(seen, dtype=bool),
            fresh=np.ones(seen, dtype=np.int64), series=series,
        )  # fmt: skip
        advice = advise(SPEC, current, analyze(SPEC, METRICS, cohort, looked_at=now), now, started_at=START)
        if advice.verdict in ("rollback", "ship", "keep"):
            return advice.verdict
        if advice.verdict == "advance":
            current = Phase(
                experiment_id="e", number=current.number + 1, treated_bp=advice.next_treated_bp, began_at=now
            )
    return "running"


def endings(runs: int, first: int = 0, **world: float) -> Counter[str]:
    return Counter(run(first + seed, **world) for seed in range(runs))


@pytest.mark.parametrize("past", [False, True])
def test_equal_policies_are_kept_and_almost_never_shipped_or_rolled_back(past: bool) -> None:
    runs = 60
    got = endings(runs, past=past)
    assert exact_lower(got["ship"], runs, 0.01) <= 0.05
    assert exact_lower(got["rollback"], runs, 0.01) <= 0.05
    assert got["keep"] >= 0.85 * runs
    assert got["running"] == 0


def test_a_planted_regression_is_never_shipped_and_mostly_rolled_back() -> None:
    got = endings(25, 1000, effect=-0.15)
    assert got["ship"] == 0
    assert got["rollback"] >= 20


def test_more_interventions_are_rolled_back_even_if_people_accept_more() -> None:
    got = endings(25, 2000, effect=0.1, harm=0.15)
    assert got["ship"] == 0
    assert got["rollback"] >= 20


def test_a_clear_improvement_is_shipped() -> None:
    got = endings(25, 3000, effect=0.15)
    assert got["ship"] >= 20
    assert got["rollback"] == 0


@pytest.mark.simulate
@pytest.mark.parametrize("past", [False, True])
def test_false_ships_and_false_rollbacks_stay_below_alpha_many_experiments(past: bool) -> None:
    runs = 800
    got = endings(runs, 10_000, past=past)
    assert exact_upper(got["ship"], runs, 0.01) <= 0.05
    assert exact_upper(got["rollback"], runs, 0.01) <= 0.05
