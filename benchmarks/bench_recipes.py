"""Which recipe wins? Untuned base, SFT, SFT + DPO and tuned SFT on the same rows of several towns, with intervals.

    python benchmarks/bench_recipes.py [--seeds 1 2 3] [--rows 160] [--test-rows 80] [--trials 5] [--small]

Each seed is another town whose log the explorer wrote, so every row is neutral. In each town the newest rows of the
train split teach an SFT adapter with the usual hyperparameters; DPO goes on from it with the edit pairs among those
rows; tuned SFT takes hyperparameters that a study found in one more town (--tune-seed), on its validation split alone,
as `bakeoff train --tuned` takes them from an earlier dataset. Rows of the test split, other households, are planned by
all. A DPO that its recipe refuses counts as the SFT adapter that stays, and the report says so.

What is done is kept in --work; the same command goes on there, and more --trials go on with the study. --small takes
a few minutes and shows only that everything runs. The people are simulated: a gain here is no promise about real
ones."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from bakeoff.adapters import embedded
from bakeoff.adapters.generation.hardware import pick_dtype, usable_cores
from bakeoff.adapters.generation.transformers_engine import TransformersEngines
from bakeoff.adapters.generation.weights import BaseModel, resolve_base
from bakeoff.adapters.optuna_study import OptunaStudies
from bakeoff.cli.run_scores import weights_of
from bakeoff.datasets.model import Split
from bakeoff.errors import Refused
from bakeoff.gates.score import offline_eval_score
from bakeoff.inference.model import Price
from bakeoff.stats.paired import compare_pairs
from bakeoff.training import evals
from bakeoff.training.choice_trainer import Keeping
from bakeoff.training.model import TrainResult, TrainSpec
from bakeoff.training.recipes import lora_dpo, lora_sft
from bakeoff.training.run import Trained, policy_spec, training_pairs, training_rows
from bakeoff.training.sizes import read_shape
from bakeoff.training.tuning.objective import TrainingObjective
from bakeoff.training.tuning.outcome import outcome, verdict
from bakeoff.training.tuning.space import SPACE, USUAL, describe, spec_fields
from bakeoff.training.tuning.study import work
from towns import TASK, Explored, explored, heading, interval, llm, table

UNTUNED, SFT, DPO, TUNED = "untuned SmolLM2", "SFT", "SFT + DPO", "tuned SFT"
SCORES = ("plan_alignment_score", "predicted_edits")
SMALL = {"seeds": [1], "rows": 8, "test_rows": 6, "tune_rows": 8, "eval_rows": 4, "trials": 2}
Kept = dict[str, Any]
"""What is done so far, as JSON values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What every step needs."""

    asked: argparse.Namespace
    base: BaseModel
    spec: TrainSpec  # the usual hyperparameters
    engines: TransformersEngines
    folder: Path  # adapters by town and policy, what is kept

    def adapter(self, *names: object) -> Path:
        return self.folder.joinpath(*map(str, names))


def main() -> None:
    asked = read()
    with redirect_stdout(sys.stderr):  # trainers print what they log
        bench = opened(asked)
        kept = read_kept(bench)
        towns = {seed: explored(seed) for seed in asked.seeds}
        for seed, town in towns.items():
            fixed_recipes(bench, kept, seed, town)
        search(bench, kept)
        for seed, town in towns.items():
            tuned_sft(bench, kept, seed, town)
    print(report(kept, asked.seeds, bench.spec.dtype))


def read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", type=int, default=160, help="train rows per town, the newest")
    parser.add_argument("--test-rows", type=int, default=80, help="test rows per town, the newest")
    parser.add_argument("--tune-seed", type=int, default=4, help="town of the study; none of --seeds")
    parser.add_argument("--tune-rows", type=int, default=80, help="train rows of a full trial")
    parser.add_argument("--eval-rows", type=int, default=48, help="validation rows that score a trial")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "bakeoff-bench-models")
    parser.add_argument("--work", type=Path, help="folder of what is done  [default: by size, below the temporary one]")
    parser.add_argument("--small", action="store_true", help="a few minutes, numbers without meaning")
    asked = parser.parse_args()
    if asked.small:
        vars(asked).update(SMALL)
    if asked.tune_seed in asked.seeds:
        parser.error(f"--tune-seed {asked.tune_seed} is one of --seeds; tuned SFT would be judged where it was tuned")
    name = "bakeoff-bench-recipes" + ("-small" if asked.small else "")
    asked.work = asked.work or Path(tempfile.gettempdir()) / name
    return asked


def opened(asked: argparse.Namespace) -> Bench:
    asked.work.mkdir(parents=True, exist_ok=True)
    threads = asked.threads or usable_cores()
    base = resolve_base("smollm2", asked.models, offline=True)
    spec = TrainSpec(
        task="planner", dataset_digest="bench", base=base.name, base_digest=base.digest, prompt_version="1",
        dtype=pick_dtype(override=None if asked.dtype == "auto" else asked.dtype),
    )  # fmt: skip
    engines = TransformersEngines(
        base=lambda _: base.path, adapter=lambda model: Path(str(model.adapter)), threads=threads
    )
    asked.threads = threads
    return Bench(asked=asked, base=base, spec=spec, engines=engines, folder=asked.work)


# ---- what is kept ----


def about(bench: Bench) -> Kept:
    """What must be equal for two sittings to share their work. More trials go on with the same study."""
    names = ("rows", "test_rows", "tune_seed", "tune_rows", "eval_rows")
    return {name: getattr(bench.asked, name) for name in names} | {"spec": bench.spec.fingerprint}


def read_kept(bench: Bench) -> Kept:
    path = bench.folder / "kept.json"
    kept: Kept = json.loads(path.read_text()) if path.exists() else {"about": about(bench), "towns": {}}
    if kept["about"] != about(bench):
        sys.exit(f"{path} is about {kept['about']}, asked for is {about(bench)}: name another --work, or remove it")
    return kept


def write_kept(bench: Bench, kept: Kept) -> None:
    part = bench.folder / "kept.json.part"
    part.write_text(json.dumps(kept))
    part.rename(bench.folder / "kept.json")


# ---- one town ----


def fixed_recipes(bench: Bench, kept: Kept, seed: int, town: Explored) -> None:
    """The policies that need no search."""
    here = kept["towns"].setdefault(str(seed), {"policies": {}})
    test = [row.example for row in town.newest(Split.TEST, bench.asked.test_rows)]
    here["units"] = [f"{seed}/{example.unit_id}" for example in test]
    train = town.newest(Split.TRAIN, bench.asked.rows)
    pairs = training_pairs(TASK, train, Split.TRAIN)
    here |= {"rows": len(train), "pairs": len(pairs), "pairs_of_split": pairs_of_split(town)}
    ways: dict[str, Callable[[], Kept]] = {
        UNTUNED: lambda: {"seconds": 0.0, "digest": None},
        SFT: lambda: sft(bench, bench.spec, town, bench.adapter(f"town-{seed}", "sft")),
        DPO: lambda: dpo(bench, here["policies"][SFT], pairs, bench.adapter(f"town-{seed}", "dpo")),
    }
    for name, way in ways.items():
        if name not in here["policies"]:
            judge(bench, kept, seed, town, name, way())


def tuned_sft(bench: Bench, kept: Kept, seed: int, town: Explored) -> None:
    """SFT with what the study found; where that is the usual, the adapter would be the same and so is taken over."""
    here = kept["towns"][str(seed)]["policies"]
    spec = replace(bench.spec, **kept["tuning"]["params"])
    if TUNED not in here:
        same = spec == bench.spec
        made = here[SFT] if same else sft(bench, spec, town, bench.adapter(f"town-{seed}", "tuned"))
        judge(bench, kept, seed, town, TUNED, made)


def pairs_of_split(town: Explored) -> int:
    return sum(TASK.preference(example) is not None for example in town.examples(Split.TRAIN))


def sft(bench: Bench, spec: TrainSpec, town: Explored, out: Path) -> Kept:
    rows = training_rows(TASK, town.newest(Split.TRAIN, bench.asked.rows), Split.TRAIN)
    return trained(lambda: lora_sft.train(spec, rows, **places(bench, out)))


def dpo(bench: Bench, start: Kept, pairs: Sequence[Any], out: Path) -> Kept:
    """From the SFT adapter. The towns are small, so the recipe's least number of pairs is lowered to what there is."""
    spec = replace(bench.spec, recipe="lora_dpo", learning_rate=2e-4, start=start["digest"], min_pairs=len(pairs))
    try:
        found = trained(lambda: lora_dpo.train(spec, pairs, start_dir=Path(start["adapter"]), **places(bench, out)))
    except Refused as error:
        return start | {"refused": str(error)}
    return found | {"seconds": start["seconds"] + found["seconds"], "cpu": start["cpu"] + found["cpu"]}


