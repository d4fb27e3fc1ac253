"""The losses of the ranking objective: ratings within a rater, ranked or correlated, and the contrast of sides."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def correlation_loss(cosines: "torch.Tensor", ratings: "torch.Tensor", groups: "torch.Tensor") -> "torch.Tensor":
    """1 - Pearson's correlation of cosines and ratings after each group's (rater's) mean is taken off both.

    Against the ranking (CoSENT), whose sum is ruled by the few worst pairs of a batch, every rating counts here.

    Args:
        cosines: shape ``(n,)``, -1..1.
        ratings: shape ``(n,)``, any scale.
        groups: shape ``(n,)``, integers from 0; a group of one item says nothing.

    Returns:
        A scalar between 0 and 2; 1 where no two items of a group differ.
    """
    import torch

    counts = torch.bincount(groups).clamp(min=1).to(cosines.dtype)

    def centred(values: torch.Tensor) -> torch.Tensor:
        sums = torch.zeros_like(counts).index_add(0, groups, values.to(counts.dtype))
        return values - (sums / counts)[groups]

    one, other = centred(cosines), centred(ratings)
    return 1.0 - (one * other).sum() / (one.norm() * other.norm() + 1e-6)


def ranking_loss(
    cosines: "torch.Tensor", ratings: "torch.Tensor", groups: "torch.Tensor", scale: float
) -> "torch.Tensor":
    """CoSENT within groups: log(1 + sum exp(scale * (cos_low - cos_high))) over pairs of one group rated low and high.

    Args:
        cosines: shape ``(n,)``, -1..1.
        ratings: shape ``(n,)``, any scale.
        groups: shape ``(n,)``, integers; only items of the same group (rater) are compared.
        scale: inverse temperature.

    Returns:
        A scalar >= 0; exactly 0 where no two items of a group differ in rating.

    Source: J. Su, "CoSENT", 2022, restricted to pairs of one group.
    """
    import torch

    difference = scale * (cosines[:, None] - cosines[None, :])  # [low, high]
    compared = (groups[:, None] == groups[None, :]) & (ratings[:, None] < ratings[None, :])
    terms = torch.cat([cosines.new_zeros(1), difference[compared]])
    return torch.logsumexp(terms, dim=0)


def side_loss(
    anchors: "torch.Tensor", answers: "torch.Tensor", same: "torch.Tensor", temperature: float
) -> "torch.Tensor":
    """Cross-entropy of each anchor's own answer among all answers of the batch, and of each answer's own anchor.

    Both sides of a dispute are in the batch, so the other side's answer is always among the wrong ones.

    Args:
        anchors: unit vectors, shape ``(n, dimensions)``.
        answers: unit vectors, shape ``(n, dimensions)``; row i belongs to anchor i.
        same: booleans, shape ``(n, n)``; true off the diagonal where answer j is as right for anchor i as its own
            (a text that recurs in the batch), which is then not counted as wrong.
        temperature: > 0.

    Returns:
        A scalar >= 0, in nats.

    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018, both directions.
    """
    import torch

    logits = (anchors @ answers.T / temperature).masked_fill(same, -torch.inf)
    own = torch.arange(len(anchors))
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
