import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.training.dpo_loss import answer_logprobs, dpo_loss
from bakeoff.training.model import UNLABELLED

NOT = UNLABELLED
INF = float("inf")


def _tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_worked_numbers() -> None:
    """Margin 1.5 over a reference of 0.5 at beta 0.1 is ln(1 + exp(-0.1)); a pair that lost 2 nats costs more."""
    loss = dpo_loss(_tensor(-1.0, -3.0), _tensor(-2.5, -1.0), _tensor(0.5, 0.0), 0.1, 2)
    assert float(loss) == pytest.approx((math.log(1 + math.exp(-0.1)) + math.log(1 + math.exp(0.2))) / 2)
    assert float(loss) == pytest.approx(0.721268, abs=1e-6)


@given(st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0)), min_size=1, max_size=5), st.floats(0.01, 10))
def test_at_the_reference_the_loss_is_ln_2_whatever_the_answers(sides: list[tuple[float, float]], beta: float) -> None:
    chosen, rejected = _tensor(*(a for a, _ in sides)), _tensor(*(b for _, b in sides))
    assert float(dpo_loss(chosen, rejected, chosen - rejected, beta, len(sides))) == pytest.approx(math.log(2))


def test_micro_batches_add_up_to_the_batch() -> None:
    chosen, rejected, reference = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = dpo_loss(chosen, rejected, reference, 0.3, 6)
    parts = [dpo_loss(chosen[i : i + 2], rejected[i : i + 2], reference[i : i + 2], 0.3, 6) for i in (0, 2, 4)]
    assert float(whole) == pytest.approx(float(sum(parts)))


def test_the_gradient_pulls_up_what_was_kept_and_down_what_was_shown() -> None:
    """By beta * sigmoid(-beta * margin), as in equation 7 of the paper; half of beta at the start."""
    chosen, rejected = _tensor(-1.0).requires_grad_(), _tensor(-2.0).requires_grad_()
    dpo_loss(chosen, rejected, _tensor(1.0), 0.4, 1).backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert (float(chosen.grad), float(rejected.grad)) == pytest.approx((-0.2, 0.2))


def test_an_answers_logprob_is_the_sum_over_its_choices() -> None:
    """Against plain enumeration of all answers: two choices of row 0, one of row 1, one that nobody counts."""
    logits = torch.tensor([[1.0, 2.0, -INF], [0.5, 0.0, 3.0], [-1.0, 1.0, -INF], [9.0, 0.0, 0.0]])
    rows = torch.tensor([0, 0, 1, 1])
    p = [torch.softmax(row, 0).tolist() for row in logits]
    seen = 0.0
    for a, b in itertools.product(range(2), range(3)):
        found = answer_logprobs(logits, torch.tensor([a, b, 1, NOT]), rows, 2)
        assert found.tolist() == pytest.approx([math.log(p[0][a]) + math.log(p[1][b]), math.log(p[2][1])], rel=1e-5)
        seen += math.exp(found[0])
    assert seen == pytest.approx(1.0)  # one of them is the answer


def test_choices_on_which_two_answers_agree_change_nothing() -> None:
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(2))
    rows = torch.zeros(3, dtype=torch.int64)
    whole = [answer_logprobs(logits, torch.tensor(side), rows, 1) for side in ([1, 0, 1], [1, 1, 0])]
    apart = [answer_logprobs(logits, torch.tensor(side), rows, 1) for side in ([NOT, 0, 1], [NOT, 1, 0])]
    assert float(whole[0] - whole[1]) == pytest.approx(float(apart[0] - apart[1]), abs=1e-6)


def test_a_row_where_nothing_counts_has_no_gradient() -> None:
    logits = torch.tensor([[1.0, 2.0, -INF]], requires_grad=True)
    answer_logprobs(logits, torch.tensor([NOT]), torch.tensor([0]), 1).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0, 0.0]]
