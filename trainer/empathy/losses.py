"""The correlation of cosines with ratings within raters, as a loss."""

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
