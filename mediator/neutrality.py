"""How neutral and how warm candidates are: words for the numbers, the Pareto front, and the choice of the best few."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

from mediator.schema import Candidate, Scores

TiltKind = Literal[
    "unclear", "equal", "slightly_closer_a", "slightly_closer_b", "closer_a", "closer_b", "much_closer_a",
    "much_closer_b",
]  # fmt: skip
WarmthKind = Literal["far_both", "far_a", "far_b", "fairly", "close"]

WARMTH_FLOOR = 0.5
"""Calibrated score, 0..1 (see `mediator.empathy`). A candidate whose lower score is below this hardly touches what one
of the two views is about: it is called far from that view, and it is selected only when too few others are there."""

ABOUT_EQUAL = 0.1
"""Gap, 0..1, up to which a candidate is called about equally close to both sides."""

GAP_STEP = 0.05
"""Gap, 0..1, within which two candidates count as equally neutral. No scorer can tell 0.01 from 0.03 (the bundled
one ranks a one-sided text above a balanced one in 95 cases of a hundred), so within a step the warmer one is first."""

CLEARLY_CLOSER = 0.3
"""Gap, 0..1, from which a candidate is called much closer to one side."""

WARM = 0.75
"""Warmth, 0..1, from which a candidate is called close to both sides."""

NEAR_DUPLICATE = 0.8
"""Shared fraction of the words of two texts, 0..1, from which they count as the same proposal."""

TOLD_APART = 0.9
"""Level, 0..1, at which the warmths of two candidates are told apart: that of the interval of a tilt."""

# Scripts written without spaces have no words to split at: there every character is a token.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def scores_of(candidate: Candidate) -> Scores:
    """Return the candidate's scores. Raises `ValueError` for a candidate that was not scored yet."""
    if candidate.scores is None:
        raise ValueError(f"this candidate has no scores yet: {candidate.text[:60]!r}")
    return candidate.scores


def tilt_kind(scores: Scores) -> TiltKind:
    """Say which side a text is closer to, as data for the page to put into words.

    Never more than the interval of the tilt allows: ``unclear`` where it covers zero, whatever the gap is; a small gap
    is ``slightly_closer_…`` where the interval leaves zero out, and ``equal`` where nothing is known of one.
    """
    if scores.tells_apart is False:
        return "unclear"
    if scores.gap <= ABOUT_EQUAL:
        if scores.tells_apart is None:
            return "equal"
        return "slightly_closer_a" if scores.tilt > 0 else "slightly_closer_b"
    if scores.gap >= CLEARLY_CLOSER:
        return "much_closer_a" if scores.tilt > 0 else "much_closer_b"
    return "closer_a" if scores.tilt > 0 else "closer_b"


def warmth_kind(scores: Scores, floor: float = WARMTH_FLOOR) -> WarmthKind:
    """Say how close a text comes to both sides, as data. A side scored below ``floor`` (0..1) is far from the text."""
    a_is_far, b_is_far = scores.score_a < floor, scores.score_b < floor
    if a_is_far and b_is_far:
        return "far_both"
    if a_is_far:
        return "far_a"
    if b_is_far:
        return "far_b"
    return "close" if scores.warmth >= WARM else "fairly"


_TILT_WORDS: dict[TiltKind, str] = {
    "unclear": "cannot tell them apart",
    "equal": "about equal",
    "slightly_closer_a": "slightly closer to A",
    "slightly_closer_b": "slightly closer to B",
    "closer_a": "closer to A",
    "closer_b": "closer to B",
    "much_closer_a": "much closer to A",
    "much_closer_b": "much closer to B",
}
_WARMTH_WORDS: dict[WarmthKind, str] = {
    "far_both": "far from both",
    "far_a": "far from A",
    "far_b": "far from B",
    "fairly": "fairly close to both",
    "close": "close to both",
}


def tilt_words(scores: Scores) -> str:
    """Say which side a text is closer to: "about equal", "closer to A", "cannot tell them apart"."""
    return _TILT_WORDS[tilt_kind(scores)]


def warmth_words(scores: Scores, floor: float = WARMTH_FLOOR) -> str:
    """Say how close a text comes to both: "close to both", "fairly close to both", "far from A", "far from both"."""
    return _WARMTH_WORDS[warmth_kind(scores, floor)]


def describe(scores: Scores) -> str:
    """Say in a few words what the two bars show, e.g. "about equal, fairly close to both"."""
    return f"{tilt_words(scores)}, {warmth_words(scores)}"


def gap_interval(scores: Scores) -> tuple[float, float] | None:
    """Return the ends of the interval of the gap, 0..1, that follow from those of the tilt; None where it has none."""
    if scores.tilt_low is None or scores.tilt_high is None:
        return None
    ends = sorted((abs(scores.tilt_low), abs(scores.tilt_high)))
    return (ends[0] if scores.tells_apart else 0.0, ends[1])


