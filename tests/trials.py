"""Whole simulated experiments through assign, analyze and advise, as vectors: a look a week until one ends it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from bakeoff.experiments.analyze import analyze
from bakeoff.experiments.assign import assign
from bakeoff.experiments.cohort import Cohort, Series
from bakeoff.experiments.model import Counterweight, ExperimentSpec, Guardrail, Phase
from bakeoff.experiments.ramp import advise
from bakeoff.task import Metric

START = datetime(2025, 1, 6, tzinfo=UTC)
METRICS = (
    Metric(name="accepted", unit="share", direction="higher", low=0.0, high=1.0, meaning=""),
    Metric(name="intervention", unit="share", direction="lower", low=0.0, high=1.0, meaning=""),
    Metric(name="variety", unit="share", direction="higher", low=0.0, high=1.0, meaning=""),
)
SPEC = ExperimentSpec(
    hypothesis="superiority",
    primary="accepted",
    guardrails=(Guardrail(metric="intervention", margin=0.05, direction="lower"),),
    counterweights=(Counterweight(metric="variety", margin=0.1, direction="higher"),),
    stages=(1000, 5000),
    dwell_hours=24,
    last_dwell_hours=168,
    minimum_units=50,
    planned_units=600,
    horizon_weeks=8,
)
HOUSEHOLDS = 700
Fault = Callable[[Cohort, datetime], Cohort]
"""What goes wrong between people and the analysis, at each look."""


def run(
    seed: int,
    *,
    effect: float = 0.0,
    harm: float = 0.0,
    narrower: float = 0.0,
    past: bool = False,
    fault: Fault = lambda cohort, now: cohort,
) -> str:
    """One experiment on 700 households: the verdict that ends it, or 'running'. `effect`: gained acceptance, `harm`:
    more interventions, `narrower`: lost variety."""
    rng = np.random.default_rng(seed)
    taste = rng.beta(3, 3, HOUSEHOLDS)
    dealt = [assign(f"e{seed}", f"h{n}", 5000) for n in range(HOUSEHOLDS)]
    bucket = np.array([found.bucket for found in dealt if found])
    treated = np.array([found.arm == "treated" for found in dealt if found])
    before = rng.binomial(4, taste).astype(float), np.full(HOUSEHOLDS, 4)
    rates = {
        "accepted": np.clip(taste + effect * treated, 0, 1),
        "intervention": 0.02 + harm * treated,
        "variety": 0.7 - narrower * treated,
    }
    sums = {name: np.zeros(HOUSEHOLDS) for name in rates}
    needs, phase = np.zeros(HOUSEHOLDS, dtype=np.int64), np.zeros(HOUSEHOLDS, dtype=np.int64)
    current = Phase(experiment_id="e", number=1, treated_bp=SPEC.stages[0], began_at=START)
    for week in range(12):
        now = START + timedelta(weeks=week + 1)
        met = bucket < 2 * current.treated_bp
        phase[met & (phase == 0)] = current.number
        needs[met] += 1
        for name, rate in rates.items():
            sums[name][met] += rng.random(HOUSEHOLDS)[met] < rate[met]
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
            fresh=np.ones(seen, dtype=np.int64), series=series, last_event_at=now,
        )  # fmt: skip
        analysis = analyze(SPEC, METRICS, fault(cohort, now), looked_at=now)
        advice = advise(SPEC, current, analysis, now, started_at=START)
        if advice.verdict in ("rollback", "ship", "keep"):
            return advice.verdict
        if advice.verdict == "advance":
            current = replace(current, number=current.number + 1, treated_bp=advice.next_treated_bp, began_at=now)
    return "running"


def endings(runs: int, first: int = 0, **world: object) -> Counter[str]:
    return Counter(run(first + seed, **world) for seed in range(runs))  # type: ignore[arg-type]
