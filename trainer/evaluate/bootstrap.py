"""How sure a mean is: 95 % intervals by resampling the pairs, and paired comparisons of models on the same pairs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 5_000
_AT_ONCE = 4_000_000


class Interval(NamedTuple):
    """The ends of a 95 % interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """A paired difference of means, second minus first.

    Attributes:
        mean: the difference.
        low: lower end of its 95 % interval.
        high: upper end.
        opposite: the share of resamples in which the difference has the other sign or is none, 0..1; a small one
            says that the order of the two is not the chance of which pairs were drawn.
    """

    mean: float
    low: float
    high: float
    opposite: float


def interval(
    values: Sequence[float], seed: int = 0, weights: Sequence[float] | None = None, widening: float = 1.0
) -> Interval:
    """Return the percentile interval (2.5 %, 97.5 %) of the mean of ``values``.

    Args:
        values: one for each pair (or window of text), drawn independently of each other; at least one.
        seed: of the resampling; the same one gives the same interval.
        weights: positive; the mean is weighted by them, and a value is drawn together with its weight.
        widening: how many times as wide it shall be, each end seen from the mean, because the values are not
            independent: `trainer.evaluate.shared_views.widening`.

    No end leaves the range of the values: no mean of them could lie there.

    Raises:
        ValueError: there are no values.
    """
    ends = np.percentile(_means(values, seed, weights, widening), [2.5, 97.5])
    low, high = np.clip(ends, np.min(values), np.max(values))
    return Interval(float(low), float(high))


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    seed: int = 0,
    weights: Sequence[float] | None = None,
    widening: float = 1.0,
) -> Difference:
    """Compare two models measured on the same pairs, in the same order.

    Args:
        first: one value for each pair (or window of text).
        second: the other model's, of the same ones.
        seed: of the resampling.
        weights: positive, one for each pair, the same for both models; the difference is then that of the two
            weighted means, as `interval` has them.
        widening: as for `interval`; of the differences.

    Raises:
        ValueError: the two differ in length, or are empty.
    """
    differences = [after - before for before, after in zip(first, second, strict=True)]
    means = _means(differences, seed, weights, widening)
    mean = float(np.average(differences, weights=weights))
    low, high = np.percentile(means, [2.5, 97.5])
    opposite = float(np.mean(means <= 0 if mean > 0 else means >= 0))
    return Difference(mean, float(low), float(high), opposite)


def _means(values: Sequence[float], seed: int, weights: Sequence[float] | None, widening: float) -> Any:
    """Means of resamples with replacement, moved away from the mean of all; shape ``(RESAMPLES,)``."""
    numbers = np.asarray(values, float)
    if numbers.size == 0:
        raise ValueError("a mean of no values has no interval")
    heavy = np.ones_like(numbers) if weights is None else np.asarray(weights, float)
    random = np.random.default_rng(seed)
    means = []
    rows = max(1, min(RESAMPLES, _AT_ONCE // numbers.size))
    for start in range(0, RESAMPLES, rows):
        drawn = random.integers(0, numbers.size, (min(rows, RESAMPLES - start), numbers.size))
        means.append((numbers[drawn] * heavy[drawn]).sum(1) / heavy[drawn].sum(1))
    found = np.concatenate(means)
    return found if widening == 1 else found + (widening - 1) * (found - np.average(numbers, weights=weights))
