"""What a data set is made of: how many disputes and candidates, which strategy wrote them, how close they come."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from mediator.neutrality import WARMTH_FLOOR, tokens
from trainer.dataset.data import DataCandidate, Example

UNKNOWN = "unknown"
"""What the strategy of a candidate is called that does not say it."""


@dataclass(frozen=True)
class Group:
    """Some candidates, as the paper's Table 1 counts them.

    Attributes:
        candidates: how many.
        share: of all candidates of the data set, 0..1.
        words: the mean number of words; 0 for no candidates.
        gap: the mean of |score_a - score_b|, 0..1; None where none is scored.
        warmth: the mean of min(score_a, score_b), 0..1; None where none is scored.
        below_floor: of the scored ones, how many have a warmth below `WARMTH_FLOOR`.
    """

    candidates: int
    share: float
    words: float
    gap: float | None
    warmth: float | None
    below_floor: int


@dataclass(frozen=True)
class DatasetStats:
    """The composition of a data set.

    Attributes:
        disputes: lines.
        without_candidates: lines that have none.
        texts: different texts among the views.
        strategies: a `Group` for each strategy that wrote candidates, the most first, then `UNKNOWN`.
        all: all candidates.
    """

    disputes: int
    without_candidates: int
    texts: int
    strategies: dict[str, Group]
    all: Group


def stats_of(examples: Sequence[Example]) -> DatasetStats:
    """Count what a data set is made of."""
    by_strategy: dict[str, list[DataCandidate]] = defaultdict(list)
    for example in examples:
        for candidate in example.candidates:
            by_strategy[str(candidate.strategy) if candidate.strategy else UNKNOWN].append(candidate)
    everything = [candidate for candidates in by_strategy.values() for candidate in candidates]
    ordered = sorted(by_strategy.items(), key=lambda entry: (entry[0] == UNKNOWN, -len(entry[1]), entry[0]))
    views = {view.as_text() for example in examples for view in (example.view_a, example.view_b)}
    return DatasetStats(
        disputes=len(examples),
        without_candidates=sum(not example.candidates for example in examples),
        texts=len(views),
        strategies={name: _group(candidates, len(everything)) for name, candidates in ordered},
        all=_group(everything, len(everything)),
    )


def _group(candidates: Sequence[DataCandidate], total: int) -> Group:
    scores = [
        (candidate.score_a, candidate.score_b)
        for candidate in candidates
        if candidate.score_a is not None and candidate.score_b is not None
    ]
    return Group(
        candidates=len(candidates),
        share=len(candidates) / total if total else 0.0,
        words=_mean(len(tokens(candidate.text)) for candidate in candidates) or 0.0,
        gap=_mean(abs(a - b) for a, b in scores),
        warmth=_mean(min(pair) for pair in scores),
        below_floor=sum(min(pair) < WARMTH_FLOOR for pair in scores),
    )


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return fmean(listed) if listed else None
