"""The beginning of a prompt, read once: keys and values that every answer with the same instructions starts from."""

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch

from bakeoff.inference.choice_logits import Trunk

Key = tuple[str | None, tuple[int, ...]]
"""Adapter (None: the bare base) and token ids."""
MOST = 8
"""Prefixes kept for one base model; an adapter of a task needs one."""


class Prefixes:
    """Caches by what they hold. Answers get copies: a model writes into the cache that it is given.

    What is kept or dropped changes nothing but time: a prefix is always read alone, whoever reads it first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Key, Any] = OrderedDict()  # the least recently used first
        self._lock = threading.Lock()

    def copy(self, key: Key, make: Callable[[], Any]) -> Any:
        """A copy of the cache behind `key`, which `make` makes where there is none."""
        with self._lock:
            found = self._kept.pop(key, None)
            if found is not None:
                self._kept[key] = found
        if found is None:
            found = make()
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return copy.deepcopy(found)


def empty_cache(config: Any) -> Any:
    """With the layers that the model has: full, sliding or linear attention."""
    from transformers import DynamicCache

    return DynamicCache(config=config)


def read(trunk: Trunk, ids: Sequence[int], cache: Any | None) -> torch.Tensor:
    """One model step over `ids` behind what `cache` holds, which grows by them: last hidden states [1, n, width]."""
    tokens = torch.tensor([list(ids)], device=trunk.head.weight.device)
    states: torch.Tensor = trunk.body(
        input_ids=tokens, past_key_values=cache, use_cache=cache is not None
    ).last_hidden_state
    return states


def can_share(trunk: Trunk, config: Any) -> bool:
    """Whether this model gives the same when it reads a text in two parts: not every architecture keeps what it has
    read in a cache that can be copied."""
    vocabulary = trunk.head.weight.shape[0]
    ids = [(7 * n + 1) % vocabulary for n in range(12)]
    with torch.inference_mode():
        whole = read(trunk, ids, None)[:, 8:]
        try:
            cache = empty_cache(config)
            read(trunk, ids[:8], cache)
            kept = copy.deepcopy(cache)
            first, again = read(trunk, ids[8:], cache), read(trunk, ids[8:], kept)
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return False  # a cache that cannot be filled in parts or copied fails in one of these ways
    off = (whole.float() - first.float()).norm() / whole.float().norm()  # rounding; a forgotten past is off by about 1
    return bool(torch.equal(first, again) and off < 0.1)
