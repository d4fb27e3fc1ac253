"""How neutral and how warm candidates are: words for the numbers, the Pareto front, and the choice of the best few."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mediator.schema import Candidate, Scores

WARMTH_FLOOR = 0.5
"""Calibrated score, 0..1 (see `mediator.empathy`). A candidate whose lower score is below this hardly touches what one
of the two views is about: it is called far from that view, and it is selected only when too few others are there."""

ABOUT_EQUAL = 0.1
"""Gap, 0..1, up to which a candidate is called about equally close to both sides."""

GAP_STEP = 0.05
"""Gap, 0..1, within which two candidates count as equally neutral. No scorer can tell 0.01 from 0.03 (the bundled one
ranks a one-sided text above a balanced one in about nine cases of ten), so within a step the warmer one comes first."""

CLEARLY_CLOSER = 0.3
"""Gap, 0..1, from which a candidate is called much closer to one side."""

WARM = 0.75
"""Warmth, 0..1, from which a candidate is called close to both sides."""

NEAR_DUPLICATE = 0.8
"""Shared fraction of the words of two texts, 0..1, from which they count as the same proposal."""

# Scripts written without spaces have no words to split at: there every character is a token.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def scores_of(candidate: Candidate) -> Scores:
    """Return the candidate's scores. Raises `ValueError` for a candidate that was not scored yet."""
    if candidate.scores is None:
        raise ValueError(f"this candidate has no scores yet: {candidate.text[:60]!r}")
    return candidate.scores


def tilt_words(scores: Scores) -> str:
    """Say which side a text is closer to: "about equal", "closer to A", "much closer to B"."""
    if scores.gap <= ABOUT_EQUAL:
        return "about equal"
    side = "A" if scores.tilt > 0 else "B"
    return f"much closer to {side}" if scores.gap >= CLEARLY_CLOSER else f"closer to {side}"


def warmth_words(scores: Scores, floor: float = WARMTH_FLOOR) -> str:
    """Say how close a text comes to both: "close to both", "fairly close to both", "far from A", "far from both"."""
    a_is_far, b_is_far = scores.score_a < floor, scores.score_b < floor
    if a_is_far and b_is_far:
        return "far from both"
    if a_is_far:
        return "far from A"
    if b_is_far:
        return "far from B"
    return "close to both" if scores.warmth >= WARM else "fairly close to both"


def describe(scores: Scores) -> str:
    """Say in a few words what the two bars show, e.g. "about equal, fairly close to both"."""
    return f"{tilt_words(scores)}, {warmth_words(scores)}"


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that no other beats in both gap (smaller is better) and warmth (larger is better).

    The order is by rising gap. Candidates with exactly the same gap and warmth stand or fall together.
    """
    front: list[Candidate] = []
    warmest_before = -1.0  # the greatest warmth among candidates with a strictly smaller gap, or at the same point
    ordered = sorted(candidates, key=lambda candidate: (scores_of(candidate).gap, -scores_of(candidate).warmth))
    last: tuple[float, float] | None = None
    for candidate in ordered:
        point = (scores_of(candidate).gap, scores_of(candidate).warmth)
        if point[1] > warmest_before or point == last:
            front.append(candidate)
            warmest_before = max(warmest_before, point[1])
            last = point
    return front


def tokens(text: str) -> list[str]:
    """Split a text into lower-cased words without punctuation (single characters in scripts without spaces)."""
    return _TOKEN.findall(text.casefold())


def overlap(first: str, second: str) -> float:
    """Return the shared fraction of the words of two texts, 0..1: common words over all words, repeats counted.

    Symmetric; 1 for texts that differ only in case, punctuation and word order, and for two texts without words that
    are equal.
    """
    a, b = Counter(tokens(first)), Counter(tokens(second))
    union = (a | b).total()
    if union == 0:
        return 1.0 if first.split() == second.split() else 0.0
    return (a & b).total() / union


def without_near_duplicates(candidates: Iterable[Candidate], threshold: float = NEAR_DUPLICATE) -> list[Candidate]:
    """Keep the order and, of texts that say the same in nearly the same words, the first."""
    kept: list[Candidate] = []
    for candidate in candidates:
        if all(overlap(candidate.text, other.text) < threshold for other in kept):
            kept.append(candidate)
    return kept


def best_first(candidates: Iterable[Candidate], floor: float = WARMTH_FLOOR) -> list[Candidate]:
    """Order candidates: those at or above the warmth floor by rising gap, then those below it by falling warmth.

    Gaps in the same step of `GAP_STEP` count as equal: there the warmer comes first. Other ties keep the order given.
    Raises `ValueError` for a candidate without scores.
    """

    def rank(candidate: Candidate) -> tuple[int, float, float]:
        scores = scores_of(candidate)
        if scores.warmth >= floor:
            return (0, scores.gap // GAP_STEP, -scores.warmth)
        return (1, -scores.warmth, scores.gap)

    return sorted(candidates, key=rank)


@dataclass(frozen=True)
class Selection:
    """The chosen candidates, best first.

    Attributes:
        candidates: at most as many as were asked for; fewer when the pool holds fewer different proposals.
        below_floor: how many of them (always the last ones) are below the warmth floor; they are there only because
            the pool held too few warmer ones, and the screen says so.
    """

    candidates: tuple[Candidate, ...]
    below_floor: int = 0


def select(candidates: Iterable[Candidate], count: int, floor: float = WARMTH_FLOOR) -> Selection:
    """Choose the best ``count`` different proposals of a pool.

    The paper ("Generating Compromises Between Two Points of View") keeps the four candidates of its pool of sixteen
    with the smallest gap |a - b|, and nothing else. But a text that is about something else entirely is just as far
    from both sides, so its gap is tiny too: the smallest gap alone prefers the irrelevant. So ours takes the smallest
    gaps among those whose lower score (the warmth) reaches ``floor``. When too few do, the warmest of the rest fill the
    places, last and counted in `Selection.below_floor`: several options with a warning help a mediator more than one.
    Near-duplicates of a better candidate are left out before counting.
    """
    chosen = without_near_duplicates(best_first(candidates, floor))[:count]
    return Selection(tuple(chosen), sum(scores_of(candidate).warmth < floor for candidate in chosen))
