"""Drawing a token: the distribution it follows, what cuts it off, and what it does not depend on."""

import numpy as np
import pytest

from mediator.writers.base import Sampling
from mediator.writers.token_draw import NoNumbers, draw


def frequencies(logits: list[float], sampling: Sampling, draws: int = 5_000) -> list[float]:
    drawn = [draw(np.array(logits, np.float32), sampling, step) for step in range(draws)]
    return list(np.bincount(drawn, minlength=len(logits)) / draws)


def test_follows_the_softmax() -> None:
    # Softmax of log(1, 2, 3, 4) at temperature 1; at 0.5 the shares are squared: 1, 4, 9, 16 of 30.
    logits = list(np.log([1.0, 2.0, 3.0, 4.0]))
    # Four standard deviations of a share p over 5,000 draws are at most 0.0284.
    assert frequencies(logits, Sampling(temperature=1.0, top_p=1.0)) == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.0284)
    squared = [1 / 30, 4 / 30, 9 / 30, 16 / 30]
    assert frequencies(logits, Sampling(temperature=0.5, top_p=1.0)) == pytest.approx(squared, abs=0.0284)


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    logits = list(np.log([1.0, 2.0, 3.0, 4.0]))
    shares = frequencies(logits, Sampling(temperature=1.0, top_p=0.65))  # 0.4 + 0.3 reaches it
    assert shares == pytest.approx([0, 0, 3 / 7, 4 / 7], abs=0.0284)
    assert shares[:2] == [0, 0]
    assert frequencies(logits, Sampling(top_p=0.0), 100) == [0, 0, 0, 1]


def test_temperature_zero_takes_the_largest() -> None:
    assert draw(np.array([0.1, 0.3, 0.2]), Sampling(temperature=0.0), 0) == 1


def test_seeds_and_steps_differ_and_repeat() -> None:
    flat = np.zeros(1000, np.float32)
    row = [draw(flat, Sampling(seed=1), step) for step in range(50)]
    assert row == [draw(flat, Sampling(seed=1), step) for step in range(50)]
    assert len(set(row)) > 40
    assert row != [draw(flat, Sampling(seed=2), step) for step in range(50)]
    assert draw(flat, Sampling(seed=-1), 0) != draw(flat, Sampling(seed=0), 0)


def test_rounding_of_the_logits_hardly_ever_matters() -> None:
    chance = np.random.default_rng(0)
    logits = chance.standard_normal((300, 5000)).astype(np.float32) * 2.5
    shaken = logits + chance.standard_normal(logits.shape).astype(np.float32) * 1e-3
    sampling = Sampling()
    same = sum(
        draw(one, sampling, step) == draw(other, sampling, step)
        for step, (one, other) in enumerate(zip(logits, shaken, strict=True))
    )
    assert same >= 297


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [-np.inf, -np.inf], [np.inf, 0.0]])
def test_logits_that_are_no_numbers(bad: list[float]) -> None:
    with pytest.raises(NoNumbers):
        draw(np.array(bad), Sampling(), 0)
