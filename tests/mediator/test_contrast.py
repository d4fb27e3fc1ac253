"""The contrast of two views: what both share does not tilt, both readings count, doubt widens the interval."""

import math

import numpy as np
import pytest

from mediator.contrast import HALF_WIDTH, SMALLEST_SPREAD, STRENGTH, WORD_WEIGHT, Contrast, content_words
from mediator.empathy import EmpathyModel
from mediator.schema import Dispute, Scores, View

DOGS = "I walk my old dog in Alder Park. Keep the meadow open to dogs."
SWINGS = "My daughter plays on the swings in Alder Park. Put a fence around the playground."
LEFT, RIGHT, BOTH = (np.array(vector, dtype=np.float32) for vector in ([1, 0, 0], [0, 1, 0], [0, 0, 1]))
REFERENCES = np.array([[0.1, 0.0, 0.9], [0.3, 0.0, 0.9], [0.0, 0.0, 1.0], [0.0, 0.4, 0.9]], dtype=np.float32)


def contrast() -> Contrast:
    return Contrast.of(DOGS, SWINGS, LEFT, RIGHT, REFERENCES)


def test_a_lean_by_hand() -> None:
    """The projections of the references are 0.1, 0.3, 0 and -0.4: mean 0, standard deviation sqrt(0.26 / 4)."""
    text = "Old dogs may run in the meadow, and the playground gets a bench."  # old, dog, meadow against playground
    vector = np.array([0.6, 0.2, 0.77], dtype=np.float32)
    by_meaning = (0.6 - 0.2) / math.sqrt(0.065)
    by_words = WORD_WEIGHT * (3 - 1) / (3 + 1 + 1)
    lean = contrast().lean(text, vector)
    assert lean.tilt == pytest.approx(STRENGTH * (by_meaning + by_words), abs=1e-5)
    doubt = STRENGTH * abs(by_meaning - by_words) / 2
    assert lean.half_width == pytest.approx(HALF_WIDTH * math.sqrt(1 + doubt**2), abs=1e-5)


def test_what_both_views_share_does_not_tilt() -> None:
    """The park is in both views, and the vector of the third axis is as far from one as from the other."""
    assert contrast().lean("Alder Park, and once more Alder Park.", BOTH).tilt == pytest.approx(0.0, abs=1e-6)


def test_exchanging_the_views_changes_the_sign_and_nothing_else() -> None:
    there = Contrast.of(SWINGS, DOGS, RIGHT, LEFT, REFERENCES)
    for text in ("The dog.", "A fence by the swings.", "Nothing of either."):
        one, other = contrast().lean(text, LEFT), there.lean(text, LEFT)
        assert (one.tilt, one.half_width) == (-other.tilt, other.half_width)


def test_two_views_that_are_the_same_tilt_nothing() -> None:
    same = Contrast.of(DOGS, DOGS, LEFT, LEFT, REFERENCES)
    assert same.spread == SMALLEST_SPREAD
    assert same.lean("Dogs in the meadow.", LEFT).tilt == 0.0


def test_words_without_meaning_of_their_own_are_not_counted() -> None:
    assert content_words("The dogs and a dog") == content_words("dog")
    assert content_words("Die Hunde sollen nicht auf der Wiese sein") == content_words("Hunde Wiese")


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("Dogs may run free in the meadow all day, and dog walkers get a tap and a bin for their dogs.", True),
        ("The meadow stays open to dogs, and a fence goes around the playground and its swings.", False),
    ],
)
def test_a_one_sided_text_is_told_from_a_balanced_one(scorer: EmpathyModel, text: str, apart: bool) -> None:
    [scores] = scorer.score(Dispute(view_a=View(text=DOGS), view_b=View(text=SWINGS)), [text])
    assert scores.tells_apart is apart
    if apart:
        assert scores.tilt_low is not None
        assert scores.tilt_low > 0


def test_scores_without_an_interval_claim_nothing() -> None:
    plain = Scores(score_a=0.9, score_b=0.1, raw_a=0.5, raw_b=0.1)
    assert plain.tells_apart is None
    assert "tilt_low" not in plain.model_dump()
    assert plain.swapped().tells_apart is None
