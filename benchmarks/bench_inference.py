"""How long one answer takes: one pass, constrained walk, plain constrained `generate`, and the floor.

    python benchmarks/bench_inference.py --cache .bakeoff/models --threads 2 --requests 10
    python benchmarks/bench_inference.py --threads 1 --cpu-time --no-generate --instructions 256

All are timed in the same run, request by request, so that their ratios survive a busy machine; with one thread,
--cpu-time does better still. 'apart' is the same way without sharing what prompts begin with; --instructions N makes
the system message N tokens longer. Prints JSON: medians in seconds, each divided by the floor (one forward pass over
prompt and answer, without the head), and what sharing gains (median of the ratios within a request).
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from bakeoff.adapters.generation.hardware import pick_dtype
from bakeoff.adapters.generation.transformers_engine import TransformersEngine, load_base
from bakeoff.adapters.generation.weights import resolve_base
from bakeoff.inference.encode import Encoder
from bakeoff.inference.model import Decoding
from bakeoff.task import JsonSchema, Message
from planner.task import PlannerTask
from planner.town.world import Town


def planner_prompts(count: int) -> list[tuple[Sequence[Message], JsonSchema]]:
    """Prompts and schemas of the first week of a simulated town."""
    task, town = PlannerTask(), Town(seed=1, units=2 * count, weeks=1, ends_on=date(2025, 1, 5))
    requests = [town.occasion(unit, 0).request for unit in town.units(0)[:count]]
    return [(task.render(request), task.answer_schema(request)) for request in requests]


def plain_generate(causal: Any, encoder: Encoder, messages: Sequence[Message], schema: JsonSchema) -> str:
    """What one writes without an engine: transformers' `generate` with a processor that masks every step."""
    import numpy as np
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    prompt = encoder.prompt_ids(messages)
    matcher = encoder.matcher(schema)

    class Constrained(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, ids: Any, scores: Any) -> Any:
            if ids.shape[1] > len(prompt):
                matcher.consume_token(int(ids[0, -1]))
            bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
            allowed = torch.from_numpy(bits[: scores.shape[1]].astype(bool))
            return scores.masked_fill(~allowed, float("-inf"))

    out = causal.generate(
        torch.tensor([list(prompt)]),
        logits_processor=LogitsProcessorList([Constrained()]),
        do_sample=False,
        max_new_tokens=1024,
    )
    return encoder.text([token for token in out[0, len(prompt) :].tolist() if token != encoder.tokenizer.eos_token_id])


def instructed(messages: Sequence[Message], encoder: Encoder, tokens: int) -> Sequence[Message]:
    """With a system message that is `tokens` longer."""
    ids = encoder.tokenizer(MORE * (tokens // 8 + 1), add_special_tokens=False)["input_ids"][:tokens]
    system, *others = messages
    return [Message(role="system", content=f"{system.content} {encoder.tokenizer.decode(ids)}"), *others]


MORE = "Choose dishes that the household likes and that use up what is in its pantry. "


def timed(work: Callable[[], Any], clock: Callable[[], float]) -> float:
    began = clock()
    work()
    return clock() - began


def measure(
    cache: Path,
    threads: int,
    dtype: str,
    count: int,
    *,
    with_generate: bool,
    instructions: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Seconds per answer, by way of answering."""
    import torch

    loaded = load_base(resolve_base("smollm2", cache), dtype, threads)
    engine, encoder = TransformersEngine(loaded, None, threads), loaded.encoder
    unshared = copy.copy(loaded)
    unshared.prefixes = None
    apart = TransformersEngine(unshared, None, threads)

    def floor(messages: Sequence[Message], schema: JsonSchema) -> Any:
        ids = encoder.encode(messages, schema).input_ids
        with torch.inference_mode():
            return loaded.trunk.body(input_ids=torch.tensor([ids]), use_cache=False)

    ways: dict[str, Callable[[Sequence[Message], JsonSchema], Any]] = {
        "floor": floor,
        "one_pass": lambda m, s: engine.complete(m, schema=s, decoding=Decoding(mode="choices")),
        "one_pass_apart": lambda m, s: apart.complete(m, schema=s, decoding=Decoding(mode="choices")),
        "walk": lambda m, s: engine.complete(m, schema=s, decoding=Decoding(mode="greedy")),
        "walk_apart": lambda m, s: apart.complete(m, schema=s, decoding=Decoding(mode="greedy")),
    }
    if with_generate:
        ways["plain_generate"] = lambda m, s: plain_generate(loaded.causal, encoder, m, s)
    prompts = [(instructed(m, encoder, instructions), s) for m, s in planner_prompts(count + 1)]
    for way in ways.values():
        way(*prompts[0])  # warm-up
    rounds = [{name: timed(partial(way, *prompt), clock) for name, way in ways.items()} for prompt in prompts[1:]]
    taken = {name: statistics.median(one[name] for one in rounds) for name in ways}
    tokens = [len(encoder.encode(*prompt).input_ids) for prompt in prompts[1:]]
    shared = encoder.shared_ids(prompts[0][0], encoder.prompt_ids(prompts[0][0]))
    return {
        "dtype": dtype,
        "threads": threads,
        "requests": count,
        "tokens_median": statistics.median(tokens),
        "tokens_shared": len(shared),
        "gain_of_sharing": {
            way: round(statistics.median(one[f"{way}_apart"] / one[way] for one in rounds), 3)
            for way in ("one_pass", "walk")
        },
        "seconds": {name: round(value, 3) for name, value in taken.items()},
        "ratio_to_floor": {name: round(value / taken["floor"], 2) for name, value in taken.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(".bakeoff/models"), help="folder of unpacked base models")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--requests", type=int, default=10)
    parser.add_argument("--dtype", default=None, help="float32 or bfloat16; default: what suits this machine")
    parser.add_argument("--no-generate", action="store_true", help="leave out the slow plain generate")
    parser.add_argument("--instructions", type=int, default=0, help="more tokens in the system message")
    parser.add_argument("--cpu-time", action="store_true", help="of this process instead of the clock on the wall")
    given = parser.parse_args()
    found = measure(
        given.cache,
        given.threads,
        pick_dtype(override=given.dtype),
        given.requests,
        with_generate=not given.no_generate,
        instructions=given.instructions,
        clock=time.process_time if given.cpu_time else time.perf_counter,
    )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
