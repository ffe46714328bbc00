"""Model steps under a deadline: one pass, and the constrained greedy walk with forced tokens skipped."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from bakeoff.errors import UsageError
from bakeoff.inference.choice_logits import Trunk, allowed_logits, index_choices
from bakeoff.inference.encode import ChoicePoint, Encoder
from bakeoff.task import Choice, JsonSchema

Clock = Callable[[], float]
"""Seconds; only differences matter."""


def choose(point: ChoicePoint, logits: Sequence[float]) -> Choice:
    """The likeliest allowed value (of equals the first), with log-probabilities normalised over the allowed ones."""
    logits = list(logits)[: len(point.allowed)]
    highest = max(logits)
    log_total = highest + math.log(math.fsum(math.exp(value - highest) for value in logits))
    scored = dict(zip(point.allowed, (value - log_total for value in logits), strict=True))
    return Choice(key=point.key, value=max(scored, key=scored.__getitem__), logprobs=scored)


class Walk:
    """The forward passes of one answer. Counts them, and raises TimeoutError when the deadline has passed."""

    def __init__(self, causal: Any, trunk: Trunk, clock: Clock, deadline: float | None) -> None:
        self.trunk, self.steps = trunk, 0
        self._limit = getattr(causal.config.get_text_config(), "max_position_embeddings", None)
        self._clock, self._deadline = clock, deadline
        self._cache: Any = None
        self._seen = 0  # tokens in the cache

    def hidden(self, ids: Sequence[int], *, cached: bool = False) -> torch.Tensor:
        """Last hidden states [1, len(ids), width] after one model step; `cached` continues what came before."""
        self._check(self._seen + len(ids))
        if cached and self._cache is None:
            from transformers import DynamicCache

            self._cache = DynamicCache()
        device = self.trunk.head.weight.device
        out = self.trunk.body(
            input_ids=torch.tensor([list(ids)], device=device), past_key_values=self._cache, use_cache=cached
        )
        self.steps += 1
        self._seen += len(ids) if cached else 0
        self._check(self._seen)
        return out.last_hidden_state

    def _check(self, tokens: int) -> None:
        if self._deadline is not None and self._clock() >= self._deadline:
            raise TimeoutError(f"the deadline passed after {self.steps} model steps")
        if self._limit is not None and tokens > self._limit:
            raise UsageError(f"prompt and answer take {tokens} tokens, the model reads {self._limit}")

    def closed(
        self, encoder: Encoder, prompt_ids: Sequence[int], schema: JsonSchema, max_tokens: int
    ) -> tuple[str, tuple[Choice, ...]]:
        """Greedy over a closed schema: one step per choice point, each seeing the values chosen before it.

        Raises OpenSchemaError for other schemas, UsageError for an answer longer than `max_tokens`."""
        chosen: dict[str, str] = {}
        choices: list[Choice] = []
        fed, prompt = 0, list(prompt_ids)
        _, points = encoder.encode_answer(schema, chosen)
        for at in range(len(points)):
            answer, points = encoder.encode_answer(schema, chosen)
            ids, place = [*prompt, *answer], len(prompt) + points[at].index
            if len(answer) > max_tokens:
                raise UsageError(f"the answer takes {len(answer)} tokens, max_tokens is {max_tokens}")
            state = self.hidden(ids[fed:place], cached=True)
            index = index_choices([[place - fed - 1]], [[list(points[at].allowed.values())]])
            logits = allowed_logits(state, self.trunk.head, index, self.trunk.cap)
            choices.append(choose(points[at], logits[0].tolist()))
            chosen[points[at].key], fed = choices[-1].value, place
        return encoder.closed_answer(schema, chosen), tuple(choices)

    def open(self, encoder: Encoder, prompt_ids: Sequence[int], schema: JsonSchema, max_tokens: int) -> str:
        """Greedy over any schema that llguidance enforces; forced tokens are fed in one chunk.

        An answer longer than `max_tokens` is cut off, so that it does not parse."""
        matcher = encoder.matcher(schema)
        answer: list[int] = []
        pending = list(prompt_ids)
        while len(answer) < max_tokens and not matcher.is_stopped():
            ids = list(matcher.compute_ff_tokens())
            if not ids:
                ids, pending = [self._likeliest(pending, matcher)], []
            matcher.consume_tokens(ids)
            answer += ids
            pending += ids
        ended = answer[-1:] == [encoder.tokenizer.eos_token_id]
        return encoder.text(answer[:-1] if ended else answer[:max_tokens])

    def _likeliest(self, pending: Sequence[int], matcher: Any) -> int:
        state = self.hidden(pending, cached=True)[:, -1:]
        logits = self.trunk.head(state)[0, 0].float()
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        allowed = torch.zeros(logits.shape[0], dtype=torch.bool)
        width = min(len(bits), len(allowed))
        allowed[:width] = torch.from_numpy(bits[:width].astype(bool))
        return int(logits.masked_fill(~allowed.to(logits.device), float("-inf")).argmax())
