"""Variance components by restricted maximum likelihood: who, what, and which texts a set of measurements varies with.

The values are y = m + sum of g_k + e with g_k of covariance s_k K_k and e of covariance s I. A kernel K_k that is 1
where two values share a group and 0 elsewhere gives the groups' variance (`same_group`); one of vectors gives what a
linear function of the vectors explains (`linear_kernel`), as if the function had been learned from ratings without end.

Sources: Patterson & Thompson, "Recovery of inter-block information when block sizes are unequal", 1971 (REML); Gilmour,
Thompson & Cullis, "Average information REML", 1995 (the steps); Yang et al., "GCTA", 2011 (GREML: kernels of
measured features, and standard errors of shares by the delta method).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from mediator.errors import InputError

Array = NDArray[np.float64]

REST = "rest"
_FIRST_STEPS = 4  # by expectation and maximisation: slow, but never out of bounds, from a start that knows nothing
_MOST_STEPS = 60
_SMALLEST = 1e-7  # of the values' variance: a component is never quite 0, so that all covariances can be inverted


@dataclass(frozen=True)
class Share:
    """A share of a variance, 0..1, with its standard error."""

    value: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval by the standard error, cut at 0 and 1."""
        return max(0.0, self.value - 1.96 * self.error), min(1.0, self.value + 1.96 * self.error)

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"


@dataclass(frozen=True)
class Components:
    """What `reml` found.

    Attributes:
        names: of the components: the kernels', then `REST`.
        variances: in the values' unit squared, shape ``(len(names),)``; a component that is not there is close to 0.
        covariance: of the estimates, from the average information, shape ``(len(names), len(names))``.
        log_likelihood: restricted, without its constant: for comparing models of the same values.
    """

    names: tuple[str, ...]
    variances: Array
    covariance: Array
    log_likelihood: float

    def variance(self, name: str) -> float:
        """One component, in the values' unit squared."""
        return float(self.variances[self.names.index(name)])

    def error(self, name: str) -> float:
        """Its standard error."""
        return float(np.sqrt(self.covariance[self.names.index(name), self.names.index(name)]))

    def share(self, part: Collection[str], whole: Collection[str] | None = None) -> Share:
        """The share of the components ``part`` in ``whole`` (all, by default), its error by the delta method."""
        in_part = np.array([float(name in part) for name in self.names])
        in_whole = np.array([float(whole is None or name in whole) for name in self.names])
        total = float(in_whole @ self.variances)
        value = float(in_part @ self.variances) / total
        gradient = (in_part - value * in_whole) / total
        return Share(value, float(np.sqrt(gradient @ self.covariance @ gradient)))


def same_group(groups: NDArray[Any]) -> Array:
    """1 where two values are of the same group, else 0, shape ``(n, n)`` for ``groups`` of shape ``(n,)``."""
    return np.asarray(groups[:, None] == groups, dtype=np.float64)


def linear_kernel(vectors: Array) -> Array:
    """Inner products of ``vectors``, ``(n, d)``, around their mean; the diagonal's mean is 1. Shape ``(n, n)``."""
    centred = vectors - vectors.mean(axis=0)
    kernel = np.asarray(centred @ centred.T, dtype=np.float64)
    return kernel / float(np.mean(np.diag(kernel)))


def reml(values: Array, kernels: Mapping[str, Array]) -> Components:
    """Estimate the variance of each kernel's component and of the rest; the mean is the only fixed effect.

    Args:
        values: shape ``(n,)``.
        kernels: positive semi-definite, shape ``(n, n)`` each, by the component's name.

    Raises:
        InputError: the values do not vary, or the steps do not settle (components that cannot be told apart).
    """
    count, scale = len(values), float(values.var(ddof=1))
    if scale == 0:
        raise InputError("The values are all the same: there is no variance to divide.")
    matrices, names = list(kernels.values()), (*kernels, REST)
    variances = np.full(len(names), scale / len(names))
    for step in range(_MOST_STEPS):
        covariance = variances[-1] * np.eye(count)
        for variance, matrix in zip(variances, matrices, strict=False):  # the last variance is the rest's
            covariance += variance * matrix
        factor = cho_factor(covariance, lower=True, overwrite_a=True)
        projection = np.asarray(cho_solve(factor, np.eye(count), overwrite_b=True))
        sums = projection.sum(axis=0)
        projection -= np.outer(sums, sums) / sums.sum()  # the mean is taken off: P of Patterson & Thompson
        projected = projection @ values
        moved = np.array([*(matrix @ projected for matrix in matrices), projected])
        information = moved @ projection @ moved.T / 2
        traces = np.array([*(np.vdot(projection, matrix) for matrix in matrices), np.trace(projection)])
        score = (moved @ projected - traces) / 2
        if step < _FIRST_STEPS:
            updated = variances + variances**2 * score * 2 / count
        else:
            free = (variances > 2 * _SMALLEST * scale) | (score > 0)  # one that would fall below 0 stays where it is
            updated = variances.copy()
            updated[free] += np.linalg.solve(information[np.ix_(free, free)], score[free])
        updated = np.maximum(updated, _SMALLEST * scale)
        if step >= _FIRST_STEPS and np.abs(updated - variances).max() < 1e-5 * scale:
            log_determinants = 2 * np.log(np.diag(factor[0])).sum() + np.log(sums.sum())
            likelihood = -(log_determinants + values @ projected) / 2
            return Components(names, variances, np.linalg.pinv(information), float(likelihood))
        variances = updated
    raise InputError(
        f"The variance components did not settle in {_MOST_STEPS} steps: {', '.join(names)}.",
        "Give kernels that differ from one another and from the identity.",
    )
