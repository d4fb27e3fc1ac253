"""Bootstrap intervals: the known width of a mean's, weights, pairing, and the same seed gives the same ends."""

import math

import numpy as np
import pytest

from trainer.evaluate.bootstrap import interval, paired_difference


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    low, high = interval(values.tolist())
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == (pytest.approx(values.mean() - half, abs=0.02), pytest.approx(values.mean() + half, abs=0.02))


def test_it_repeats_itself_on_a_seed() -> None:
    values = [0.1, 0.4, 0.2, 0.9, 0.33, 0.71, 0.05]
    assert interval(values, 3) == interval(values, 3) != interval(values, 4)


def test_equal_values_have_no_width() -> None:
    assert interval([0.25] * 9) == (0.25, 0.25)
    with pytest.raises(ValueError, match="no values"):
        interval([])


def test_a_heavy_value_pulls() -> None:
    even, pulled = interval([0.0, 1.0] * 50), interval([0.0, 1.0] * 50, weights=[1.0, 9.0] * 50)
    assert sum(even) / 2 == pytest.approx(0.5, abs=0.02)
    assert sum(pulled) / 2 == pytest.approx(0.9, abs=0.02)


def test_pairing_finds_what_the_intervals_hide() -> None:
    first = np.random.default_rng(1).normal(0, 1, 60)
    second = first + 0.1 + np.random.default_rng(2).normal(0, 0.05, 60)
    assert interval(first.tolist()).high > interval(second.tolist()).low  # the two overlap
    found = paired_difference(first.tolist(), second.tolist())
    assert 0 < found.low < found.mean < found.high < 0.2
    assert found.opposite == 0
    swapped = paired_difference(second.tolist(), first.tolist())
    assert (swapped.mean, swapped.low) == (pytest.approx(-found.mean), pytest.approx(-found.high))


def test_a_difference_of_weighted_means_is_weighted() -> None:
    first = np.random.default_rng(3).normal(0, 1, 100)
    second = first + np.repeat([0.1, 0.0], 50)
    weights = np.repeat([9.0, 1.0], 50).tolist()
    found = paired_difference(first.tolist(), second.tolist(), weights=weights)
    assert found.mean == pytest.approx(0.09)
    assert found.low < found.mean < found.high < 0.1
    assert found[1:3] == interval((second - first).tolist(), weights=weights)  # the same draws
    assert paired_difference(first.tolist(), second.tolist()).mean == pytest.approx(0.05)


def test_dependent_values_have_a_wider_interval_and_a_less_sure_order() -> None:
    first = np.random.default_rng(4).normal(0, 1, 80)
    second = first + np.random.default_rng(5).normal(0.1, 0.4, 80)
    apart = (second - first).tolist()
    mean, narrow, wide = float(np.mean(apart)), interval(apart), interval(apart, widening=2.0)
    assert [end - mean for end in wide] == pytest.approx([2 * (end - mean) for end in narrow])
    sure, unsure = paired_difference(first, second), paired_difference(first, second, widening=2.0)
    assert unsure[1:3] == pytest.approx(wide)
    assert unsure.mean == sure.mean
    assert unsure.opposite > sure.opposite > 0


def test_a_widened_interval_stays_within_the_values() -> None:
    values = [0.0] * 9 + [0.9]
    mean, narrow, wide = 0.09, interval(values), interval(values, widening=3.0)
    assert mean + 3 * (narrow.low - mean) < 0 == wide.low
    assert wide.high == pytest.approx(mean + 3 * (narrow.high - mean))
    assert interval(values, widening=30.0) == (0.0, 0.9)
    first = [0.0] * 10
    assert paired_difference(first, values, widening=3.0).low < 0


def test_no_difference_has_no_order() -> None:
    assert paired_difference([1.0, 2.0], [1.0, 2.0]).opposite == 1.0
    with pytest.raises(ValueError, match=r"shorter|longer"):
        paired_difference([1.0], [1.0, 2.0])
