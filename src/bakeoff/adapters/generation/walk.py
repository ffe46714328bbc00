"""Model steps under a deadline: one pass, and the constrained greedy walk with forced tokens skipped."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from bakeoff.adapters.generation.prefix import Prefixes, empty_cache, read
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
        self._config = causal.config
        self._cache: Any = None
        self.seen = 0  # tokens in the cache

    def begin(self, prefixes: Prefixes, adapter: str | None, ids: tuple[int, ...]) -> None:
        """Continues behind `ids`, which the model read for an earlier answer with the same adapter, or reads now. That
        is no step of this answer, so that its count does not depend on who came first."""
        self._cache = prefixes.copy((adapter, ids), lambda: self._read(ids))
        self.seen = len(ids)

    def hidden(self, ids: Sequence[int], *, cached: bool = False) -> torch.Tensor:
        """Last hidden states [1, len(ids), width] after one model step behind what was read before; `cached`: there
        will be a next step."""
        self._check(self.seen + len(ids))
        if cached and self._cache is None:
            self._cache = empty_cache(self._config)
        states = read(self.trunk, ids, self._cache)
        self.steps += 1
        self.seen += len(ids) if self._cache is not None else 0
        self._check(self.seen)
        return states

    def _read(self, ids: Sequence[int]) -> Any:
        self._check(len(ids))
        cache = empty_cache(self._config)
        read(self.trunk, ids, cache)
        self._check(len(ids))
        return cache

    def _check(self, tokens: int) -> None:
        if self._deadline is not None and self._clock() >= self._deadline:
            raise TimeoutError(f"the deadline passed after {self.steps} model steps")
        if self._limit is not None and tokens > self._limit:
            raise UsageError(f"prompt and answer take {tokens} tokens, the model reads {self._limit}")

    def closed(
        self, encoder: Encoder, prompt_ids: Sequence[int], schema: JsonSchema, keys: Sequence[str], max_tokens: int
    ) -> tuple[str, tuple[Choice, ...]]:
        """Greedy over a closed schema: one step per choice point, each seeing the values chosen before it. `keys`: the
        properties that are open, in the order of the answer.

        Raises UsageError for an answer longer than `max_tokens`."""
        chosen: dict[str, str] = {}
        choices: list[Choice] = []
        for key in keys:
            answer, point = encoder.encode_choice(schema, chosen, key)
            if len(answer) > max_tokens:
                raise UsageError(f"the answer takes {len(answer)} tokens, max_tokens is {max_tokens}")
            ids = [*prompt_ids, *answer[: point.index]][self.seen :]
            state = self.hidden(ids, cached=True)
            index = index_choices([[len(ids) - 1]], [[list(point.allowed.values())]])
            logits = allowed_logits(state, self.trunk.head, index, self.trunk.cap)
            choices.append(choose(point, logits[0].tolist()))
            chosen[key] = choices[-1].value
        return encoder.closed_answer(schema, chosen), tuple(choices)

    def open(self, encoder: Encoder, prompt_ids: Sequence[int], schema: JsonSchema, max_tokens: int) -> str:
        """Greedy over any schema that llguidance enforces; forced tokens are fed in one chunk.

        An answer longer than `max_tokens` is cut off, so that it does not parse."""
        matcher = encoder.matcher(schema)
        answer: list[int] = []
        pending = list(prompt_ids)[self.seen :]
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
