import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from bakeoff.inference.choice_logits import allowed_logits, index_choices, take_apart
from bakeoff.inference.encode import Encoder
from bakeoff.training.choice_loss import UNLABELLED, choice_loss
from bakeoff.training.choice_trainer import collate
from bakeoff.training.rows import EncodedRow, encode_row
from tiny import NO, YES, row, write_model


def test_worked_numbers() -> None:
    """Logits 0 and ln 3: the second value has probability 3/4, so its loss is ln(4/3)."""
    logits = torch.tensor([[0.0, math.log(3)], [5.0, 5.0], [0.0, 9.0]])
    loss = choice_loss(logits, torch.tensor([1, 0, UNLABELLED]), 2)
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_tokens_that_are_not_allowed_have_no_share() -> None:
    logits = torch.tensor([[0.0, 0.0, float("-inf")]], requires_grad=True)
    loss = choice_loss(logits, torch.tensor([0]), 1)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-0.5, 0.5, 0.0]]


def test_nothing_labelled_is_no_loss_and_no_gradient() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    loss = choice_loss(logits, torch.tensor([UNLABELLED, UNLABELLED]), 0)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[EncodedRow]:
    encoder = Encoder.open(folder)
    asked = [
        row("Likes soup.", ["soup", "stew", "curry"], {"soup": YES, "curry": NO}),
        row("Likes a very hot curry and nothing else.", ["curry", "stew"], {"curry": YES, "stew": NO}),
        row("Anything.", ["stew", "soup"], {"stew": YES}),
        row("No soup.", ["soup"], {"soup": NO}),
    ]
    return [encode_row(encoder, one, "choices") for one in asked]


def _model(folder: Path) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)  # type: ignore[no-any-return]


def _our_loss(model: torch.nn.Module, rows: Sequence[EncodedRow], labelled: int) -> torch.Tensor:
    trunk, batch = take_apart(model), collate(rows)
    hidden = trunk.body(input_ids=batch["input_ids"], use_cache=False).last_hidden_state
    index = index_choices([r.positions for r in rows], [r.tokens for r in rows])
    return choice_loss(allowed_logits(hidden, trunk.head, index), batch["targets"], labelled)


def _plain_loss(model: torch.nn.Module, rows: Sequence[EncodedRow]) -> torch.Tensor:
    """Row by row without padding, full logits, softmax over the allowed tokens written out."""
    losses = []
    for r in rows:
        logits = model(input_ids=torch.tensor([r.input_ids])).logits[0]
        for place, tokens, target in zip(r.positions, r.tokens, r.targets, strict=True):
            if target != UNLABELLED:
                losses.append(-torch.log_softmax(logits[place, tokens], dim=-1)[target])
    return torch.stack(losses).mean()


def _gradient(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_loss_and_gradient_equal_a_plain_computation_with_full_logits(folder: Path, rows: list[EncodedRow]) -> None:
    """Padding on the right and leaving out the head change nothing."""
    ours, plain = _model(folder), _model(folder)
    loss = _our_loss(ours, rows, labelled=6)
    expected = _plain_loss(plain, rows)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(_gradient(ours), _gradient(plain))


def test_accumulated_micro_batches_equal_one_big_batch(folder: Path, rows: list[EncodedRow]) -> None:
    """Rows with 2, 2, 1 and 1 labels: the mean of means would be another number."""
    big, small = _model(folder), _model(folder)
    whole = _our_loss(big, rows, labelled=6)
    whole.backward()
    parts = [_our_loss(small, [r], labelled=6) for r in rows]
    for part in parts:
        part.backward()
    torch.testing.assert_close(torch.stack(parts).sum(), whole)
    torch.testing.assert_close(_gradient(small), _gradient(big))


def test_only_labelled_choices_are_learnt_from(folder: Path, rows: list[EncodedRow]) -> None:
    """Proof of the mask by perturbation. Hidden states get a gradient at labelled places alone; what the model says
    anywhere else (the prompt, forced tokens, unlabelled choices) and every token after the last labelled place may be
    anything without changing the loss."""
    model = _model(folder)
    trunk, batch = take_apart(model), collate(rows)
    index = index_choices([r.positions for r in rows], [r.tokens for r in rows])
    hidden = trunk.body(input_ids=batch["input_ids"], use_cache=False).last_hidden_state.detach().requires_grad_()
    loss = choice_loss(allowed_logits(hidden, trunk.head, index), batch["targets"], 6)
    loss.backward()
    labelled = {
        (n, place)
        for n, r in enumerate(rows)
        for place, target in zip(r.positions, r.targets, strict=True)
        if target != UNLABELLED
    }
    assert hidden.grad is not None
    assert {(int(n), int(at)) for n, at in hidden.grad.abs().sum(-1).nonzero()} == labelled
    noise = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
    for n, at in labelled:
        noise[n, at] = 0
    again = choice_loss(allowed_logits(hidden + noise, trunk.head, index), batch["targets"], 6)
    torch.testing.assert_close(again, loss)
    for n, r in enumerate(rows):
        batch["input_ids"][n, max(at for m, at in labelled if m == n) + 1 : len(r.input_ids)] = 5
    other_ends = trunk.body(input_ids=batch["input_ids"], use_cache=False).last_hidden_state
    torch.testing.assert_close(
        choice_loss(allowed_logits(other_ends, trunk.head, index), batch["targets"], 6), loss, rtol=1e-5, atol=1e-5
    )


def test_what_pads_a_row_and_how_far_changes_nothing(folder: Path, rows: list[EncodedRow]) -> None:
    """The tiny tokenizer's pad is its end-of-turn token, as SmolLM2's is: masking goes by place, never by id."""
    model, losses = _model(folder), []
    trunk = take_apart(model)
    index = index_choices([r.positions for r in rows], [r.tokens for r in rows])
    for pad, more in ((0, 0), (2, 0), (7, 40)):
        batch = collate(rows)
        ids = torch.nn.functional.pad(batch["input_ids"], (0, more), value=pad)
        for n, r in enumerate(rows):
            ids[n, len(r.input_ids) :] = pad
        hidden = trunk.body(input_ids=ids, use_cache=False).last_hidden_state
        losses.append(choice_loss(allowed_logits(hidden, trunk.head, index), batch["targets"], 6))
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(losses[2], losses[0], rtol=1e-5, atol=1e-6)
