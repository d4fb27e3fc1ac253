"""Our rank correlation is numpy's of scipy's ranks."""

import numpy as np
import pytest
from scipy.stats import rankdata

from trainer.empathy.figures import spearman


@pytest.mark.parametrize("length", [2, 3, 7, 18, 400])
def test_it_is_the_correlation_of_the_ranks(length: int) -> None:
    draw = np.random.default_rng(length)
    for kinds in (2, 5, 1000):  # of ratings: the fewer, the more ties
        cosines = draw.normal(size=length).astype(np.float32).round(2)
        ratings = draw.permutation(np.arange(length) % kinds) / 7
        expected = np.corrcoef(rankdata(cosines), rankdata(ratings))[0, 1]
        assert spearman(cosines, ratings) == pytest.approx(expected, abs=1e-12, nan_ok=True)
        assert spearman(ratings, ratings) == pytest.approx(1.0)
        assert spearman(ratings, np.full(length, 0.3)) == spearman(np.zeros(length), ratings) == 0.0
    assert np.isnan(spearman(np.append(cosines, np.nan), np.append(ratings, 0.5)))
