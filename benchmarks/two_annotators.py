"""How well two annotators agree, inferred from how their means are spread when nothing else of them is known.

Each annotator sees the same latent quantity, adds noise of one's own, and says a whole number from 1 to 4; only the
mean of the two is published. Agreement makes means of 1 and of 4 more frequent than chance. The two are bivariate
normal behind common thresholds, as for polychoric correlations (Olsson, "Maximum likelihood estimation of the
polychoric correlation coefficient", 1979), summed over the pairs of answers that give each mean.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtr

from mediator.errors import InputError
from trainer.empathy.figures import spearman

Array = NDArray[np.float64]

ANSWERS = 4
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Agreement:
    """The latent correlation of two annotators, 0..1, and the thresholds between their answers, increasing."""

    correlation: float
    thresholds: Array

    def chances(self) -> Array:
        """The chance of each mean 1, 1.5, ..., 4; shape ``(7,)``."""
        bounds = np.concatenate([[-8.0], self.thresholds, [8.0]])
        shared = np.sqrt(self.correlation) * _NODES
        answers = np.diff(ndtr((bounds[:, None] - shared) / np.sqrt(1.0 - self.correlation)), axis=0)
        pairs = (answers * _WEIGHTS) @ answers.T
        return np.array([np.trace(pairs[:, ::-1], ANSWERS - 1 - total) for total in range(2 * ANSWERS - 1)])

    def best_spearman(self, count: int = 100_000, seed: int = 0) -> float:
        """Spearman of the latent quantity with the two annotators' mean: what a perfect model would reach."""
        generator = np.random.default_rng(seed)
        latent = generator.normal(size=count)
        heard = [
            np.sqrt(self.correlation) * latent + np.sqrt(1.0 - self.correlation) * generator.normal(size=count)
            for _ in range(2)
        ]
        return spearman(latent, sum(np.searchsorted(self.thresholds, one) for one in heard))


def counts_of(means: Array) -> NDArray[np.int64]:
    """How often each mean 1, 1.5, ..., 4 occurs, shape ``(7,)``. Raises `InputError` for a mean between half steps."""
    places = 2.0 * means - 2.0
    if (places != np.round(places)).any() or places.min() < 0 or places.max() > 2 * ANSWERS - 2:
        raise InputError("A rating is not one of 1, 1.5, ..., 4: it is not the mean of two annotators' answers.")
    return np.bincount(places.astype(np.int64), minlength=2 * ANSWERS - 1)


def agreement(counts: NDArray[np.int64]) -> Agreement:
    """The most likely `Agreement` for counts of means, as `counts_of` gives them."""

    def at(parameters: Array) -> Agreement:
        first, *logarithms, correlation = parameters
        return Agreement(float(correlation), np.array([first, *(first + np.cumsum(np.exp(logarithms)))]))

    def loss(parameters: Array) -> float:
        return -float(counts @ np.log(at(parameters).chances() + 1e-12))

    bounds = [(-4.0, 2.0), (-5.0, 1.5), (-5.0, 1.5), (0.0, 0.95)]
    starts = ([-1.0, -0.5, 0.2, correlation] for correlation in (0.05, 0.3))
    fits = [minimize(loss, start, method="L-BFGS-B", bounds=bounds) for start in starts]
    return at(min(fits, key=lambda fit: float(fit.fun)).x)
