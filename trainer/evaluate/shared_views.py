"""How sure a mean over pairs is when pairs share views: those with a common view may err together."""

from collections.abc import Sequence

import numpy as np

from trainer.dataset.data import Example
from trainer.dataset.splits import normalised

Texts = frozenset[str]
"""The normalised texts of a pair's two views."""


def texts_of(example: Example) -> Texts:
    """What two pairs must have in common to count as dependent."""
    return frozenset((normalised(example.view_a), normalised(example.view_b)))


def half_width(values: Sequence[float], texts: Sequence[Texts]) -> float:
    """Return the half-width of the 95 % interval of a mean over pairs, of which those with a common view are dependent.

    The variance is the dyadic-robust one, (1/n²) Σ e_i e_j over all i and j that share a view, e being the deviations
    from the mean (Fafchamps and Gubert, "The formation of risk sharing networks", 2007; Aronow, Samii and Assenova,
    "Cluster-robust variance estimation for dyadic data", 2015). With few views it is itself uncertain, and may come
    out below that of independent pairs: the larger of the two is taken.

    Args:
        values: one for each pair; at least one.
        texts: the views of each, from `texts_of`.

    Raises:
        ValueError: the two differ in length, or are empty.
    """
    if not values or len(values) != len(texts):
        raise ValueError(f"{len(values)} values of {len(texts)} pairs have no interval")
    apart = np.asarray(values, float) - np.mean(values)
    tied = np.array([[not one.isdisjoint(other) for other in texts] for one in texts], float)
    variance = max(float(apart @ tied @ apart), float(apart @ apart))
    return 1.96 * float(np.sqrt(variance)) / len(values)
