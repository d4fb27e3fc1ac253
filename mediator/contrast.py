"""The contrast of two views: which of them a text leans to, read twice, from embeddings and from words.

A text is close to both sides of a dispute because they share a subject; that must not count as leaning. So the first
reading projects the text on the difference of the two views' vectors: what both have in common drops out. The second
counts the words that the text shares with one view and not with the other. Each tells most one-sided texts from
balanced ones, they err on different texts, and their sum errs less than either. docs/empathy.md has the figures.
"""

import math
from dataclasses import dataclass

import numpy as np

from mediator.drafting.lexicon import content_stems
from mediator.encoders import Matrix

CENTRED = 0.5
"""How much of the references' mean lean is taken off, 0..1. All of it would be right if the references favoured no
side; but where a dispute is about their own subjects, some of that mean is the text's own lean."""

SMALLEST_SPREAD = 0.03
"""Two views that hardly differ are not blown up: their contrast is divided by at least this (typical: 0.06 to 0.1)."""

WORD_WEIGHT = 4.0
"""Standard deviations of the first reading that a text is worth whose words are all those of one side."""

STRENGTH = 0.47
"""Factor on the sum of both readings: with it, scores of one-sided and of balanced texts keep the medians that they had
when a tilt was the difference of two calibrated cosines, and so do the thresholds in mediator.neutrality."""

HALF_WIDTH = 1.70
"""Half of the tilt's interval where both readings agree, in standard deviations: 90 % of the balanced texts of the
development set have zero within theirs, and 85 % of those of the reporting set."""

# Of German, the other language of the page; the lexicon knows the English ones.
_FUNCTION_WORDS = frozenset(
    """aber als auch auf aus bei bis das dass dem den der des die dies diese dieser dieses durch ein eine einem einen
    einer eines es für gegen haben ich ihr ihre im ist kann kein keine mit nach nicht noch nur oder ohne sein sich sie
    sind soll sollen sollte über um und uns unser unsere unter viel vom von vor weil wenn werden wie wir wird zu zum
    zur zwischen""".split()
)


@dataclass(frozen=True)
class Lean:
    """Which side one text leans to, in standard deviations of a view's scale (see `mediator.empathy.Scale`).

    Attributes:
        tilt: above zero towards A.
        half_width: the interval of the tilt reaches this far to both sides; > 0.
    """

    tilt: float
    half_width: float


@dataclass(frozen=True)
class Contrast:
    """What sets view A apart from view B. Exchanging the views changes the sign of every tilt and nothing else.

    Attributes:
        direction: A's vector less B's, shape ``(dimensions,)``.
        centre: mean of the references' projections on it, times `CENTRED`.
        spread: their standard deviation, at least `SMALLEST_SPREAD`.
        words_a: the stems that only A's text has, as hashes: what users write is not kept.
        words_b: those that only B's text has.
    """

    direction: Matrix
    centre: float
    spread: float
    words_a: frozenset[int]
    words_b: frozenset[int]

    @classmethod
    def of(cls, text_a: str, text_b: str, vector_a: Matrix, vector_b: Matrix, references: Matrix) -> "Contrast":
        """Compare two views by their texts, their unit vectors and the references', shape ``(n, dimensions)``."""
        direction = vector_a - vector_b
        projections = references @ direction
        stems_a, stems_b = content_words(text_a), content_words(text_b)
        return cls(
            direction=direction,
            centre=CENTRED * float(np.mean(projections)),
            spread=max(float(np.std(projections)), SMALLEST_SPREAD),
            words_a=stems_a - stems_b,
            words_b=stems_b - stems_a,
        )

    def lean(self, text: str, vector: Matrix) -> Lean:
        """Read a text with its unit vector.

        The tilt is `STRENGTH` times the sum of both readings: the projection on the direction, in standard deviations
        of the references, and `WORD_WEIGHT * (n_a - n_b) / (n_a + n_b + 1)`, where n counts the stems shared with one
        view only. The interval is wider where the two readings disagree.
        """
        by_meaning = (float(np.dot(vector, self.direction)) - self.centre) / self.spread
        stems = content_words(text)
        shared_a, shared_b = len(stems & self.words_a), len(stems & self.words_b)
        by_words = WORD_WEIGHT * (shared_a - shared_b) / (shared_a + shared_b + 1)
        disagreement = STRENGTH * abs(by_meaning - by_words)
        return Lean(STRENGTH * (by_meaning + by_words), HALF_WIDTH * math.sqrt(1.0 + (disagreement / 2.0) ** 2))


def content_words(text: str) -> frozenset[int]:
    """Hashes, of this process, of the stems of a text's words that carry meaning, in English or German."""
    return frozenset(hash(stem) for stem in content_stems(text) if stem not in _FUNCTION_WORDS)
