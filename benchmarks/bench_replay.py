"""Replay rows per second: ours, a plain loop of `generate`, and the floor; same rows, same run.

    python benchmarks/bench_replay.py --cache .bakeoff/models --rows 24 --rounds 2

SmolLM2 on the CPU. Ours: two processes of one thread, each row parsed, checked, scored and durable in PostgreSQL before
the next. Plain: `model.generate` with a constrained-decoding processor, batch 1, two threads, nothing written. Floor:
one forward pass over prompt and answer, without the head, in two processes of one thread. Each round times all three on
the same rows, one after the other, so that their ratios survive a busy machine; loading models is not counted.

Shapes: a planner's week in one pass ('choices'), the same by the greedy walk, and a long menu by the greedy walk. The
greedy walk gives the answers that `generate` gives, which is counted; 'choices' scores each place by itself, so its
answers may differ. Prints JSON."""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bench_inference import plain_generate, planner_prompts, timed

from bakeoff import lifecycle
from bakeoff.adapters.generation.hardware import pick_dtype
from bakeoff.adapters.generation.transformers_engine import LoadedBase, TransformersEngines, load_base
from bakeoff.adapters.generation.weights import resolve_base
from bakeoff.adapters.replay_workers import ReplayWorkers
from bakeoff.bootstrap import open_deps, utc_now
from bakeoff.datasets import files
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset, Split
from bakeoff.datasets.publish import publish
from bakeoff.events.canonical import canonical_bytes
from bakeoff.fingerprint import digest
from bakeoff.inference.encode import Encoder
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec
from bakeoff.lifecycle import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import store as replays
from bakeoff.replay.answer import prompt_digest
from bakeoff.replay.score import replay_row
from bakeoff.replay.workers import Ask, Pool
from bakeoff.settings import Settings
from bakeoff.task import (
    Answer,
    Completion,
    Episode,
    Example,
    JsonSchema,
    LoggedEvent,
    Message,
    Metric,
    Request,
    Role,
    TaskBase,
    Violation,
)  # fmt: skip
from planner.recipes import load_recipes

SINCE = datetime(2025, 1, 1, tzinfo=UTC)
WORKERS, THREADS = 2, 2
DAYS, MEALS, OFFERED = ("mon", "tue", "wed", "thu", "fri", "sat", "sun"), ("lunch", "dinner"), 40
Mode = Literal["choices", "greedy"]


class Shaped(TaskBase):
    """A request says what is asked, and within which schema."""

    name = "shaped"
    metrics = (Metric(name="filled", unit="share", direction="higher", low=0.0, high=1.0, meaning="places filled"),)

    def render(self, request: Request) -> Sequence[Message]:
        return [Message(**message) for message in request["messages"]]

    def answer_schema(self, request: Request) -> JsonSchema:
        schema: JsonSchema = json.loads(request["schema"])
        return schema

    def parse(self, request: Request, completion: Completion) -> Answer:
        answer: Answer = json.loads(completion.text)
        return answer

    def violations(self, request: Request, answer: Answer) -> Sequence[Violation]:
        return ()

    def score(self, example: Example, answer: Answer) -> Mapping[str, float | None]:
        return {"filled": len(answer) / len(self.answer_schema(example.request)["properties"])}


class Answered(Shaped):
    """The prompt with its answer behind it."""

    def render(self, request: Request) -> Sequence[Message]:
        return [*super().render(request), Message(role="assistant", content=request["answer"])]


class Floor:
    """An engine that knows the answer and reads prompt and answer once."""

    def __init__(self, loaded: LoadedBase) -> None:
        self.loaded = loaded

    def open(self, spec: PolicySpec, *, threads: int | None = None) -> "Floor":
        return self

    def complete(self, messages: Sequence[Message], **_: Any) -> Completion:
        import torch

        encoder, text = self.loaded.encoder, messages[-1].content
        ids = [*encoder.prompt_ids(messages[:-1]), *encoder.answer_ids(text)]
        with torch.inference_mode():
            self.loaded.trunk.body(input_ids=torch.tensor([ids]), use_cache=False)
        return Completion(text=text, model_steps=1)

    def describe(self) -> Mapping[str, Any]:
        return {"engine": "floor"}


def engines_elsewhere(cache: Path) -> TransformersEngines:
    """Of one process of ours."""
    return TransformersEngines(base=lambda name: resolve_base(name, cache).path, adapter=lambda _: Path(), threads=1)


def floors_elsewhere(cache: Path, dtype: str) -> Floor:
    return Floor(load_base(resolve_base("smollm2", cache), dtype, 1))


# ---- what is asked ---------------------------------------------------------------------------------------------------


def as_request(messages: Sequence[Message], schema: JsonSchema) -> Request:
    """The schema as text: canonical JSON would sort its properties."""
    said = [{"role": message.role, "content": message.content} for message in messages]
    return {"messages": said, "schema": json.dumps(schema)}


def planner_requests(count: int) -> list[Request]:
    return [as_request(messages, schema) for messages, schema in planner_prompts(count)]


