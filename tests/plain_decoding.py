"""Constrained greedy decoding as one would write it first: what an engine with short cuts has to equal."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bakeoff.inference.encode import Encoder, OpenSchemaError, closed_text, closed_values
from bakeoff.task import JsonSchema, Message


def step_by_step(
    model: Any, encoder: Encoder, messages: Sequence[Message], schema: JsonSchema, *, ask_forced: bool = True
) -> tuple[str, int]:
    """The answer, and the tokens that it took. No cache and nothing skipped: prompt and answer are read anew for each
    token, under the grammar's mask of that step.

    Answers of a closed schema are spelled in one way only, the tokenizer's own, as models are taught to: so there a
    token must also continue the spelling of some whole answer. Without `ask_forced` a token that is the only one
    allowed is taken unasked, which no logits could change."""
    import torch

    matcher, prompt, answer = encoder.matcher(schema), list(encoder.prompt_ids(messages)), list[int]()
    spellings = _spellings(encoder, schema)
    while not matcher.is_stopped() and (spellings is None or len(answer) < max(map(len, spellings))):
        allowed = _mask(matcher)
        if spellings is not None:
            spellings = [ids for ids in spellings if list(ids[: len(answer)]) == answer]
            following = {ids[len(answer)] for ids in spellings if len(ids) > len(answer)}
            assert following <= allowed  # the grammar takes every canonical spelling
            allowed = following
        token = min(allowed)
        if ask_forced or len(allowed) > 1:
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([prompt + answer]), use_cache=False).logits[0, -1].float()
            # Of equals the first, as argmax has it.
            token = max(sorted(allowed), key=lambda each: float(logits[each]))
        answer.append(token)
        matcher.consume_token(token)
    text = [token for token in answer if token != encoder.tokenizer.eos_token_id]
    return encoder.text(text), len(answer)


def _mask(matcher: Any) -> set[int]:
    bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
    return {int(token) for token in np.flatnonzero(bits)}


def _spellings(encoder: Encoder, schema: JsonSchema) -> list[tuple[int, ...]] | None:
    """Every answer of a closed schema in the tokenizer's own ids; None for an open one."""
    try:
        encoder.encode_answer(schema, {})
    except OpenSchemaError:
        return None
    values = closed_values(schema)
    answers: Iterable[tuple[str, ...]] = itertools.product(*values.values())
    return [encoder.answer_ids(closed_text(values, dict(zip(values, answer, strict=True)))) for answer in answers]
