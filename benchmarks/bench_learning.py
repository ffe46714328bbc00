"""Does the fine-tuned model learn? Agreement with what unseen households keep, on neutral rows, over several towns.

    python benchmarks/bench_learning.py [--seeds 1 2 3] [--dtype auto] [--rows 120]

Each seed is another town. Its log is written by the explorer alone, so every row is neutral to every policy compared.
Rows of the train split (the newest 200) teach a LoRA adapter and, beside it, a logistic regression on the same
features; rows of the test split, other households, are planned by all. Prints a Markdown table with standard errors
clustered by household. The people are simulated: a gain here is no promise about real ones."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bakeoff.adapters.generation.hardware import pick_dtype, usable_cores
from bakeoff.adapters.generation.transformers_engine import TransformersEngines
from bakeoff.adapters.generation.weights import BaseModel, resolve_base
from bakeoff.datasets.model import Row, Split
from bakeoff.fingerprint import digest
from bakeoff.task import Example, PythonAnswer
from bakeoff.training.model import TrainSpec
from bakeoff.training.recipes import lora_sft
from bakeoff.training.run import training_rows
from planner import policies
from planner.features import features
from planner.plans import choose, plan
from towns import TASK, Answerer, explored, heading, llm, table

TRAIN_ROWS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--rows", type=int, default=120, help="test rows per town")
    asked = parser.parse_args()
    dtype = pick_dtype(override=None if asked.dtype == "auto" else asked.dtype)
    scores: dict[str, list[float]] = {}
    units: list[str] = []
    for seed in asked.seeds:
        found, who, seconds = town(seed, dtype, asked.rows)
        units += [f"{seed}/{unit}" for unit in who]
        for name, values in found.items():
            scores.setdefault(name, []).extend(values)
        means = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in found.items())
        print(f"town {seed}: {means}; training {seconds:.0f} s", file=sys.stderr, flush=True)
    print(heading(asked.seeds, units, dtype), end="\n\n")
    print(table(scores, units, {"minus untuned": "untuned SmolLM2", "minus heuristic": "heuristic"}))


def town(seed: int, dtype: str, rows: int) -> tuple[dict[str, list[float]], list[str], float]:
    """Alignment per policy and test row, the rows' households, seconds of training."""
    found = explored(seed)
    train, test = found.newest(Split.TRAIN, TRAIN_ROWS), [row.example for row in found.newest(Split.TEST, rows)]
    with tempfile.TemporaryDirectory() as scratch:
        base = resolve_base("smollm2", Path(scratch).parent / "bakeoff-bench-models", offline=True)
        began = time.perf_counter()
        adapter, adapter_digest = fine_tune(train, base, dtype, Path(scratch))
        seconds = time.perf_counter() - began
        engines = TransformersEngines(
            base=lambda _: base.path, adapter=lambda model: Path(str(model.adapter)), threads=usable_cores()
        )
        sides: dict[str, Answerer] = {
            "random plan": lambda e: policies.explorer(e.request, seed=2),
            "untuned SmolLM2": llm(engines, base, dtype, None, None),
            "heuristic": lambda e: policies.heuristic(e.request, seed=0),
            "tuned SmolLM2": llm(engines, base, dtype, adapter, adapter_digest),
            "logistic regression": regression([row.example for row in train]),
            "oracle": lambda e: found.best[digest(e.request)],
        }
        scores = {name: [score(example, answer(example)) for example in test] for name, answer in sides.items()}
    return scores, [example.unit_id for example in test], seconds


def fine_tune(train: Sequence[Row], base: BaseModel, dtype: str, scratch: Path) -> tuple[str, str]:
    spec = TrainSpec(
        task="planner", dataset_digest="bench", base="smollm2", base_digest=base.digest, prompt_version="1", dtype=dtype
    )  # type: ignore[arg-type]
    rows = training_rows(TASK, train, Split.TRAIN)
    result = lora_sft.train(spec, rows, base_dir=base.path, out_dir=scratch / "adapter", threads=usable_cores())
    return str(result.adapter_dir), result.adapter_digest


def regression(train: Sequence[Example]) -> Answerer:
    """What a data scientist would fit on the same rows: engineered features, no language model."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    table = [(numbers(e, option), known) for e in train for option in e.request["options"]
             if (known := e.target["informative"].get(option["id"]))]  # fmt: skip
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=1000))
    fitted.fit([row for row, _ in table], [known == "yes" for _, known in table])

    def answer(example: Example) -> PythonAnswer:
        margins = fitted.decision_function([numbers(example, option) for option in example.request["options"]])
        return PythonAnswer(
            answer=plan(example.request, choose(example.request, list(np.argsort(-margins, kind="stable"))))
        )

    return answer


def numbers(example: Example, option: dict[str, object]) -> list[float]:
    known = features(example.request, option)
    return [float(getattr(known, name)) for name in known.__slots__]


def score(example: Example, answer: PythonAnswer) -> float:
    return float(TASK.score(example, answer.answer)["plan_alignment_score"] or 0.0)


if __name__ == "__main__":
    main()
