"""Intervals of pairs that share views: as of independent pairs where none is shared, as of one where all repeat it."""

import math

import numpy as np
import pytest

from mediator.schema import View
from trainer.dataset.data import Example
from trainer.evaluate.shared_views import half_width, texts_of, tied, widening


def test_pairs_without_a_common_view_are_independent() -> None:
    values = np.random.default_rng(0).normal(0, 1, 50)
    apart = [frozenset({f"a{number}", f"b{number}"}) for number in range(50)]
    assert half_width(values.tolist(), apart) == pytest.approx(1.96 * values.std() / math.sqrt(50))
    assert widening(values.tolist(), apart) == pytest.approx(1.0)
    assert tied(apart) == 0


def test_a_view_in_several_pairs_counts_about_once() -> None:
    """Ten views, each in five pairs that err alike: ten independent values and not fifty."""
    tens = np.random.default_rng(1).normal(0, 1, 10)
    values = np.repeat(tens, 5)
    shared = [frozenset({f"view {number // 5}", f"other {number}"}) for number in range(50)]
    assert half_width(values.tolist(), shared) == pytest.approx(1.96 * tens.std() / math.sqrt(10))
    assert widening(values.tolist(), shared) == pytest.approx(math.sqrt(5))
    assert tied([*shared, frozenset({"alone"})]) == 50
    assert widening([0.25] * 50, shared) == 1.0, "what is always the same has no width"


def test_the_variance_counts_each_two_pairs_with_a_common_view_once() -> None:
    chance = np.random.default_rng(3)
    ends, own = chance.integers(0, 9, (40, 2)), chance.normal(0, 1, 9)
    texts = [frozenset(map(str, pair)) for pair in ends]
    assert len(set(texts)) < 40 > sum(len(each) == 2 for each in texts), "some twice, some with one view"
    values = own[ends[:, 0]] + own[ends[:, 1]]
    apart = values - values.mean()
    together = sum(apart[i] * apart[j] for i in range(40) for j in range(40) if not texts[i].isdisjoint(texts[j]))
    expected = 1.96 * math.sqrt(max(together, apart @ apart)) / 40
    assert half_width(values.tolist(), texts) == pytest.approx(expected)
    assert together > apart @ apart, "or the sums would not be seen"


def test_it_covers_the_mean_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        ends = chance.integers(0, 40, (60, 2))
        own = chance.normal(0, 1, 40)
        values = own[ends[:, 0]] + own[ends[:, 1]] + chance.normal(0, 0.5, 60)
        hits += abs(values.mean()) < half_width(values.tolist(), [frozenset(map(str, pair)) for pair in ends])
    assert hits / 200 > 0.8  # taken for independent: 0.6


def test_case_and_space_make_no_other_view_and_nothing_has_no_interval() -> None:
    one = Example(id="1", view_a=View(text="Open it."), view_b=View(text="Close it."))
    other = Example(id="2", view_a=View(text="CLOSE  it."), view_b=View(text="Share it."))
    assert not texts_of(one).isdisjoint(texts_of(other))
    with pytest.raises(ValueError, match="0 values of 0 pairs"):
        half_width([], [])
