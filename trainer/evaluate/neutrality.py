"""Neutrality of answers: how far apart their closeness to the two views is (the paper's Figure 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mediator.schema import Dispute, Scores
from trainer.dataset.data import Example


class Scorer(Protocol):
    """What scores texts against both views: `mediator.empathy.EmpathyModel`."""

    def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
        """Score texts, in the order given; raises `InputError` for an empty one."""


@dataclass(frozen=True)
class Leaning:
    """The calibrated closeness (0..1) of one text to each view."""

    score_a: float
    score_b: float

    @property
    def gap(self) -> float:
        """|a - b|, 0..1; 0 is neutral."""
        return abs(self.score_a - self.score_b)

    @property
    def warmth(self) -> float:
        """min(a, b), 0..1. A text that is about nothing has no gap either: the two belong together."""
        return min(self.score_a, self.score_b)


def leanings(examples: Sequence[Example], answers: Sequence[str], scorer: Scorer) -> list[Leaning | None]:
    """Score each pair's answer against its two views; None for an empty answer, which has no closeness to anything."""
    found: list[Leaning | None] = []
    for example, answer in zip(examples, answers, strict=True):
        if not answer.strip():
            found.append(None)
            continue
        scores = scorer.score(example, [answer])[0]
        found.append(Leaning(scores.score_a, scores.score_b))
    return found


def leanings_of_candidates(example: Example, scorer: Scorer) -> list[Leaning]:
    """Score a pair's candidates: what the data set itself reaches. Empty without candidates.

    All are scored here: the scores in the file may be another scorer's than that of the answers beside them.
    """
    if not example.candidates:
        return []
    scores = scorer.score(example, [candidate.text for candidate in example.candidates])
    return [Leaning(one.score_a, one.score_b) for one in scores]