def places(bench: Bench, out: Path) -> Kept:
    keeping = Keeping(root=out.with_name(f"{out.name}.checkpoints"))
    return {"base_dir": bench.base.path, "out_dir": out, "threads": bench.asked.threads, "keeping": keeping}


def trained(train: Callable[[], TrainResult]) -> Kept:
    """What is kept of a training; `cpu` is seconds of the processor, which other processes do not lengthen."""
    began = time.process_time()
    result = train()
    return {
        "seconds": result.seconds,
        "cpu": time.process_time() - began,
        "digest": result.adapter_digest,
        "adapter": str(result.adapter_dir),
        "last": {point.name: point.value for point in result.curves},
    }


def judge(bench: Bench, kept: Kept, seed: int, town: Explored, name: str, made: Kept) -> None:
    """Answers the test rows with the policy and keeps its scores."""
    answer = llm(bench.engines, bench.base, bench.spec.dtype, made.get("adapter"), made.get("digest"))
    test = [row.example for row in town.newest(Split.TEST, bench.asked.test_rows)]
    task = TASK.fitted(town.examples(Split.TRAIN))  # predicted edits, by a model of the train split
    found = [task.score(example, answer(example).answer) for example in test]
    scores = {metric: [defined(row[metric]) for row in found] for metric in SCORES}
    kept["towns"][str(seed)]["policies"][name] = made | {"scores": scores}
    write_kept(bench, kept)
    mean = np.mean(scores["plan_alignment_score"])
    tell(f"town {seed}: {name} {mean:.3f}; training {made['seconds']:.0f} s{made.get('refused', '')}")


