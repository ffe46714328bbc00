"""SIMULATION: worlds in which the truth about two policies is known, judged by the gate itself.

    python tests/gate_worlds.py            the tables of benchmarks/RESULTS.md, as Markdown (minutes)

Households have unequal numbers of rows (lognormal), and gain or lose by themselves. Metrics: `choice` is yes or no and
differs in three rows of ten; `score` is continuous; `edits` are counts with a long tail; `rare` is lost as a whole by
a few households."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from bakeoff.gates.columns import Pairs
from bakeoff.gates.judge import judge
from bakeoff.gates.model import Gate, GateReport, NonInferior, Outcome
from bakeoff.gates.segments import harms, screen
from bakeoff.task import Metric

Floats = npt.NDArray[np.float64]
MARGIN = 0.05
QUALITY = Metric(name="quality", unit="share", direction="higher", low=0.0, high=1.0, meaning="")
EDITS = Metric(name="edits", unit="edits", direction="lower", low=0.0, high=None, meaning="")
GATE = Gate(name="simulated", rules=(NonInferior(metric="quality", margin=MARGIN),))
EDITS_GATE = Gate(name="simulated", rules=(NonInferior(metric="edits", margin=0.25),))


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """How rows come about. `draw(rng, units of the rows (n,), shift of each row (n,))` -> (candidate, incumbent)."""

    name: str
    metric: Metric
    gate: Gate
    draw: Callable[[np.random.Generator, npt.NDArray[np.intp], Floats], tuple[Floats, Floats]]
    spread: float  # by how much households differ in what they gain: half the width of a uniform shift


def choice(rng: np.random.Generator, units: npt.NDArray[np.intp], gain: Floats) -> tuple[Floats, Floats]:
    u = rng.random(len(units))
    theirs = np.full(len(units), 0.5)
    worse, better = 0.15 - gain / 2, 0.15 + gain / 2
    d = np.where(u < worse, -0.5, np.where(u < worse + better, 0.5, 0.0))
    return theirs + d, theirs - d  # a difference of one whole answer, half on each side


def score(rng: np.random.Generator, units: npt.NDArray[np.intp], gain: Floats) -> tuple[Floats, Floats]:
    theirs = np.clip(rng.normal(0.55, 0.1, len(units)), 0.2, 0.9)
    return np.clip(theirs + gain + rng.normal(0, 0.15, len(units)), 0, 1), theirs


def edits(rng: np.random.Generator, units: npt.NDArray[np.intp], gain: Floats) -> tuple[Floats, Floats]:
    """A fifth of the households changes five times as much; `gain` is in edits and negative where it is worse."""
    busy = np.where(rng.random(units.max() + 1) < 0.2, 3.0, 0.6)[units]
    return rng.poisson(np.maximum(busy - gain, 0.01)).astype(float), rng.poisson(busy).astype(float)


def rare(rng: np.random.Generator, units: npt.NDArray[np.intp], gain: Floats) -> tuple[Floats, Floats]:
    """Each household loses everything with probability `-gain`, and is equal otherwise."""
    loses = (rng.random(units.max() + 1) < -gain[0])[units]
    return np.where(loses, 0.0, 1.0), np.ones(len(units))


WORLDS: Mapping[str, World] = {
    world.name: world
    for world in (
        World(name="choice", metric=QUALITY, gate=GATE, draw=choice, spread=0.12),
        World(name="score", metric=QUALITY, gate=GATE, draw=score, spread=0.1),
        World(name="edits", metric=EDITS, gate=EDITS_GATE, draw=edits, spread=0.2),
        World(name="rare", metric=QUALITY, gate=GATE, draw=rare, spread=0.0),
    )
}


def rows(world: World, rng: np.random.Generator, units: int, gain: float) -> Pairs:
    """One test split of `units` households; the candidate is truly better by `gain` on the average over rows."""
    counts = np.maximum(1, rng.lognormal(1.2, 0.6, units).astype(int))
    of = np.repeat(np.arange(units), counts)
    shift = rng.uniform(-world.spread, world.spread, units)[of] if world.spread else np.zeros(len(of))
    ours, theirs = world.draw(rng, of, gain + shift)
    name = world.metric.name
    return Pairs(
        example_ids=[f"{n:06d}" for n in range(len(of))],
        unit_ids=[f"{unit:05d}" for unit in of],
        units=of.astype(np.intp),
        neutral=np.ones(len(of), dtype=np.bool_),
        candidate={name: ours},
        incumbent={name: theirs},
    )


def reports(name: str, units: int, gain: float, runs: int, seed: int) -> Iterator[GateReport]:
    """Judgements of `runs` test splits."""
    world = WORLDS[name]
    for run in range(runs):
        rng = np.random.default_rng([seed, units, run])
        yield judge(world.gate, (world.metric,), rows(world, rng, units, gain))


def count(found: Iterator[GateReport], outcome: Outcome) -> int:
    return sum(report.verdict is outcome for report in found)


def false_alarms(units: int, segments: int, runs: int, seed: int) -> int:
    """How many of `runs` equal candidates are called harmful in some of the segments, over three metrics."""
    names = ("choice", "score", "edits")
    gate = Gate(
        name="segments", rules=tuple(NonInferior(metric=name, margin=1.0) for name in names), minimum_segment_units=12
    )
    metrics = tuple(Metric(name=n, unit="", direction="higher", low=None, high=None, meaning="") for n in names)
    alarms = 0
    for run in range(runs):
        rng = np.random.default_rng([seed, units, run])
        first = rows(WORLDS["choice"], rng, units, 0.0)
        columns: dict[str, tuple[Floats, Floats]] = {}
        for name in names:
            shift = rng.uniform(-1, 1, units)[first.units] * WORLDS[name].spread
            columns[name] = WORLDS[name].draw(rng, first.units, shift)
        pairs = Pairs(
            example_ids=first.example_ids, unit_ids=first.unit_ids, units=first.units, neutral=first.neutral,
            candidate={name: pair[0] for name, pair in columns.items()},
            incumbent={name: pair[1] for name, pair in columns.items()},
        )  # fmt: skip
        home = rng.integers(0, segments, units)
        labels = {
            example_id: {"region": f"r{home[unit]}", "mode": f"m{rng.integers(0, 2)}"}
            for example_id, unit in zip(pairs.example_ids, pairs.units, strict=True)
        }
        alarms += bool(harms(screen(gate, metrics, pairs, labels), gate.alpha))
    return alarms


@cache
def share(name: str, units: int, gain: float, outcome: Outcome, runs: int) -> float:
    return count(reports(name, units, gain, runs, seed=11), outcome) / runs


def table(title: str, households: Sequence[int], lines: Mapping[str, Callable[[int], float]]) -> str:
    head = f"| {title} | {' | '.join(str(n) for n in households)} |\n|---|{'---|' * len(households)}"
    body = [f"| {name} | {' | '.join(f'{value(n):.3f}' for n in households)} |" for name, value in lines.items()]
    return "\n".join([head, *body])


def main(runs: int = 600) -> None:
    households = (30, 60, 150, 400)
    gains = {"choice": -MARGIN, "score": -MARGIN, "edits": -0.25, "rare": -MARGIN}

    def passing(name: str, gain: float) -> Callable[[int], float]:
        return lambda units: share(name, units, gain, Outcome.PASS, runs)

    def failing(name: str, gain: float) -> Callable[[int], float]:
        return lambda units: share(name, units, gain, Outcome.FAIL, runs)

    print(f"{runs} simulated gates per number.\n")
    worse = {f"false PASS, {name}": passing(name, gain) for name, gain in gains.items()}
    print(table("true loss equal to the margin; households", households, worse), "\n")
    equal = {f"PASS, {name}": passing(name, 0.0) for name in ("choice", "score", "edits")}
    print(table("equal policies; households", households, equal), "\n")
    better = {f"PASS, {name}": passing(name, -gains[name]) for name in ("choice", "score", "edits")}
    print(table("truly better by the margin; households", households, better), "\n")
    harm = {f"FAIL, {name}": failing(name, 3 * gains[name]) for name in ("choice", "score", "edits")}
    print(table("truly worse by three margins; households", households, harm), "\n")
    false_fail = {f"false FAIL, {name}": failing(name, 0.0) for name in ("choice", "score", "edits")}
    print(table("equal policies; households", households, false_fail), "\n")
    alarms = {f"{n} regions and 2 modes": lambda units, n=n: false_alarms(units, n, runs, 12) / runs for n in (3, 6)}
    print(table("equal policies: some segment called harmful; households", households, alarms))


if __name__ == "__main__":
    main()
