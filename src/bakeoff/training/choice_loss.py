"""Cross-entropy over the allowed tokens of labelled choices.

A plain language-model loss over 49,152 tokens spends most of its gradient on teaching the format, which the
grammar forces anyway. Here a choice is a softmax over its allowed tokens only, exactly as decoding compares them.
"""

import torch

from bakeoff.training.model import UNLABELLED


def choice_loss(logits: torch.Tensor, targets: torch.Tensor, labelled_in_batch: int | torch.Tensor) -> torch.Tensor:
    """Mean loss per labelled choice, in nats.

    Args:
        logits: [n, k] float32, minus infinity for tokens that are not allowed.
        targets: [n] int64, column of the true value, or `UNLABELLED`.
        labelled_in_batch: labelled choices in the *whole* batch; where a batch comes in several micro-batches,
            the sum of their losses is then the loss of the batch.

    Returns a scalar; 0 where nothing is labelled."""
    total = torch.nn.functional.cross_entropy(logits, targets, ignore_index=UNLABELLED, reduction="sum")
    return total / torch.as_tensor(labelled_in_batch, device=total.device).clamp(min=1)
