"""Lengths of time in words."""

import pytest

from mediator.durations import duration, time_left


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (99.4, "99 s"),
        (99.5, "2 min"),
        (3000, "50 min"),
        (5940, "99 min"),
        (5999, "1 h 40 min"),
        (12_000, "3 h 20 min"),
        (180_000, "50 h 0 min"),
    ],
)
def test_at_most_two_units(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("done", "words"), [(0, ""), (1, ", about 30 s left"), (3, ", about 3 s left"), (4, "")])
def test_the_rest_takes_as_long_for_each_as_what_is_done(done, words):
    assert time_left(10.0, done, 4) == words
