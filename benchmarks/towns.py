"""Towns for the benchmarks of learning: a log that favours no policy, the local model's answers, tables with intervals.

The log is written by the explorer alone, so every row is neutral to every policy compared. Households are split as
datasets split them. The people are simulated: a gain here is no promise about real ones."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import planner_town
from bakeoff.adapters.generation.transformers_engine import TransformersEngines
from bakeoff.adapters.generation.weights import BaseModel
from bakeoff.datasets.model import Row, Split
from bakeoff.datasets.split import split_of
from bakeoff.fingerprint import digest
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec
from bakeoff.inference.run_policy import run_policy
from bakeoff.stats.paired import compare_pairs
from bakeoff.task import Example, PythonAnswer, Request
from planner import policies
from planner.task import PlannerTask

UNITS, WEEKS = 300, 3
TASK = PlannerTask()
Answerer = Callable[[Example], PythonAnswer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Explored:
    """What a town's log says after some weeks of the explorer."""

    rows: Sequence[Row]  # oldest first
    best: Mapping[str, PythonAnswer]  # by digest of the request: what an oracle would plan that knows the hidden tastes

    def examples(self, split: Split) -> list[Example]:
        return [row.example for row in self.rows if row.split is split]

    def newest(self, split: Split, count: int) -> list[Row]:
        """The last `count` rows of `split`, oldest first."""
        return [row for row in self.rows if row.split is split][-count:]


def explored(seed: int) -> Explored:
    """The town of this seed, and its log."""
    best: dict[str, PythonAnswer] = {}

    def explore(town: planner_town.Town, unit: str, week: int, request: Request) -> PythonAnswer:
        best[digest(request)] = planner_town.oracle(town, unit, week, request)
        return policies.explorer(request, seed=1)

    episodes = planner_town.live(UNITS, WEEKS, explore, seed=seed)
    examples = sorted(
        (e for e in TASK.examples(episodes) if isinstance(e, Example)),
        key=lambda example: (example.occurred_at, example.example_id),
    )
    rows = [Row(example=e, split=split_of("planner", e.unit_id), slice=None, request_digest="") for e in examples]
    return Explored(rows=rows, best=best)


def llm(
    engines: TransformersEngines, base: BaseModel, dtype: str, adapter: str | None, adapter_digest: str | None
) -> Answerer:
    """The base model as it is, or with an adapter, through the engine that serves it."""
    model = ModelRef(base=base.name, base_digest=base.digest, adapter=adapter, adapter_digest=adapter_digest)
    spec = PolicySpec(
        task="planner", engine="transformers", prompt_version="1", model=model, dtype=dtype,
        decoding=Decoding(mode="choices"),
    )  # type: ignore[arg-type]  # fmt: skip

    def answer(example: Example) -> PythonAnswer:
        return PythonAnswer(answer=run_policy(TASK, spec, example.request, engine=engines.open(spec)).parsed or {})

    return answer


def table(
    scores: Mapping[str, Sequence[float]],
    units: Sequence[str],
    others: Mapping[str, str],
    more: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Markdown: the mean of each policy with its bounds, and its paired difference to each of `others`.

    Args:
        scores: policy -> a score for each row.
        units: household of each row.
        others: heading -> policy that is subtracted.
        more: heading -> policy -> cell, for further columns."""
    more = more or {}
    heads = ["policy", "agreement", *others, *more]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, values in scores.items():
        cells = [interval(values, units, span=1.0)]
        for other in others.values():
            differences = [a - b for a, b in zip(values, scores[other], strict=True)]
            cells.append("" if name == other else interval(differences, units, sign="+", span=1.0))
        cells += [column.get(name, "") for column in more.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def heading(seeds: Sequence[int], units: Sequence[str], dtype: str) -> str:
    """What the table is about."""
    return (
        f"Towns {', '.join(map(str, seeds))}; {len(units)} neutral rows of {len(set(units))} unseen households; "
        f"{dtype}; means with one-sided 95 % bounds, clustered by household."
    )


def interval(values: Sequence[float], units: Sequence[str], sign: str = "", span: float | None = None) -> str:
    """Mean and its bounds. `span`: range of the metric; without it, values that are all equal have no bounds."""
    found = compare_pairs(values, units, alpha=0.05, span=span)
    if not math.isfinite(found.lower):
        return f"{found.estimate:{sign}.3f}"
    return f"{found.estimate:{sign}.3f} [{found.lower:{sign}.3f}, {found.upper:{sign}.3f}]"
