"""The losses of votes and of calibration: numbers derived by hand, and what their gradients push."""

import math

import pytest
import torch
from torch import Tensor

from trainer.losses import calibration, dpm, dpm_targets, major, no_aggregation, soft, vote_prior

torch.set_num_threads(1)


def rows(*values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logits(*values: tuple[float, ...]) -> Tensor:
    """Logits whose softmax is these probabilities."""
    return rows(*values).log()


# Two statements: q = (1/2, 1/2) and (1/4, 3/4); p = (3/4, 1/4) and (1/2, 1/2).
# The sums of q over the batch are 3/4 and 5/4, so q / sums is (2/3, 2/5) and (1/3, 3/5), times p (1/2, 1/10) and
# (1/6, 3/10), and r is (5/6, 1/6) and (5/14, 9/14).
Q, P = ((0.5, 0.5), (0.25, 0.75)), ((0.75, 0.25), (0.5, 0.5))
R = ((5 / 6, 1 / 6), (5 / 14, 9 / 14))


def divergence(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    return sum(one * math.log(one / other) for one, other in zip(first, second, strict=True))


def test_the_prior_is_the_smoothed_share() -> None:
    # (3 + 0.1) / (4 + 0.2) and so on; without votes, nothing is likelier than anything else.
    found = vote_prior(rows((3, 1), (0, 0)))
    assert found.tolist() == [pytest.approx([3.1 / 4.2, 1.1 / 4.2]), [0.5, 0.5]]
    assert vote_prior(rows((2, 0, 1)), smoothing=1.0).tolist() == [pytest.approx([3 / 6, 1 / 6, 2 / 6])]
    with pytest.raises(ValueError, match="must be above 0"):
        vote_prior(rows((1, 0)), smoothing=0.0)


def test_the_posterior_is_prior_times_share_of_the_batch() -> None:
    assert dpm_targets(logits(*Q), rows(*P)).exp().tolist() == [pytest.approx(R[0]), pytest.approx(R[1])]
    # Of a batch of one, q / sum q is 1 throughout: the posterior is the prior.
    assert dpm_targets(logits(Q[0]), rows(P[0])).exp().tolist() == [pytest.approx(P[0])]


@pytest.mark.parametrize("direction", ["q_r", "r_q"])
def test_dpm_is_the_mean_divergence_in_either_direction(direction: str) -> None:
    pairs = [(q, r) if direction == "q_r" else (r, q) for q, r in zip(Q, R, strict=True)]
    expected = sum(divergence(*pair) for pair in pairs) / 2
    assert dpm(logits(*Q), rows(*P), direction).item() == pytest.approx(expected, abs=1e-12)  # type: ignore[arg-type]


def test_dpm_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="neither q_r nor r_q"):
        dpm(logits(*Q), rows(*P), "both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be equal"):
        dpm(logits(*Q), rows((0.2, 0.3, 0.5), (0.2, 0.3, 0.5)))


def test_the_gradient_of_dpm_is_right_also_through_the_posterior() -> None:
    chance = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=chance, dtype=torch.float64, requires_grad=True)
    prior = vote_prior(torch.randint(0, 5, (4, 3), generator=chance).double())
    assert torch.autograd.gradcheck(lambda free: dpm(free, prior, "r_q"), (start,))
    assert torch.autograd.gradcheck(lambda free: dpm(free, prior, "q_r"), (start,))


@pytest.mark.parametrize(
    ("direction", "least", "most"),
    [
        ("q_r", 0.97, 1.0),  # all on the likelier class: eq. 6 as printed makes certain of what two in three said
        ("r_q", 0.97, 1.0),  # likewise: a prior that is multiplied by q again and again
        ("soft", 0.66, 0.68),
    ],
)
def test_where_each_objective_comes_to_rest(direction: str, least: float, most: float) -> None:
    """Free logits of two statements, two in three for one and against the other: only soft labels keep that."""
    free = torch.zeros(2, 2, dtype=torch.float64)
    free = (free + rows((0.1, 0.0), (0.0, 0.1))).requires_grad_()
    prior = rows((2 / 3, 1 / 3), (1 / 3, 2 / 3))
    optimiser = torch.optim.Adam([free], lr=0.3)
    for _ in range(150):
        optimiser.zero_grad()
        loss = soft(free, prior) if direction == "soft" else dpm(free, prior, direction)  # type: ignore[arg-type]
        loss.backward()
        optimiser.step()
    first, second = free.detach().softmax(dim=1)[:, 0].tolist()
    assert least < first < most
    assert first + second == pytest.approx(1, abs=1e-3)


def test_soft_labels_cost_the_cross_entropy() -> None:
    expected = -(0.75 * math.log(0.5) + 0.25 * math.log(0.5) + 0.5 * math.log(0.25) + 0.5 * math.log(0.75)) / 2
    assert soft(logits(*Q), rows(*P)).item() == pytest.approx(expected, abs=1e-12)


def test_the_majority_takes_all_and_a_tie_is_shared() -> None:
    # 3 against 1: -log 1/2. 2 against 2: half of each class of (1/4, 3/4).
    expected = (math.log(2) - 0.5 * math.log(0.25) - 0.5 * math.log(0.75)) / 2
    assert major(logits(*Q), rows((3, 1), (2, 2))).item() == pytest.approx(expected, abs=1e-12)


def test_without_aggregation_a_statement_counts_by_its_votes() -> None:
    # Four votes of log 2 each, and two votes, for and against, of (1/4, 3/4).
    expected = (4 * math.log(2) - math.log(0.25) - math.log(0.75)) / 6
    assert no_aggregation(logits(*Q), rows((3, 1), (1, 1))).item() == pytest.approx(expected, abs=1e-12)
    # With as many votes on each it is the soft label of the raw shares.
    votes = rows((3, 1), (2, 2))
    assert no_aggregation(logits(*Q), votes).item() == pytest.approx(soft(logits(*Q), votes / 4).item(), abs=1e-12)


def test_calibration_is_the_hinge_with_a_margin_for_each_rank() -> None:
    # Ranks 1, 2, 3 at -2, -1, -4, lambda = 0.5. Distance 1: -1 + 2 + 0.5 = 1.5 and max(0, -4 + 1 + 0.5) = 0, mean 0.75.
    # Distance 2: max(0, -4 + 2 + 1) = 0. Together 0.75.
    means = torch.tensor([[-2.0, -1.0, -4.0]], requires_grad=True)
    loss = calibration(means, margin=0.5)
    assert loss.item() == pytest.approx(0.75)
    # Only the pair in the wrong order moves: the better candidate up, the worse one down.
    (gradient,) = torch.autograd.grad(loss, [means])
    assert gradient.tolist() == [[-0.5, 0.5, 0.0]]
    # Distance 2 asks for twice the margin: -2.6 leads -3.5 by less than 1, though each step of 0.5 is kept nearly.
    assert calibration(rows((-2.6, -3.1, -3.5)), margin=0.5).item() == pytest.approx((0.0 + 0.1) / 2 + 0.1)


def test_calibration_of_what_is_in_order_of_equals_and_of_one() -> None:
    assert calibration(rows((-1, -2, -3), (-1, -2, -3)), margin=1.0).item() == 0
    same = torch.full((1, 2), -1.0, requires_grad=True)
    assert calibration(same, margin=0.25).item() == 0.25
    assert calibration(rows((-1,)), margin=1.0).item() == 0
    with pytest.raises(ValueError, match=r"must be \(B, K\)"):
        calibration(torch.zeros(3), margin=1.0)
    with pytest.raises(ValueError, match="cannot be negative"):
        calibration(torch.zeros(1, 3), margin=-1.0)