def menu_requests(count: int) -> list[Request]:
    """A dish of forty for each lunch and dinner of a week: titles share beginnings, so no list of choice points exists,
    and an answer has some three hundred tokens, most of them forced."""
    titles = [recipe.title for recipe in load_recipes().recipes.values()]
    found = []
    for n in range(count):
        offered = [titles[(n * 17 + at * 7) % len(titles)] for at in range(OFFERED)]
        offered = list(dict.fromkeys(offered))
        places = {f"{day} {meal}": {"enum": offered} for day in DAYS for meal in MEALS}
        schema = {
            "type": "object", "properties": places, "required": list(places), "additionalProperties": False,
        }  # fmt: skip
        told = f"Household {n}: {2 + n % 4} eaters, {20 + n % 5 * 10} minutes. Dishes:\n" + "\n".join(offered)
        system = Message(role="system", content="You plan lunches and dinners of a week from the dishes offered.")
        found.append(as_request([system, Message(role="user", content=told)], schema))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    name: str
    mode: Mode
    requests: Sequence[Request]


def shapes(count: int) -> list[Shape]:
    weeks, menus = planner_requests(count), menu_requests(count)
    return [
        Shape(name="planner week, one pass", mode="choices", requests=weeks),
        Shape(name="planner week, greedy walk", mode="greedy", requests=weeks),
        Shape(name="menu of 14 dishes, greedy walk", mode="greedy", requests=menus),
    ]


# ---- where it is written ---------------------------------------------------------------------------------------------


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def stage(self, name: str) -> Iterator[Any]:
        yield lambda done, total: None


def episode(n: int, request: Request) -> tuple[Episode, bytes]:
    at = SINCE + timedelta(minutes=n)
    shared = {"unit_id": f"u{n}", "decision_id": f"d{n:05d}", "experiment_id": "x", "variant_id": "v"}
    shared |= {"policy_version_id": "p"}
    decision = LoggedEvent(
        event_id=f"d{n}", event_type="decided", role=Role.DECISION, occurred_at=at, served_policy_version_id="p",
        payload={"answer": {}}, **shared,
    )  # fmt: skip
    accepted = LoggedEvent(
        event_id=f"a{n}", event_type="accepted", role=Role.ACCEPT, occurred_at=at + timedelta(minutes=1),
        served_policy_version_id=None, payload={"accepted_by": "user"}, **shared,
    )  # fmt: skip
    body = canonical_bytes(request)
    found = Episode(
        need_id=str(n), unit_id=f"u{n}", request=request, request_digest=digest(request), decisions=(decision,),
        outcomes=(accepted,),
    )  # fmt: skip
    return found, body


def held_out(deps: Deps, requests: Sequence[Request]) -> Dataset:
    """A dataset that is all test split."""
    shares = {Split.TRAIN: 0, Split.VALIDATION: 0, Split.TEST: 10_000}
    written = publish(
        deps.datasets_root, Shaped(), [episode(n, request) for n, request in enumerate(requests)], since=SINCE,
        until=SINCE + timedelta(days=9), shares=shares, minimum=dict.fromkeys(Split, 0),
    )  # fmt: skip
    with deps.db.transaction() as conn:
        datasets.insert(conn, written, mlflow_run_id=None, created_at=utc_now())
    return written


class Ours:
    """What `lifecycle.replay` does for each row, over processes that stay."""

    def __init__(self, deps: Deps, version: PolicyVersion, dataset: Dataset, pool: Pool) -> None:
        self.deps, self.version, self.pool, self.engine = deps, version, pool, digest(pool.stamp)
        self.examples = {row.example.example_id: row.example for row in files.load(dataset.uri)}
        with deps.db.transaction() as conn:
            self.ident = replays.open_replay(
                conn, policy_version_id=version.policy_version_id, fingerprint=version.fingerprint,
                dataset_digest=dataset.digest, selection={}, engine=pool.stamp, now=utc_now(),
            )  # fmt: skip

    def answer(self, asks: Sequence[Ask]) -> dict[str, Completion]:
        found = {}
        for ask, answered in self.pool.answers(asks):
            row = replay_row(Shaped(), self.examples[ask.example_id], answered)
            row = replace(row, prompt_digest=prompt_digest(Shaped(), self.version.spec, ask.request))
            with self.deps.db.transaction() as conn:
                replays.insert_row(conn, self.ident, row)
                replays.keep_answer(
                    conn, fingerprint=self.version.fingerprint, engine_digest=self.engine, row=row,
                    completion=answered.completion, now=utc_now(),
                )  # fmt: skip
            found[ask.example_id] = answered.completion
        return found


# ---- the race --------------------------------------------------------------------------------------------------------


def warm(pool: Pool, asks: Sequence[Ask]) -> None:
    """Every process answers once: what one has answered, another one answers again."""
    list(pool.answers(asks))
    list(pool.answers(asks, again=True))


