"""Logits at the choice points only, over the allowed tokens only.

The head of SmolLM2 (49,152 tokens) costs a fifth of a forward pass when it scores every position; an answer
needs a dozen positions times two tokens. Training and inference both score here, in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bakeoff.errors import UsageError
from bakeoff.inference.encode import Encoded


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceIndex:
    """Where the choices of a batch lie. n = choices in the batch, k = most allowed values of one choice."""

    rows: torch.Tensor  # [n] int64, row of the batch
    positions: torch.Tensor  # [n] int64, position whose hidden state predicts the deciding token
    tokens: torch.Tensor  # [n, k] int64, allowed tokens, padded with the first one
    allowed: torch.Tensor  # [n, k] bool, False where padded


def index_choices(positions: Sequence[Sequence[int]], tokens: Sequence[Sequence[Sequence[int]]]) -> ChoiceIndex:
    """`positions[row][choice]` and `tokens[row][choice][value]`, ragged, as padded tensors."""
    flat = [ids for row in tokens for ids in row]
    width = max((len(ids) for ids in flat), default=1)
    return ChoiceIndex(
        rows=torch.tensor([row for row, places in enumerate(positions) for _ in places], dtype=torch.int64),
        positions=torch.tensor([place for places in positions for place in places], dtype=torch.int64),
        tokens=torch.tensor(
            [[*ids, *[ids[0]] * (width - len(ids))] for ids in flat], dtype=torch.int64
        ).reshape(len(flat), width),
        allowed=torch.tensor([[i < len(ids) for i in range(width)] for ids in flat], dtype=torch.bool).reshape(
            len(flat), width
        ),
    )  # fmt: skip


def index_encoded(encoded: Encoded) -> ChoiceIndex:
    """The choices of one request, as a batch of one."""
    return index_choices(
        [[encoded.position(choice) for choice in encoded.choices]],
        [[list(choice.allowed.values()) for choice in encoded.choices]],
    )


def allowed_logits(
    hidden: torch.Tensor, head: torch.nn.Linear, index: ChoiceIndex, cap: float | None = None
) -> torch.Tensor:
    """Logits of the allowed tokens.

    Args:
        hidden: [batch, tokens, width], last hidden states after the final norm.
        head: the model's output layer, [vocabulary, width].
        cap: soft cap of the logits (``final_logit_softcapping``), where the model has one.

    Returns [n, k] float32; minus infinity where `index.allowed` is False."""
    states = hidden[index.rows, index.positions].float()
    logits = torch.einsum("nd,nkd->nk", states, head.weight[index.tokens].float())
    if head.bias is not None:
        logits = logits + head.bias[index.tokens].float()
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    return logits.masked_fill(~index.allowed, float("-inf"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Trunk:
    """A causal LM taken apart: what makes hidden states, and what turns them into logits."""

    body: Any  # module: input_ids -> last_hidden_state
    head: torch.nn.Linear
    cap: float | None


def take_apart(model: Any) -> Trunk:
    """Raises UsageError for a model whose logits are not a plain head over the last hidden state."""
    text_config = model.config.get_text_config()
    trunk = Trunk(
        body=getattr(model, model.base_model_prefix),
        head=model.get_output_embeddings(),
        cap=getattr(text_config, "final_logit_softcapping", None),
    )
    _check_head(model, trunk)
    return trunk


def _check_head(model: Any, trunk: Trunk) -> None:
    """One short pass: our logits must be the model's own."""
    vocabulary = trunk.head.weight.shape[0]
    ids = torch.tensor([[1, 2, 3, 4]], device=trunk.head.weight.device) % vocabulary
    index = index_choices([[3]], [[[5 % vocabulary, 6 % vocabulary]]])
    with torch.inference_mode():
        ours = allowed_logits(
            trunk.body(input_ids=ids, use_cache=False).last_hidden_state, trunk.head, index, trunk.cap
        )
        theirs = model(input_ids=ids, use_cache=False).logits[0, 3, index.tokens[0]].float()
    if not torch.allclose(ours[0], theirs, rtol=0.02, atol=0.05):
        raise UsageError(
            f"a {type(model).__name__} does not compute its logits as a plain head over the last hidden state",
            cure="use decoding mode 'greedy', or another base model",
        )