def defined(value: float | None) -> float:
    """Both scores have a value for every row of these towns; where one had none, a mean would hide it."""
    assert value is not None
    return value


def tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# ---- the search ----


def search(bench: Bench, kept: Kept) -> None:
    """The study, up to the trials asked for. What was tuned with other hyperparameters before is dropped."""
    before = kept.get("tuning", {"asked": 0, "cpu": 0.0, "params": None})
    if before["asked"] >= bench.asked.trials:
        return
    found = tuned_on(bench, explored(bench.asked.tune_seed))
    kept["tuning"] = found | {"asked": bench.asked.trials, "cpu": before["cpu"] + found["cpu"]}
    if found["params"] != before["params"]:
        for town in kept["towns"].values():
            town["policies"].pop(TUNED, None)
    write_kept(bench, kept)


def tuned_on(bench: Bench, town: Explored) -> Kept:
    """A study on this town: trained on its train split, scored on its validation split; nobody looks at test."""
    layers, began = read_shape(bench.base.path).layers, time.process_time()
    weights, score_of = weighted()
    runs = Runs(bench, town)
    objective = TrainingObjective(
        spec=bench.spec, rows=bench.asked.tune_rows, layers=layers, tracker=runs,  # type: ignore[arg-type]
        train=runs.train, evaluate=runs.evaluate, score=score_of, study="bench", parent="study",
    )  # fmt: skip
    studies = OptunaStudies(embedded.start(bench.folder / "postgres"), "bench")
    with studies.open(
        "bench", about(bench) | {"weights": weights}, SPACE, first=[USUAL], seed=bench.spec.seed
    ) as study:
        work(
            study, objective, trials=bench.asked.trials, clock=time.monotonic,
            told=lambda asked, what: tell(f"trial {asked.number} {what}: {describe(asked.params)}"),
        )  # fmt: skip
        trials = study.trials()
    found = outcome(trials)
    return {
        "params": spec_fields(found.best.params, layers),
        "best": found.best.number,
        "verdict": verdict(found),
        "score": [found.ranked[0].mean, found.lower, found.upper],
        "cpu": time.process_time() - began,
        "trials": [[t.number, t.state, describe(t.params), t.early_loss, t.score] for t in trials],
    }


def weighted() -> tuple[Mapping[str, float], Callable[[Mapping[str, float | None]], float | None]]:
    """offline_eval_score, as the planner's gate weighs it."""
    _, weights = weights_of(TASK, None)
    metrics = {each.name: each for each in TASK.metrics}
    return weights, lambda values: offline_eval_score(weights, metrics, values)


