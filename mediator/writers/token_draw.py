"""Drawing the next token from logits: temperature, top-p, and noise that belongs to the seed and the token alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mediator.writers.base import Sampling

# Of the best token's probability: even 250,000 such tokens together would be drawn once in four million times.
_NEGLIGIBLE = 1e-12


class NoNumbers(ValueError):
    """The logits hold NaN, or nothing finite: the weights they come from are damaged."""


def draw(logits: NDArray[Any], sampling: Sampling, step: int) -> int:
    """Return the drawn token.

    Adding Gumbel noise to logits and taking the largest is drawing from their softmax. The noise of a token is a hash
    of seed, step and token, so the last bits of the logits, which change with the way a prompt is cut into batches,
    hardly ever change the text; walking down a sorted list with one random number would let near ties decide.

    Args:
        logits: shape (vocabulary,), any float type.
        sampling: its temperature (0 takes the largest), top_p and seed count.
        step: how many tokens of this answer were drawn before.

    Raises `NoNumbers` for logits that are none.
    """
    best = float(logits.max())
    if not np.isfinite(best):
        raise NoNumbers
    if sampling.temperature <= 0:
        return int(logits.argmax())
    scores = (logits - best) / sampling.temperature
    weights = np.exp(scores)
    if sampling.top_p < 1:
        # The tokens below an n-th of 1 - top_p have less than 1 - top_p together: none of them is needed.
        floor = (1 - sampling.top_p) * float(weights.sum()) / len(weights)
        tokens = np.flatnonzero(weights >= min(floor, 1.0))
        tokens = tokens[np.argsort(-weights[tokens], kind="stable")]
        before = np.cumsum(weights[tokens], dtype=np.float64) - weights[tokens]
        # A token stays while those before it have not reached top_p together; the first one always does.
        tokens = tokens[: max(1, int(np.count_nonzero(before < sampling.top_p * float(weights.sum()))))]
    else:
        tokens = np.flatnonzero(weights > _NEGLIGIBLE)
    scores = scores[tokens].astype(np.float64)
    return int(tokens[np.argmax(scores + _gumbel(sampling.seed, step, tokens))])


def _gumbel(seed: int, step: int, tokens: NDArray[Any]) -> NDArray[np.float64]:
    """Standard Gumbel noise by token: splitmix64 of (seed, step, token), made uniform on (0, 1) with 53 bits."""
    start = _mixed(_mixed(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64)) + np.uint64(step))
    uniform = ((_mixed(start + tokens.astype(np.uint64)) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    noise: NDArray[np.float64] = -np.log(-np.log(uniform))
    return noise


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One round of splitmix64 (Steele, Lea and Flood 2014), on arrays: they wrap around without a warning."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
