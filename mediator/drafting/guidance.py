"""What the mediator's "more like this" and "dropped" mean for the search over measures."""

from collections import Counter

import numpy as np

from mediator.drafting.choosing import Known
from mediator.drafting.retrieval import RELEVANT, Choice, Retrieval
from mediator.encoders import Matrix
from mediator.sentences import sentences
from mediator.writers.base import Brief

LIKENESS = 1.0
"""How much closeness to a liked text (a cosine) counts in the value of a draft, beside warmth and gap (0..1 each)."""

DROPPED = 0.3
"""What a measure that only dropped proposals used loses in relevance (see `Retrieval.preference`)."""

_FOREIGN = 0.5
"""Cosine to a sentence of a liked text, from which a measure may stand for it where none is recognised in it."""

_MOST_FOREIGN = 4  # measures that may stand for such a text
_LATELY = 8  # earlier proposals whose measures are worth a little less


class Guidance:
    """Which measures new proposals are to keep, how near they come to what is liked, and what they may not repeat.

    Measures are recognised in the drafter's own texts by their words. For an edited text, or one by another writer,
    the measures nearest to its sentences stand in, if some are near.

    Attributes:
        wanted: places in `Retrieval.measures` of what the liked texts are made of; a new proposal keeps one at least.
        known: what there is already.
    """

    def __init__(self, brief: Brief, retrieval: Retrieval) -> None:
        self._retrieval = retrieval
        self._liked: Matrix | None = retrieval.scorer.embed(brief.like) if brief.like else None
        self._is_strict = True
        self.wanted = tuple(dict.fromkeys(index for text in brief.like for index in self._measures_of(text)))
        earlier = [candidate.text for candidate in brief.earlier]
        combinations = [self._families(text) for text in (*earlier[-_LATELY:], *brief.like, *brief.avoid)]
        self.known = Known(
            texts=(*earlier, *brief.like, *brief.avoid),
            combinations=tuple(combination for combination in combinations if combination),
            used=Counter(name for text in earlier[-_LATELY:] for name in self._families(text)),
            wanted=frozenset(retrieval.measures[index].family for index in self.wanted),
            unwanted=self._only_dropped(brief),
        )
        self._make_room()
        for index, measure in enumerate(retrieval.measures):
            if measure.family in self.known.unwanted:
                retrieval.preference[index] = -DROPPED

    def _families(self, text: str) -> frozenset[str]:
        retrieval = self._retrieval
        return frozenset(retrieval.measures[retrieval.index[name]].family for name in retrieval.measures_in(text))

    def _measures_of(self, text: str) -> list[int]:
        retrieval = self._retrieval
        found = [retrieval.index[name] for name in retrieval.measures_in(text)]
        if not found:
            vectors = retrieval.scorer.embed([part.strip() for part in sentences(text)][:12])
            near = (retrieval.vectors @ vectors.T).max(axis=1) * (retrieval.relevance.max(axis=0) > 0)
            order = np.argsort(-near, kind="stable")[:_MOST_FOREIGN]
            found = [int(index) for index in order if near[index] >= _FOREIGN]
        return [index for index in found if retrieval.constraints.allows_measure(retrieval.measures[index])]

    def _make_room(self) -> None:
        """A wanted measure counts as relevant to the side it is nearer to, whatever retrieval thinks of it."""
        relevance = self._retrieval.relevance
        for index in self.wanted:
            which = self._side(index)
            relevance[which, index] = max(relevance[which, index], RELEVANT)

    def _only_dropped(self, brief: Brief) -> frozenset[str]:
        """The families of measures that dropped proposals used and no other."""
        dropped = set(brief.avoid)
        others = [text for text in (*(one.text for one in brief.earlier), *brief.like) if text not in dropped]
        spared = {name for text in others for name in self._families(text)}
        return frozenset(name for text in dropped for name in self._families(text)) - spared

    def _side(self, index: int) -> int:
        relevance = self._retrieval.relevance[:, index]
        if relevance[0] == relevance[1]:
            views = self._retrieval.scorer.embed([view.as_text() for view in self._retrieval.views])
            relevance = views @ self._retrieval.vectors[index]
        return 0 if relevance[0] >= relevance[1] else 1

    def with_wanted(self, sides: tuple[list[int], list[int]]) -> tuple[list[int], list[int]]:
        """The measures considered for each side, with those wanted among them."""
        for index in reversed(self.wanted):
            which = self._side(index)
            if index not in sides[which]:
                sides[which].insert(0, index)
        return sides

    def keeping(self, choices: list[Choice], count: int) -> list[Choice]:
        """Those combinations that keep a wanted measure, if there are enough of them for ``count`` proposals."""
        if not self._is_strict:
            return choices
        kept = [choice for choice in choices if any(index in self.wanted for index, _ in choice)]
        return kept if len(kept) >= count else choices

    def relax(self) -> bool:
        """Let every combination count again, for want of others; returns whether that makes a difference."""
        was_strict, self._is_strict = self._is_strict, False
        return was_strict and bool(self.wanted)

    def closeness(self, vector: Matrix) -> float:
        """What a unit vector's nearness to the liked texts adds to the value of a draft; 0 where nothing is liked."""
        return 0.0 if self._liked is None else LIKENESS * float((self._liked @ vector).max())

    def closeness_of(self, text: str) -> float:
        """The same of a text."""
        return 0.0 if self._liked is None else self.closeness(self._retrieval.scorer.embed([text])[0])