def order_is_clear(candidates: Sequence[Candidate]) -> bool:
    """Whether the first of several, best first, is told apart from the last: by its gap, or by its warmth.

    By its gap where the two intervals do not meet. By its warmth where the two lie further apart than the errors alone
    would put any two of as many texts, at the level `TOLD_APART`: by 1.645 standard errors of their difference among
    two candidates, by 2.39 among four. Where the ends are told apart in neither, none is measurably the better one,
    and nothing may call it that. Where nothing is known of intervals, and with fewer than two candidates, nothing
    speaks against the order.

    Source: O. J. Dunn, "Multiple comparisons among means", 1961 (Bonferroni's bound, over all pairs of candidates).
    """
    if len(candidates) < 2:
        return True
    first, last = scores_of(candidates[0]), scores_of(candidates[-1])
    gaps = gap_interval(first), gap_interval(last)
    if gaps[0] is None or gaps[1] is None:
        return True
    # Two tails for each of the n (n - 1) / 2 pairs: the best and the worst of several lie apart by chance alone.
    tails = len(candidates) * (len(candidates) - 1)
    errors = NormalDist().inv_cdf(1.0 - (1.0 - TOLD_APART) / tails)
    of_difference = math.hypot(_warmth_error(first), _warmth_error(last))
    return _disjoint(gaps[0], gaps[1]) or abs(first.warmth - last.warmth) > errors * of_difference


def _warmth_error(scores: Scores) -> float:
    """Return the standard error of the lower score, 0..1 (0 where it has none)."""
    return (scores.score_error_a if scores.score_a <= scores.score_b else scores.score_error_b) or 0.0


def _disjoint(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[1] < other[0] or other[1] < one[0]


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
    (a, all_of_a), (b, all_of_b) = _words_of(first), _words_of(second)
    both = all_of_a + all_of_b
    if both == 0:
        return 1.0 if first.split() == second.split() else 0.0
    common = sum([min(a[word], b[word]) for word in a.keys() & b.keys()])
    return common / (both - common)


@lru_cache(maxsize=1000)
def _words_of(text: str) -> tuple[dict[str, int], int]:
    """How often each word stands in a text, and how many there are together."""
    counts = Counter(tokens(text))
    return dict(counts), counts.total()


def repeats(text: str, known: Iterable[str], threshold: float = NEAR_DUPLICATE) -> bool:
    """Whether a text says the same as one of the known ones in nearly the same words."""
    return any(overlap(text, other) >= threshold for other in known)


def without_near_duplicates(candidates: Iterable[Candidate], threshold: float = NEAR_DUPLICATE) -> list[Candidate]:
    """Keep the order and, of texts that say the same in nearly the same words, the first."""
    kept: list[Candidate] = []
    for candidate in candidates:
        if not repeats(candidate.text, (other.text for other in kept), threshold):
            kept.append(candidate)
    return kept


def best_first(candidates: Iterable[Candidate], floor: float = WARMTH_FLOOR) -> list[Candidate]:
    """Order candidates: those at or above the warmth floor by rising gap, then those below it by falling warmth.

    Those whose scores say nothing (see `Scores.measured`) stand between the two, in the order given. Gaps in the same
    step of `GAP_STEP` count as equal: there the warmer comes first. Other ties keep the order given.
    Raises `ValueError` for a candidate without scores.
    """

    def rank(candidate: Candidate) -> tuple[int, float, float]:
        scores = scores_of(candidate)
        if not scores.measured:
            return (1, 0.0, 0.0)
        if scores.warmth >= floor:
            return (0, scores.gap // GAP_STEP, -scores.warmth)
        return (2, -scores.warmth, scores.gap)

    return sorted(candidates, key=rank)


@dataclass(frozen=True)
class Selection:
    """The chosen candidates, best first.

    Attributes:
        candidates: at most as many as were asked for; fewer when the pool holds fewer different proposals.
        below_floor: how many of them (always the last ones) are below the warmth floor; they are there only because
            the pool held too few warmer ones, and the screen says so. What was not measured is not among them.
    """

    candidates: tuple[Candidate, ...]
    below_floor: int = 0


def select(
    candidates: Iterable[Candidate], count: int, floor: float = WARMTH_FLOOR, known: Sequence[str] = ()
) -> Selection:
    """Choose the best ``count`` different proposals of a pool.

    The paper ("Generating Compromises Between Two Points of View") keeps the four candidates of its pool of sixteen
    with the smallest gap |a - b|, and nothing else. But a text that is about something else entirely is just as far
    from both sides, so its gap is tiny too: the smallest gap alone prefers the irrelevant. So ours takes the smallest
    gaps among those whose lower score (the warmth) reaches ``floor``. When too few do, the warmest of the rest fill the
    places, last and counted in `Selection.below_floor`: several options with a warning help a mediator more than one.
    Near-duplicates of a better candidate are left out before counting. Those of a ``known`` text (dropped, or proposed
    before) are left out too, unless fewer than ``count`` others remain.
    """
    different = without_near_duplicates(best_first(candidates, floor))
    fresh = [candidate for candidate in different if not repeats(candidate.text, known)]
    again = [candidate for candidate in different if candidate not in fresh]
    chosen = best_first([*fresh[:count], *again[: max(0, count - len(fresh))]], floor)
    return Selection(tuple(chosen), sum(is_below(scores_of(candidate), floor) for candidate in chosen))


def is_below(scores: Scores, floor: float = WARMTH_FLOOR) -> bool:
    """Whether the lower score is measured and below the warmth floor."""
    return scores.measured and scores.warmth < floor