class Runs:
    """Trainings of a study, and as much of a tracker as its objective asks."""

    def __init__(self, bench: Bench, town: Explored) -> None:
        train = town.newest(Split.TRAIN, bench.asked.tune_rows)
        self.bench, self.held_out = bench, [row for row in town.rows if row.split is Split.VALIDATION]
        self.rows = training_rows(TASK, train, Split.TRAIN)
        self.watched = training_rows(TASK, self.held_out, Split.VALIDATION)[: bench.asked.eval_rows]
        self.done: dict[str, Kept] = {}

    def train(self, spec: TrainSpec, tags: Mapping[str, str]) -> Trained:
        run_id = f"{tags['trial']}-{tags.get('kind', 'full')}"
        out = self.bench.adapter("tuning", run_id)
        watched = self.watched if "kind" in tags else ()  # only the rung is judged by its validation loss
        self.done[run_id] = trained(lambda: lora_sft.train(spec, self.rows, watched, **places(self.bench, out)))
        return Trained(
            run_id=run_id, bundle=out, requested={}, dataset_digest="bench", dataset_version="bench", reused=False,
            policy_spec=policy_spec(TASK, spec, str(out), self.done[run_id]["digest"], Price()),
        )  # fmt: skip

    def evaluate(self, run: Trained) -> list[evals.EvalRow]:
        limit = self.bench.asked.eval_rows
        return evals.evaluate(self.bench.engines, TASK, self.held_out, run.policy_spec, limit=limit)

    def read_run(self, run_id: str) -> Any:
        return SimpleNamespace(metrics=self.done[run_id]["last"])

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None: ...


# ---- what is said ----


def report(kept: Kept, seeds: Sequence[int], dtype: str) -> str:
    towns = [kept["towns"][str(seed)] for seed in seeds]
    units = [unit for town in towns for unit in town["units"]]
    agreement, edits = (pooled(towns, metric) for metric in SCORES)
    more = {
        "predicted edits": {name: interval(values, units) for name, values in edits.items()},
        "edits minus SFT": {
            name: interval(minus(values, edits[SFT]), units, sign="+") for name, values in edits.items() if name != SFT
        },
        "training, processor s": {
            name: f"{np.mean([town['policies'][name].get('cpu', 0.0) for town in towns]):.0f}" for name in agreement
        },
    }
    return "\n".join(
        [
            heading(seeds, units, dtype),
            "",
            table(agreement, units, {"minus untuned": UNTUNED, "minus SFT": SFT}, more),
            "",
            *(by_town(seed, town) for seed, town in zip(seeds, towns, strict=True)),
            "",
            *(adoption(name, agreement, units) for name in (DPO, TUNED)),
            *refusals(seeds, towns),
            "",
            *search_lines(kept["tuning"]),
        ]
    )


def pooled(towns: Sequence[Kept], metric: str) -> dict[str, list[float]]:
    """Policy -> scores over the rows of all towns."""
    return {
        name: [value for town in towns for value in town["policies"][name]["scores"][metric]]
        for name in (UNTUNED, SFT, DPO, TUNED)
    }


def minus(values: Sequence[float], others: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(values, others, strict=True)]


def by_town(seed: int, town: Kept) -> str:
    means = (
        f"{name} {np.mean(town['policies'][name]['scores']['plan_alignment_score']):.3f}"
        for name in (UNTUNED, SFT, DPO, TUNED)
    )
    pairs = f"{town['pairs']} edit pairs among {town['rows']} train rows ({town['pairs_of_split']} in the whole split)"
    return f"- town {seed}: {', '.join(means)}; {pairs}"


def adoption(name: str, scores: Mapping[str, Sequence[float]], units: Sequence[str]) -> str:
    """Adopted where the agreement is above that of SFT with confidence 95 %."""
    differences = minus(scores[name], scores[SFT])
    ties = sum(difference == 0 for difference in differences)
    if ties == len(differences):
        return f"{name} answers every row as SFT does: there is nothing to adopt."
    found = compare_pairs(differences, units, alpha=0.05, span=1.0)
    return (
        f"{name} is {'adopted' if found.lower > 0 else 'not adopted'}: minus SFT {found.estimate:+.3f}, lower bound "
        f"{found.lower:+.3f}; {ties} of {len(differences)} rows tie."
    )


def refusals(seeds: Sequence[int], towns: Sequence[Kept]) -> list[str]:
    found = [(seed, town["policies"][DPO].get("refused")) for seed, town in zip(seeds, towns, strict=True)]
    return [f"Town {seed}: DPO refused, SFT stays: {text}" for seed, text in found if text]


def search_lines(tuning: Kept) -> list[str]:
    lines = [f"Search ({tuning['cpu']:.0f} processor s): {tuning['verdict']}.", ""]
    lines += ["| trial | | hyperparameters | early validation loss | score |", "|---|---|---|---|---|"]
    for number, state, params, loss, score in tuning["trials"]:
        cells = (number, state, params, shown(loss), shown(score))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
