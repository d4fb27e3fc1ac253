"""The epoch that the validation ratings choose: what they must be for a choice, and which epoch it is."""

import math
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from mediator.errors import InputError
from trainer.empathy.data import RatedPair
from trainer.empathy.figures import Groups, raw_spearman, without_levels

Kept = TypeVar("Kept")

_ALIKE = 1e-6
"""Cosines that differ by less are the same: float32 tells unit vectors' no closer apart."""


class EqualRatingsError(InputError):
    """The ratings that shall choose the epoch order nothing: no epoch would follow them better than another."""


def check_ratings(validation: Sequence[Sequence[RatedPair]], within: bool, source: str) -> None:
    """Refuse ratings that cannot choose an epoch, before anything is trained. None at all choose nothing, and may.

    Args:
        validation: raters with their pairs.
        within: whether only the order within a rater counts.
        source: where the ratings are from, for the message.

    Raises:
        EqualRatingsError: all are equal, or, with ``within``, those of each rater are.
    """
    groups = validation if within else [[pair for rater in validation for pair in rater]]
    if not validation or any(len({pair.rating for pair in group}) > 1 for group in groups):
        return
    count = sum(map(len, validation))
    raise EqualRatingsError(
        f"{source}: the {count} ratings of the validation set, which shall choose the epoch, "
        + ("have no two different ones of the same rater." if within else "are all equal."),
        "Set `validation` to a larger share, or to 0, which takes the last epoch.",
    )


def followed(raters: Groups, within: bool) -> float:
    """Spearman of cosines and ratings, -1..1; NaN where a collapsed encoder's cosines are no numbers, or all alike.

    Args:
        raters: per rater, cosines and ratings, from `trainer.empathy.figures.scores_of_ratings`.
        within: whether each rater's mean is taken off both.
    """
    groups = without_levels(raters) if within else raters
    cosines = np.concatenate([each for each, _ in groups]) if groups else np.zeros(0)
    if not cosines.size or not np.isfinite(cosines).all() or np.ptp(cosines) < _ALIKE:
        return math.nan
    return raw_spearman(groups)


class BestEpoch(Generic[Kept]):
    """Keeps the weights of the epoch that followed the ratings best; one without a figure is never chosen.

    Attributes:
        kept: what the best epoch's ``weights`` gave; None while no epoch had a figure.
    """

    def __init__(self) -> None:
        self.kept: Kept | None = None
        self._best = -math.inf
        self._epochs = self._without = 0

    def offer(self, reached: float, weights: Callable[[], Kept]) -> None:
        """Offer the next epoch; ``weights`` is asked for a copy of them where it is the best so far."""
        self._epochs += 1
        if math.isnan(reached):
            self._without += 1
        elif reached > self._best:
            self._best, self.kept = reached, weights()

    def tell_collapsed(self, tell: Callable[[str], None]) -> None:
        """Say in a sentence how many epochs had no figure, if any, and what that means for the weights."""
        if not self._without:
            return
        what = (
            f"after {self._without} of {self._epochs} epochs the validation pairs' cosines are no numbers or all alike"
        )
        if self.kept is None:
            tell(f"No epoch could be chosen: {what}. The weights are the last epoch's; lower `learning_rate`.")
        else:
            tell(f"The epoch was chosen among the others: {what}.")
