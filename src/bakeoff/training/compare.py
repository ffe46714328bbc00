"""Runs ranked by a score on the same validation rows, so that a lucky one is not crowned.

The leader is whoever came out best, so it is compared with every other run at a level that holds for *all* pairs
at once (Bonferroni over k (k - 1) / 2 pairs): which pair is looked at was decided by the data (the winner's curse).
The intervals tell rows apart, not seeds: they say nothing about what the same settings give with another seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bakeoff.errors import UsageError
from bakeoff.stats.paired import PairedComparison, compare_pairs

LEVEL = 0.05
"""Chance that equal runs are told apart, over all pairs together."""
Standing = Literal["best", "leads", "not distinguishable", "worse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """One row's score under one run."""

    example_id: str
    unit_id: str
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """One run's place."""

    run_id: str
    mean: float  # over its rows
    rows: int
    to_leader: PairedComparison | None  # this run minus the leader over the rows of both; None for the leader
    standing: Standing  # 'best': told apart from all others; 'leads': not from all


def rank(
    runs: Mapping[str, Sequence[Scored]], *, span: float | None = None, level: float = LEVEL
) -> tuple[Ranked, ...]:
    """Runs by mean score, highest first (ties by run id).

    `runs`: scores by run, higher is better. `span`: range of the score, see `stats.paired.compare_pairs`. Raises
    UsageError for a run without scores, or without a row in common with the leader."""
    for run_id, rows in runs.items():
        if not rows:
            raise UsageError(f"run {run_id} has no scored validation row", cure="leave it out of the comparison")
    means = {run_id: sum(row.value for row in rows) / len(rows) for run_id, rows in runs.items()}
    order = sorted(runs, key=lambda run_id: (-means[run_id], run_id))
    pairs = max(1, len(order) * (len(order) - 1) // 2)
    against = {run_id: _against(run_id, order[0], runs, level / 2 / pairs, span) for run_id in order[1:]}
    others: dict[str, Standing] = {
        run_id: "worse" if found.upper < 0 else "not distinguishable" for run_id, found in against.items()
    }
    leader: Standing = "best" if all(standing == "worse" for standing in others.values()) else "leads"
    return tuple(
        Ranked(
            run_id=run_id,
            mean=means[run_id],
            rows=len(runs[run_id]),
            to_leader=against.get(run_id),
            standing=others.get(run_id, leader),
        )
        for run_id in order
    )


def _against(
    run_id: str, leader: str, runs: Mapping[str, Sequence[Scored]], alpha: float, span: float | None
) -> PairedComparison:
    best = {row.example_id: row.value for row in runs[leader]}
    shared = [row for row in runs[run_id] if row.example_id in best]
    if not shared:
        raise UsageError(
            f"runs {run_id} and {leader} have no validation row in common", cure="compare runs of one dataset"
        )
    differences = [row.value - best[row.example_id] for row in shared]
    return compare_pairs(differences, [row.unit_id for row in shared], alpha=alpha, span=span)


def verdict(ranked: Sequence[Ranked]) -> str:
    """The outcome in one sentence."""
    leader = ranked[0]
    equal = [each.run_id for each in ranked[1:] if each.standing == "not distinguishable"]
    if len(ranked) == 1:
        return f"{leader.run_id} is the only run: nothing to compare it with"
    if not equal:
        return f"{leader.run_id} is better than every other run"
    return (
        f"{leader.run_id} leads, but is not distinguishable from {len(equal)} of {len(ranked) - 1} others; "
        "take the cheapest or the default of these, or score more rows"
    )
