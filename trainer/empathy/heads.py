"""Cheap heads on frozen embeddings that predict human empathy ratings: what the public data can teach without tuning.

Every head is fitted in closed form on unit vectors, and knows nothing of the encoder. The raters' levels are taken off
before fitting, because most of the variance of the ratings is who rates and no text tells it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mediator.errors import InputError

Array = NDArray[np.float64]


def ridge(features: Array, targets: Array, penalty: float) -> Array:
    """Weights w that minimise |features w - targets|^2 + penalty |w|^2, in whichever form is smaller.

    Args:
        features: shape ``(n, d)``, centred.
        targets: shape ``(n,)``, centred.
        penalty: > 0.

    Returns:
        Shape ``(d,)``.
    """
    if penalty <= 0:
        raise InputError(f"The penalty is {penalty}; it must be above 0.")
    n, d = features.shape
    solved: Array
    if n < d:
        solved = features.T @ np.asarray(np.linalg.solve(features @ features.T + penalty * np.eye(n), targets))
    else:
        solved = np.asarray(np.linalg.solve(features.T @ features + penalty * np.eye(d), features.T @ targets))
    return solved


def without_group_means(values: Array, groups: NDArray[np.int64]) -> Array:
    """Take each group's mean off; ``values`` of shape ``(n,)`` or ``(n, d)``, ``groups`` integers of shape ``(n,)``."""
    _, inverse = np.unique(groups, return_inverse=True)
    sums = np.zeros((int(inverse.max()) + 1, *values.shape[1:]))
    np.add.at(sums, inverse, values)
    counts = np.bincount(inverse).reshape(-1, *([1] * (values.ndim - 1)))
    centred: Array = values - (sums / counts)[inverse]
    return centred


def pair_features(own: Array, other: Array) -> Array:
    """The usual features of two sentences: ``[u, v, |u - v|, u * v]``, the last two scaled to count as much.

    Source: Conneau et al., "Supervised Learning of Universal Sentence Representations", 2017.
    """
    return np.hstack([own, other, np.abs(own - other) * 10.0, own * other * 10.0])


@dataclass
class RidgeHead:
    """Ridge regression on `pair_features`; with ``within`` on what lies within a rater, else on the raw ratings."""

    penalty: float = 10.0
    within: bool = False
    _weights: Array = field(default_factory=lambda: np.zeros(0), init=False)

    def fit(self, own: Array, other: Array, ratings: Array, raters: NDArray[np.int64]) -> "RidgeHead":
        """Fit to ratings of shape ``(n,)`` by ``raters``, who wrote ``own`` and rated ``other``, ``(n, d)`` each."""
        groups = raters if self.within else np.zeros(len(ratings), dtype=np.int64)
        features = without_group_means(pair_features(own, other), groups)
        self._weights = ridge(features, without_group_means(ratings, groups), self.penalty)
        return self

    def predict(self, own: Array, other: Array) -> Array:
        """Predicted ratings up to a constant, shape ``(n,)``."""
        return pair_features(own, other) @ self._weights


@dataclass
class KernelHead:
    """Kernel ridge on what lies within a rater: the rated view's own pull, and how it differs by who rates.

    The kernel is k(b, b') * (1 + taste * k(a, a')), k(x, y) = exp(sharpness * (x.y - 1)): two ratings inform each other
    when the rated views are alike, and more so when the raters' own views are alike too.
    """

    penalty: float = 3.0
    sharpness: float = 2.0
    taste: float = 1.0
    _own: Array = field(default_factory=lambda: np.zeros((0, 0)), init=False)
    _other: Array = field(default_factory=lambda: np.zeros((0, 0)), init=False)
    _weights: Array = field(default_factory=lambda: np.zeros(0), init=False)

    def _kernel(self, own: Array, other: Array) -> Array:
        of_other = np.exp(self.sharpness * (other @ self._other.T - 1.0))
        of_own = np.exp(self.sharpness * (own @ self._own.T - 1.0))
        product: Array = of_other * (1.0 + self.taste * of_own)
        return product

    def fit(self, own: Array, other: Array, ratings: Array, raters: NDArray[np.int64]) -> "KernelHead":
        """See `RidgeHead.fit`."""
        self._own, self._other = own, other
        kernel = without_group_means(self._kernel(own, other), raters)
        kernel = without_group_means(kernel.T.copy(), raters).T
        targets = without_group_means(ratings, raters)
        solved: Array = np.asarray(np.linalg.solve(kernel + self.penalty * np.eye(len(ratings)), targets), np.float64)
        self._weights = without_group_means(solved, raters)
        return self

    def predict(self, own: Array, other: Array) -> Array:
        """See `RidgeHead.predict`."""
        return self._kernel(own, other) @ self._weights


@dataclass
class StoryHead:
    """Ridge on |u - v| and the cosine after the stories' mean vector was taken off; symmetric in the two stories."""

    penalty: float = 300.0
    _mean: Array = field(default_factory=lambda: np.zeros(0), init=False)
    _weights: Array = field(default_factory=lambda: np.zeros(0), init=False)

    def _features(self, first: Array, second: Array) -> Array:
        one, other = first - self._mean, second - self._mean
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = (one * other).sum(axis=1) / np.maximum(norms, 1e-9)
        return np.hstack([np.abs(first - second) * 10.0, cosines[:, None] * 10.0])

    def fit(self, first: Array, second: Array, targets: Array) -> "StoryHead":
        """Fit to targets of shape ``(n,)`` for pairs of unit vectors of shape ``(n, d)``."""
        self._mean = np.concatenate([first, second]).mean(axis=0)
        features = self._features(first, second)
        self._weights = ridge(features - features.mean(axis=0), targets - targets.mean(), self.penalty)
        return self

    def predict(self, first: Array, second: Array) -> Array:
        """Predicted similarity up to a constant, shape ``(n,)``."""
        return self._features(first, second) @ self._weights


def folds(count: int, parts: int, seed: int) -> Sequence[NDArray[np.int64]]:
    """Divide 0..count-1 at random into so many parts of about the same size."""
    order = np.random.default_rng(seed).permutation(count)
    return [order[part::parts] for part in range(parts)]
