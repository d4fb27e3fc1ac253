"""Variance components: equal to the analysis of variance where that is exact, and what was planted is found."""

import numpy as np
import pytest

from benchmarks.variance_components import REST, linear_kernel, reml, same_group
from mediator.errors import InputError


def test_in_a_balanced_design_they_are_those_of_the_analysis_of_variance() -> None:
    """Searle, Casella & McCulloch, "Variance Components", 1992: REML is ANOVA where no estimate is negative."""
    generator = np.random.default_rng(0)
    raters, views = 20, 12
    table = generator.normal(size=(raters, 1)) + 0.7 * generator.normal(size=(1, views))
    table = table + 0.5 * generator.normal(size=(raters, views))
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    freedom = (raters - 1) * (views - 1)
    mean_square = (rest**2).sum() / freedom
    of_raters = table.mean(axis=1).var(ddof=1) - mean_square / views
    of_views = table.mean(axis=0).var(ddof=1) - mean_square / raters
    rater, view = (numbers.ravel() for numbers in np.indices(table.shape))
    found = reml(table.ravel(), {"rater": same_group(rater), "view": same_group(view)})
    assert found.variances == pytest.approx([of_raters, of_views, mean_square], rel=1e-3)
    assert found.error(REST) == pytest.approx(mean_square * np.sqrt(2 / freedom), rel=1e-3)
    share = found.share(["view"], ["view", REST])
    assert share.value == pytest.approx(of_views / (of_views + mean_square), rel=1e-3)
    assert share.interval[0] < share.value < share.interval[1]


def test_what_vectors_tell_is_found_apart_from_the_group_as_such() -> None:
    generator = np.random.default_rng(1)
    groups = np.repeat(np.arange(100), 4)
    vectors = generator.normal(size=(100, 5))[groups]
    told = vectors @ generator.normal(size=5)
    values = told / told.std() + generator.normal(size=400)
    found = reml(values, {"group": same_group(groups), "vectors": linear_kernel(vectors)})
    assert found.share(["vectors"]).value == pytest.approx(0.5, abs=0.15)
    assert found.share(["group"]).value < 0.1
    assert found.log_likelihood > reml(values, {"group": same_group(groups)}).log_likelihood + 10


def test_values_without_variance_are_refused() -> None:
    with pytest.raises(InputError, match="all the same"):
        reml(np.ones(4), {"group": same_group(np.arange(4))})
