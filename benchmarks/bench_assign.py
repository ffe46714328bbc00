"""`assign` against the bare hash below it, call by call, in one process.

    python benchmarks/bench_assign.py --calls 200000

Both are timed for the same unit ids in the same run, one after the other within each call, so that a busy machine hurts
both alike; a timer's own cost is measured and shown. Prints a Markdown table."""

import argparse
import time
from collections.abc import Callable, Mapping

import mmh3
import numpy as np

from bakeoff.experiments.assign import assign, assign_decision

GOAL_US = 5.0


def nothing(unit: str) -> None:
    """What the timing itself costs."""


def bare(unit: str) -> int:
    return int(mmh3.hash(unit.encode(), 0, signed=False))


def percentiles(calls: int, functions: Mapping[str, Callable[[str], object]]) -> dict[str, list[float]]:
    """Microseconds per call: median, p99, p99.9."""
    units = [f"household-{n:07d}" for n in range(calls)]
    taken = {name: np.empty(calls) for name in functions}
    clock = time.perf_counter_ns
    for n, unit in enumerate(units):
        for name, function in functions.items():
            began = clock()
            function(unit)
            taken[name][n] = clock() - began
    return {name: [float(np.percentile(ns, q)) / 1000 for q in (50, 99, 99.9)] for name, ns in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200_000)
    calls = parser.parse_args().calls
    experiment = "3f5b1b0a-52c7-5c0a-b6d1-9f2a4f0f7c55"
    found = percentiles(
        calls,
        {
            "an empty function": nothing,
            "bare mmh3 of the unit id": bare,
            "assign, 10 % treated": lambda unit: assign(experiment, unit, 1000),
            "assign, 50 % treated": lambda unit: assign(experiment, unit, 5000),
            "assign_decision (explorer)": lambda unit: assign_decision(experiment, unit, 500),
        },
    )
    print(f"{calls:,} calls each\n\n| call | median us | p99 us | p99.9 us |\n|---|---|---|---|")
    for name, (median, high, highest) in found.items():
        print(f"| {name} | {median:.2f} | {high:.2f} | {highest:.2f} |")
    worst = max(high for name, (_, high, _) in found.items() if name.startswith("assign,"))
    print(f"\nGoal {GOAL_US:g} us at p99: {'met' if worst <= GOAL_US else 'missed'} ({worst:.2f} us).")


if __name__ == "__main__":
    main()
