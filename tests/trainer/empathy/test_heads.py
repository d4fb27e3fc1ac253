"""The heads on frozen embeddings: they solve what they state, take raters' levels off, and find what is there."""

import numpy as np
import pytest

from mediator.errors import InputError
from trainer.empathy.figures import spearman
from trainer.empathy.heads import KernelHead, RidgeHead, StoryHead, folds, ridge, without_group_means

GENERATOR = np.random.default_rng(0)


def unit(count: int, dimensions: int = 8) -> np.ndarray:
    rows = GENERATOR.normal(size=(count, dimensions))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)], ids=["more rows", "more columns"])
def test_ridge_is_where_its_gradient_is_zero(shape: tuple[int, int]) -> None:
    features, targets = GENERATOR.normal(size=shape), GENERATOR.normal(size=shape[0])
    weights = ridge(features, targets, 0.7)
    gradient = features.T @ (features @ weights - targets) + 0.7 * weights
    assert np.abs(gradient).max() < 1e-10
    with pytest.raises(InputError, match="penalty is 0"):
        ridge(features, targets, 0.0)


def test_group_means_are_taken_off_in_each_group() -> None:
    groups = np.array([5, 2, 5, 2, 9])
    assert without_group_means(np.array([1.0, 2.0, 3.0, 6.0, 4.0]), groups).tolist() == [-1, -2, 1, 2, 0]
    assert without_group_means(np.arange(10.0).reshape(5, 2), groups)[4].tolist() == [0, 0]


@pytest.mark.parametrize("head", [RidgeHead(penalty=1.0, within=True), KernelHead(penalty=1.0)])
def test_a_head_finds_what_moves_raters_though_their_levels_differ_more(head: RidgeHead | KernelHead) -> None:
    own, other, direction = unit(400), unit(400), unit(1)[0]
    raters = np.repeat(np.arange(100), 4)
    levels = GENERATOR.normal(scale=3.0, size=100)[raters]
    felt = other @ direction
    head.fit(own[:300], other[:300], (levels + felt)[:300], raters[:300])
    assert spearman(head.predict(own[300:], other[300:]), felt[300:]) > 0.9
    flat = RidgeHead(penalty=1.0).fit(own[:300], other[:300], (levels + felt)[:300], raters[:300])
    assert spearman(flat.predict(own[300:], other[300:]), felt[300:]) < 0.9


def test_the_story_head_is_symmetric_and_finds_closeness() -> None:
    first, second = unit(300), unit(300)
    closeness = -np.linalg.norm(first - second, axis=1)
    head = StoryHead(penalty=1.0).fit(first[:200], second[:200], closeness[:200])
    assert np.array_equal(head.predict(first, second), head.predict(second, first))
    assert spearman(head.predict(first[200:], second[200:]), closeness[200:]) > 0.9


def test_folds_hold_each_item_once() -> None:
    parts = folds(23, 5, seed=1)
    assert sorted(np.concatenate(parts).tolist()) == list(range(23))
    assert {len(part) for part in parts} == {4, 5}
