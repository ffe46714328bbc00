"""Several processes train one run as one would: the same batches, the same loss, the same adapter up to rounding.

torchrun starts the processes, accelerate reads its environment, DistributedDataParallel averages the gradients (Li et
al. 2020, arXiv 2006.15704). What is left to do is here: whose rows are whose, and that nothing is counted twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import Sampler

from bakeoff.errors import UsageError
from bakeoff.training.model import UNLABELLED

_LABELS = ("targets", "chosen", "rejected")  # columns of a row that decide whether it carries a loss


class EvenOrder(Sampler[int]):  # type: ignore[misc]  # torch's types are not followed: its class is Any
    """All rows in the order that one process takes, then blank ones until every process has whole micro-batches.

    accelerate deals micro-batches out in turn, so that the batches of all processes together are those of one. Where
    they do not come out even it would repeat the first rows of an epoch, and train on those twice."""

    def __init__(self, rows: int, share: int, seed: int) -> None:
        """`share`: rows that all processes take in one pass. Index `rows` stands for a blank row."""
        self._order = SeedableRandomSampler(range(rows), data_seed=seed)
        self._rows, self._blanks = rows, -rows % share

    def __len__(self) -> int:
        return self._rows + self._blanks

    def __iter__(self) -> Iterator[int]:
        yield from self._order
        yield from [self._rows] * self._blanks

    def set_epoch(self, epoch: int) -> None:
        """Every epoch has an order of its own."""
        self._order.set_epoch(epoch)


def blank(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row that costs little and carries no loss: the shortest one without its labels."""
    shortest = min(rows, key=lambda row: len(row["input_ids"]))
    return {**shortest, **{name: [UNLABELLED] * len(shortest[name]) for name in _LABELS if name in shortest}}


def within(wrapper: torch.nn.Module, module: torch.nn.Module, run: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What `run` returns, called from inside the forward pass of `wrapper` around `module`: DistributedDataParallel
    shares the gradients of its own passes only."""
    if wrapper is module:
        return run()
    plain = module.forward

    def redirected(*_: Any) -> torch.Tensor:
        module.forward = plain  # `run` may call it
        return run()

    module.forward = redirected
    try:
        result: torch.Tensor = wrapper(torch.empty(0))  # moves its arguments to the GPU, so there must be one
    finally:
        module.forward = plain
    return result


def same_everywhere(accelerator: Any, step: int) -> int:
    """`step`, the checkpoint that this process goes on from, where it is that of all. Raises UsageError, in all."""
    found = accelerator.gather(torch.tensor([step], device=accelerator.device)).tolist()
    if len(set(found)) > 1:
        raise UsageError(
            f"the processes of this run find checkpoints of different steps: {', '.join(map(str, found))}",
            cure="put the folder of the run where all machines see it",
        )
    return step
