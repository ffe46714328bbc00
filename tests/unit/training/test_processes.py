"""How several processes share the rows; that they train alike is shown by tests/integration/training."""

from typing import Any

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler

from bakeoff.errors import UsageError
from bakeoff.training.model import UNLABELLED
from bakeoff.training.processes import EvenOrder, blank, same_everywhere, within


@given(
    rows=st.integers(1, 40), micro=st.integers(1, 3), processes=st.integers(1, 5), epoch=st.integers(0, 3),
    seed=st.integers(0, 5),
)  # fmt: skip
def test_every_row_is_dealt_out_once_and_everybody_gets_equally_many(
    rows: int, micro: int, processes: int, epoch: int, seed: int
) -> None:
    """By accelerate's own dealer. Put together again in turn, the shares are the order that one process takes, which
    torch's shuffle gives for the seed of the epoch."""
    order = EvenOrder(rows, micro * processes, seed)
    order.set_epoch(epoch)
    dealt = [
        list(BatchSamplerShard(BatchSampler(order, micro, drop_last=False), processes, process))
        for process in range(processes)
        if not order.set_epoch(epoch)  # type: ignore[func-returns-value]
    ]
    assert len({len(share) for share in dealt}) == 1
    together = [at for batches in zip(*dealt, strict=True) for batch in batches for at in batch]
    alone = torch.randperm(rows, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
    assert together == alone + [rows] * (len(together) - rows)
    assert len(together) == len(order)
    assert len(together) - rows < micro * processes


def test_a_blank_row_is_the_shortest_without_its_labels() -> None:
    rows: list[dict[str, Any]] = [
        {"input_ids": [1, 2, 3], "targets": [0], "chosen": [0], "rejected": [1], "reference": 2.0},
        {"input_ids": [1, 2], "targets": [1, 0], "chosen": [0, 1], "rejected": [1, 0], "reference": 3.0},
    ]
    found = blank(rows)
    assert found["input_ids"] == [1, 2]
    assert [found[name] for name in ("targets", "chosen", "rejected")] == [[UNLABELLED] * 2] * 3
    assert rows[1]["targets"] == [1, 0]


class Wrapper(torch.nn.Module):
    """Counts what goes through it, as DistributedDataParallel does."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module, self.passes = module, 0

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        result: torch.Tensor = self.module(*given)
        return result


def test_a_loss_goes_through_the_wrapper_and_sees_the_plain_module() -> None:
    module = torch.nn.Linear(2, 1)
    wrapper, inputs = Wrapper(module), torch.ones(3, 2)
    expected = module(inputs).sum()
    assert torch.equal(within(wrapper, module, lambda: module(inputs).sum()), expected)
    assert wrapper.passes == 1
    assert torch.equal(within(module, module, lambda: module(inputs).sum()), expected)
    with pytest.raises(ZeroDivisionError):
        within(wrapper, module, lambda: torch.tensor(1 / 0))
    assert torch.equal(module(inputs).sum(), expected), "an error leaves the module as it was"


class Others:
    """An accelerator whose other processes found other checkpoints."""

    device = "cpu"

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def gather(self, mine: torch.Tensor) -> torch.Tensor:
        return torch.cat([mine, torch.tensor(self.steps)])


def test_processes_that_find_different_checkpoints_stop() -> None:
    """On machines that do not share the run's folder one would go on and one begin."""
    assert same_everywhere(Others(6, 6), 6) == 6
    with pytest.raises(UsageError, match="different steps: 6, 0(?s:.*)where all machines see it"):
        same_everywhere(Others(0), 6)