def race(deps: Deps, shape: Shape, loaded: LoadedBase, cache: Path, dtype: Any, rounds: int) -> dict[str, Any]:
    """Rows per second of the three, and how they compare."""
    model = ModelRef(base="smollm2", base_digest=loaded.base.digest)
    spec = PolicySpec(
        task="shaped", engine="transformers", prompt_version="1", model=model, dtype=dtype,
        decoding=Decoding(mode=shape.mode),
    )  # fmt: skip
    version = lifecycle.create_policy(deps, "shaped_policy", spec)
    dataset = held_out(deps, shape.requests)
    rows = files.load(dataset.uri)
    asks = [Ask(example_id=row.example.example_id, request=row.example.request) for row in rows]
    ours_and = partial(ReplayWorkers, engines=deps.engines, cores=lambda: WORKERS)
    seconds = partial(timed, clock=time.perf_counter)
    taken: dict[str, float] = {"ours": 0.0, "plain": 0.0, "floor": 0.0}
    same, steps, tokens = 0, [], []
    warmup, timed_asks = asks[:1], asks[1:]
    with (
        ours_and(elsewhere=partial(engines_elsewhere, cache)).open(Shaped(), spec, workers=WORKERS, rows=9) as pool,
        ours_and(elsewhere=partial(floors_elsewhere, cache, dtype)).open(
            Answered(), spec, workers=WORKERS, rows=9
        ) as floor,
    ):
        ours, encoder = Ours(deps, version, dataset, pool), loaded.encoder
        warm(pool, warmup)
        warm(floor, [replace(ask, request={**ask.request, "answer": "{}"}) for ask in warmup])
        plain(loaded, encoder, warmup)
        each = -(-len(timed_asks) // rounds)
        for start in range(0, len(timed_asks), each):
            batch = timed_asks[start : start + each]
            answers: dict[str, Completion] = {}
            texts: dict[str, str] = {}
            taken["ours"] += seconds(lambda batch=batch, answers=answers: answers.update(ours.answer(batch)))
            taken["plain"] += seconds(lambda batch=batch, texts=texts: texts.update(plain(loaded, encoder, batch)))
            known = [replace(a, request={**a.request, "answer": answers[a.example_id].text}) for a in batch]
            taken["floor"] += seconds(lambda known=known: list(floor.answers(known)))
            same += sum(texts[name] == completion.text for name, completion in answers.items())
            steps += [completion.model_steps for completion in answers.values()]
            tokens += [(c.prompt_tokens, c.completion_tokens) for c in answers.values()]
    return figures(shape, taken, len(timed_asks), same, steps, tokens)


def plain(loaded: LoadedBase, encoder: Encoder, asks: Sequence[Ask]) -> dict[str, str]:
    import torch

    torch.set_num_threads(THREADS)
    task = Shaped()
    return {
        ask.example_id: plain_generate(
            loaded.causal, encoder, task.render(ask.request), task.answer_schema(ask.request)
        )
        for ask in asks
    }


def figures(
    shape: Shape,
    taken: Mapping[str, float],
    rows: int,
    same: int,
    steps: Sequence[int],
    tokens: Sequence[tuple[int, int]],
) -> dict[str, Any]:
    return {
        "shape": shape.name,
        "rows": rows,
        "prompt_tokens": statistics.median(prompt for prompt, _ in tokens),
        "answer_tokens": statistics.median(answer for _, answer in tokens),
        "model_steps": statistics.median(steps),
        "rows_per_second": {name: round(rows / seconds, 3) for name, seconds in taken.items()},
        "times_plain": round(taken["plain"] / taken["ours"], 2),
        "ratio_to_floor": round(taken["ours"] / taken["floor"], 2),
        "same_answers_as_plain": f"{same} of {rows}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(".bakeoff/models"), help="folder of unpacked base models")
    parser.add_argument("--rows", type=int, default=24, help="of each shape")
    parser.add_argument("--rounds", type=int, default=2, help="parts that the rows are timed in")
    parser.add_argument("--shape", type=int, action="append", help="only this one, from 0; may be given again")
    parser.add_argument("--dtype", default=None, help="float32 or bfloat16; default: what suits this machine")
    given = parser.parse_args()
    dtype, cache = pick_dtype(override=given.dtype), given.cache.resolve()
    chosen = [shape for n, shape in enumerate(shapes(given.rows + 1)) if given.shape is None or n in given.shape]
    with tempfile.TemporaryDirectory(prefix="bk-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        settings = Settings(home=Path(folder) / "home", model_cache=cache)
        with open_deps(settings, progress=Silent(), clock=utc_now) as deps:
            loaded = load_base(resolve_base("smollm2", cache), dtype, THREADS)
            began = time.perf_counter()
            found = [race(deps, shape, loaded, cache, dtype, given.rounds) for shape in chosen]
    told = {"dtype": dtype, "workers": WORKERS, "plain_threads": THREADS, "seconds": round(time.perf_counter() - began)}
    print(json.dumps({**told, "shapes": found}, indent=2))


if __name__ == "__main__":
    main()
