"""Direct preference optimisation over choices (Rafailov et al. 2023, arXiv 2305.18290).

Decoding mode 'choices' scores every open place of the schema in one pass, with the schema's first value standing in
at the others. So the choices of one answer are independent given the request x, and an answer's log-probability is

    log p(y | x) = sum over choices i of log p_i(y_i | x),      p_i a softmax over the allowed values of choice i.

Two answers to one request share prompt, schema and placeholders, so they share the forward pass; where they agree
their terms are equal and cancel in the difference, which is all that the loss looks at:

    log p(chosen | x) - log p(rejected | x) = sum over differing i of (log p_i(chosen_i) - log p_i(rejected_i)).

One pass gives both sides of a pair, where token-level DPO needs two sequences for the policy and two for the reference.
"""

import torch

from bakeoff.training.model import UNLABELLED


def answer_logprobs(logits: torch.Tensor, values: torch.Tensor, rows: torch.Tensor, batch: int) -> torch.Tensor:
    """Log-probability of each row's answer over the choices that have a value, in nats.

    Args:
        logits: [n, k] float32, minus infinity for tokens that are not allowed.
        values: [n] int64, column of the answer's value, or `UNLABELLED` for a choice that does not count.
        rows: [n] int64, row of the batch that a choice belongs to.
        batch: number of rows.

    Returns [batch] float32; 0 for a row where nothing counts."""
    counts = values != UNLABELLED
    logprobs = torch.log_softmax(logits, dim=-1).gather(1, values.clamp(min=0).unsqueeze(1)).squeeze(1)
    # torch.where, not a product: a choice that does not count may hold minus infinity
    picked = torch.where(counts, logprobs, torch.zeros_like(logprobs))
    return torch.zeros(batch, dtype=picked.dtype, device=picked.device).index_add(0, rows, picked)


def dpo_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference: torch.Tensor,
    beta: float,
    pairs_in_batch: int | torch.Tensor,
) -> torch.Tensor:
    """Mean of -log sigmoid(beta * (margin - reference)) per pair, in nats; ln 2 where nothing was learnt yet.

    Args:
        chosen, rejected: [batch] log-probabilities of both answers, over the differing choices.
        reference: [batch] chosen minus rejected of the model that training started from.
        beta: how much a step away from the reference counts, more than 0.
        pairs_in_batch: pairs in the *whole* batch, so that micro-batches add up to the batch's loss."""
    losses = -torch.nn.functional.logsigmoid(beta * (chosen - rejected - reference))
    return losses.sum() / torch.as_tensor(pairs_in_batch, device=losses.device).clamp(min=1)
