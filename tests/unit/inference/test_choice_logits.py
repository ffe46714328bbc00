from pathlib import Path

import pytest
import torch

from bakeoff.errors import UsageError
from bakeoff.inference.choice_logits import allowed_logits, index_choices, take_apart
from tiny import write_model


def test_ragged_choices_are_padded_and_marked() -> None:
    index = index_choices([[4, 7], [2]], [[[10, 11], [10, 11, 12]], [[13]]])
    assert index.rows.tolist() == [0, 0, 1]
    assert index.positions.tolist() == [4, 7, 2]
    assert index.tokens.tolist() == [[10, 11, 10], [10, 11, 12], [13, 13, 13]]
    assert index.allowed.tolist() == [[True, True, False], [True, True, True], [True, False, False]]


def test_a_batch_without_choices_has_no_logits() -> None:
    index = index_choices([[]], [[]])
    assert allowed_logits(torch.zeros(1, 3, 4), torch.nn.Linear(4, 9), index).shape == (0, 1)


def test_allowed_logits_are_those_of_the_full_head() -> None:
    hidden, head = torch.randn(2, 5, 4, generator=torch.manual_seed(0)), torch.nn.Linear(4, 9)
    full = head(hidden)
    index = index_choices([[1, 3], [4]], [[[0, 8], [1, 2, 3]], [[5, 6]]])
    ours = allowed_logits(hidden, head, index)
    torch.testing.assert_close(ours[1], full[0, 3, [1, 2, 3]])
    torch.testing.assert_close(ours[2, :2], full[1, 4, [5, 6]])
    assert ours[2, 2] == float("-inf")


def test_a_soft_cap_bounds_the_logits() -> None:
    hidden, head = torch.full((1, 1, 4), 100.0), torch.nn.Linear(4, 9)
    index = index_choices([[0]], [[[0, 8]]])
    expected = 30 * torch.tanh(head(hidden)[0, 0, [0, 8]] / 30)
    torch.testing.assert_close(allowed_logits(hidden, head, index, cap=30.0)[0], expected)


def test_a_model_whose_logits_are_more_than_a_head_is_refused(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(write_model(tmp_path))
    take_apart(model)
    plain = model.forward
    model.forward = lambda **inputs: _halved(plain(**inputs))
    with pytest.raises(UsageError, match="plain head"):
        take_apart(model)


def _halved(output: object) -> object:
    output.logits = output.logits / 2  # type: ignore[attr-defined]
    return output
