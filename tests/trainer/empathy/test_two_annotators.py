"""Two annotators behind a published mean: the chances are those of the model, and a planted agreement is found."""

import numpy as np
import pytest

from benchmarks.two_annotators import Agreement, agreement, counts_of
from mediator.errors import InputError

PLANTED = Agreement(0.4, np.array([-0.9, -0.3, 0.8]))


def test_the_chances_of_means_are_those_of_two_people_who_hear_the_same_and_guess_apart() -> None:
    generator = np.random.default_rng(0)
    latent = generator.normal(size=200_000)
    heard = (np.sqrt(0.4) * latent + np.sqrt(0.6) * generator.normal(size=200_000) for _ in range(2))
    means = sum(np.searchsorted(PLANTED.thresholds, one) for one in heard) / 2 + 1
    assert counts_of(means) / 200_000 == pytest.approx(PLANTED.chances(), abs=0.004)


def test_a_planted_agreement_is_found_from_the_counts_of_means() -> None:
    found = agreement(np.round(1e6 * PLANTED.chances()).astype(np.int64))
    assert found.correlation == pytest.approx(0.4, abs=0.01)
    assert found.thresholds == pytest.approx(PLANTED.thresholds, abs=0.01)


def test_a_mean_between_half_steps_is_refused() -> None:
    with pytest.raises(InputError, match="not one of"):
        counts_of(np.array([1.0, 2.25]))
