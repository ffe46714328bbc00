"""Whole experiments through assign, analyze and advise: what is shipped, rolled back and kept, how often."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from bakeoff.experiments.analyze import analyze
from bakeoff.experiments.assign import assign
from bakeoff.experiments.model import ExperimentSpec, Guardrail, NeedOutcome, Phase
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


def run(seed: int, *, effect: float = 0.0, harm: float = 0.0, households: int = 700) -> str:
    """One experiment on `households`, a look a week: the verdict that ends it."""
    rng = np.random.default_rng(seed)
    taste = rng.beta(3, 3, households)
    treated_bp, began, outcomes, met = SPEC.stages[0], START, [], {}
    for week in range(12):
        now = START + timedelta(weeks=week + 1)
        for unit in range(households):
            arm = met.get(unit)
            if arm is None and (found := assign(f"e{seed}", f"h{unit}", treated_bp)) is not None:
                arm = met[unit] = found.arm
            if arm is None:
                continue
            better, worse = (effect, harm) if arm == "treated" else (0.0, 0.0)
            values = {
                "accepted": float(rng.random() < np.clip(taste[unit] + better, 0, 1)),
                "intervention": float(rng.random() < 0.02 + worse),
            }
            outcomes.append(NeedOutcome(unit_id=f"h{unit}", arm=arm, exposed_at=began, matured=True, values=values))
        phase = Phase(experiment_id="e", number=1, treated_bp=treated_bp, began_at=began)
        advice = advise(SPEC, phase, analyze(SPEC, METRICS, outcomes, looked_at=now), now, started_at=START)
        if advice.verdict in ("rollback", "ship", "keep"):
            return advice.verdict
        if advice.verdict == "advance":
            treated_bp, began = advice.next_treated_bp, now
    return "running"


def endings(runs: int, first: int = 0, **world: float) -> Counter[str]:
    return Counter(run(first + seed, **world) for seed in range(runs))


def test_equal_policies_are_kept_and_almost_never_shipped_or_rolled_back() -> None:
    runs = 60
    got = endings(runs)
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
def test_false_ships_and_false_rollbacks_stay_below_alpha_many_experiments() -> None:
    runs = 800
    got = endings(runs, 10_000)
    assert exact_upper(got["ship"], runs, 0.01) <= 0.05
    assert exact_upper(got["rollback"], runs, 0.01) <= 0.05
