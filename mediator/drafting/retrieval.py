"""What fits one dispute: which measures answer which view, and which concerns of a side may be named."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from mediator.drafting.constraints import Constraints
from mediator.drafting.lexicon import stems, subjects_of, subjects_raised, themes
from mediator.drafting.measures import (
    EACH_PLACE,
    Measure,
    Slots,
    fits,
    library,
    own_measures,
    slots_for,
    theme_match,
    word_share,
)
from mediator.drafting.reading import Concern, ConcernKind, Reading, read, sentences, shared_place
from mediator.empathy import EmpathyModel
from mediator.encoders import Matrix
from mediator.schema import View

RELEVANT = 0.53
"""Relevance (see `Retrieval.relevance`) from which a measure answers a view."""

ANSWERS = 0.5
"""Match (see `Retrieval.match`) from which a measure may be said to answer a concern."""

_NEAR = 0.3
_NEAR_PUBLIC = 0.37
"""Cosine to the nearest sentence below which a measure of the library is about something else, whatever its themes."""

_OWN = 0.6
"""Relevance of a measure made from a wish of the view itself."""

_GENERAL = 0.42
"""Relevance of a measure that fits almost any dispute."""

_PASSING = 0.22
"""How far below the best theme of a view (see `Retrieval.concerns`) a theme may be to be named as a concern."""

_CLOSE = 0.1
"""How far below the third best measure for a view another may be to stand beside it."""

_SHORTLIST = 12  # measures considered per side, and as bridges

Choice = tuple[tuple[int, int | None], ...]
"""Measures by their place in `Retrieval.measures`, each with the side it serves: 0, 1, or None for both."""


class Retrieval:
    """The measures and concerns of one dispute, for the two views in the drafter's own order: sides 0 and 1.

    Attributes:
        readings: of the two views.
        measures: those of the library and those made from the views' own wishes.
        index: place of each measure in ``measures`` by its name.
        vectors: unit vectors of the measures in general words, shape ``(measures, dimensions)``.
        relevance: how far each measure answers each view, about 0..1.2, shape ``(2, measures)``; 0 where it does not
            fit the place.
        preference: what is added to the relevance of each measure where measures are put in order; 0 at first.
    """

    def __init__(
        self, views: tuple[View, View], constraints: Constraints, scorer: EmpathyModel, summary: str = ""
    ) -> None:
        self.views, self.constraints, self.scorer = views, constraints, scorer
        self.readings: tuple[Reading, Reading] = (read(views[0]), read(views[1]))
        self._place(summary)
        own = [own_measures(reading) for reading in self.readings]
        self.measures: list[Measure] = [*library(), *own[0], *own[1]]
        self.index = {measure.name: index for index, measure in enumerate(self.measures)}
        self._owner = {measure.name: which for which, made in enumerate(own) for measure in made}
        made_texts = [measure.neutral_text for measure in self.measures[len(library()) :]]
        self.vectors = np.concatenate([_library_vectors(scorer), scorer.embed(made_texts)])
        self._raised = subjects_raised(views[0].as_text(), views[1].as_text(), summary)
        self._named: dict[int, list[Concern]] = {}
        self._answered: dict[tuple[int, int], list[Concern]] = {}
        self._phrases: dict[str, Matrix] = {}
        self._made_of: dict[str, list[str]] = {}
        self._allowed: dict[int, bool] = {}
        self.preference: Matrix = np.zeros(len(self.measures), dtype=np.float32)
        self.relevance: Matrix = np.stack([self._relevance(0), self._relevance(1)])

    def _place(self, summary: str) -> None:
        """Find what the two views call their place. The summary is asked where neither names one."""
        self._kind, noun = shared_place(*self.readings)
        if summary and not any(reading.place for reading in self.readings):
            about = read(View(text=summary))
            self._kind, noun = (about.place, about.place_noun) if about.place != "policy" else ("", "")
        self._slots = tuple(
            slots_for(reading.place, reading.place_noun) if reading.place else slots_for(self._kind, noun)
            for reading in self.readings
        )
        self._common_slots = slots_for(self._kind, noun) if self._kind or not self.readings[0].place else EACH_PLACE
        nouns = {reading.place_noun for reading in self.readings if reading.place_noun}
        if self._kind and len(nouns) < 2:
            self._slots = (self._common_slots, self._common_slots)
        elif self._kind and noun not in nouns:
            # Two places of a kind, "a market" and "a gas station": neither is "the shop".
            self._common_slots = replace(self._common_slots, place=EACH_PLACE.place)

    def slots(self, which: int | None) -> Slots:
        """The words for the slots of a measure that serves side 0 or 1, or both (None)."""
        return self._common_slots if which is None else self._slots[which]

    def _relevance(self, which: int) -> Matrix:
        """How far each measure answers one view.

        The embedding of the measure's general wording is compared with each sentence of the view, because a measure
        answers one wish and not a whole story; themes and words add to it. That is retrieval: what a finished proposal
        scores is looked at by `cot-feedback` alone.
        """
        reading, view = self.readings[which], self.views[which]
        kind = self._kind or reading.place
        nearest = self._nearest(which, self.vectors)
        if kind == "policy":
            # Every law is a little like every other: there a measure must be near to the whole view as well.
            nearest = (nearest + self.vectors @ self.scorer.embed([view.as_text()])[0]) / 2
        values = np.zeros(len(self.measures), dtype=np.float32)
        fit_of = (*_library_fits(kind), *(fits(measure, kind) for measure in self.measures[len(library()) :]))
        for index, measure in enumerate(self.measures):
            fit = fit_of[index]
            if fit == 0.0 or not self._allows(index):
                continue
            if measure.name not in self._owner and not subjects_of(measure.text) <= self._raised:
                continue  # nobody spoke of dogs
            if measure.name in self._owner:
                value = _OWN if self._owner[measure.name] == which else 0.0
            elif measure.general:
                value = _GENERAL if kind or "{" not in measure.text else 0.0
            elif nearest[index] < (_NEAR_PUBLIC if kind == "policy" else _NEAR):
                value = 0.0
            else:
                themed, worded = theme_match(measure, reading), word_share(measure.stems, reading)
                value = float(nearest[index]) + 0.15 * themed + 0.15 * worded + 0.1 * (fit - 0.5)
            if value > 0.0:
                values[index] = value + self.constraints.weight(measure)
        return values

    def _allows(self, index: int) -> bool:
        """What the constraints say of a measure: they say it for both sides."""
        if index not in self._allowed:
            self._allowed[index] = self.constraints.allows_measure(self.measures[index])
        return self._allowed[index]

    def _nearest(self, which: int, vectors: Matrix) -> Matrix:
        """Cosine of each vector to the nearest sentence of one view; the suggestion counts a little more."""
        view = self.views[which]
        parts = [
            (sentence, weight)
            for field, weight in ((view.suggestion, 1.0), (view.text, 1.0), (view.reason, 0.95), (view.place, 0.85))
            for sentence in sentences(field)[:12]
            if len(sentence.split()) > 2
        ] or [(view.as_text(), 1.0)]
        weights = np.asarray([weight for _, weight in parts], dtype=np.float32)
        nearest: Matrix = (vectors @ self.scorer.embed([sentence for sentence, _ in parts]).T * weights).max(axis=1)
        return nearest

    def match(self, concern: Concern, index: int) -> float:
        """How far a measure answers a concern, 0..1: by theme, or by how near the concern's words are to its text."""
        measure = self.measures[index]
        if self._owner.get(measure.name) is not None and concern.own and concern.phrase in measure.text:
            return 1.0
        by_theme = 1.0 if concern.theme in measure.themes else 0.6 if concern.theme in measure.also else 0.0
        by_words = 1.4 * float(self.vectors[index] @ self.vector_of(concern.phrase))
        if not concern.own:
            return max(by_theme, 0.8 * by_words)
        # The author's own words are more particular than their theme. What is near to a worry may as well be its cause
        # ("mess in the long grass", "the grass will be left to grow"), so a worry needs the theme.
        mixed = 0.45 * by_theme + 0.5 * by_words
        return mixed if concern.kind is ConcernKind.WORRY else max(mixed, by_words)

    def vector_of(self, phrase: str) -> Matrix:
        """The unit vector of a phrase that is named again and again."""
        if phrase not in self._phrases:
            self._phrases[phrase] = self.scorer.embed([phrase])[0]
        return self._phrases[phrase]

    def answered(self, which: int, index: int) -> list[Concern]:
        """Those of a side's `concerns` that a measure may be said to answer (`ANSWERS`)."""
        key = which, index
        if key not in self._answered:
            self._answered[key] = [concern for concern in self.concerns(which) if self.match(concern, index) >= ANSWERS]
        return self._answered[key]

    def concerns(self, which: int) -> list[Concern]:
        """The side's concerns that may be named: its own words first, then the themes that it means most.

        A theme is met by a word in passing as well ("my father rented it"), so how often it is met and how near its
        phrase is to a sentence of the view both count, and only themes close to the best are named.
        """
        if which not in self._named:
            reading = self.readings[which]
            own = [concern for concern in reading.concerns if concern.own]
            themed = [concern for concern in reading.concerns if not concern.own]
            if themed:
                near = self._nearest(which, self.scorer.embed([concern.phrase for concern in themed]))
                worth = {
                    concern.phrase: 1.2 * reading.themes.get(concern.theme, 0.0) + float(cosine)
                    for concern, cosine in zip(themed, near, strict=True)
                }
                best = max(worth.values())
                themed = sorted(
                    (concern for concern in themed if worth[concern.phrase] >= best - _PASSING),
                    key=lambda concern: -worth[concern.phrase],
                )[:4]
            self._named[which] = [
                concern for concern in (own + themed) if self.constraints.allows(set(stems(concern.phrase)))
            ][:6]
        return self._named[which]

    def shared_ground(self) -> list[str]:
        """Noun phrases for what both suggestions ask for."""
        first, second = self.readings
        both = [
            theme
            for theme in first.themes
            if theme in second.themes and min(first.themes[theme], second.themes[theme]) >= 0.06 and self._wished(theme)
        ]
        both.sort(key=lambda theme: (-min(first.themes[theme], second.themes[theme]), theme))
        return [
            phrase
            for theme in both[:2]
            for phrase in themes()[theme].wish
            if self.constraints.allows(set(stems(phrase)))
        ]

    def _wished(self, theme: str) -> bool:
        kinds = [
            {concern.kind for concern in reading.concerns if concern.theme == theme and not concern.own}
            for reading in self.readings
        ]
        return all(kind == {ConcernKind.WISH} for kind in kinds)

    def for_side(self, which: int) -> list[int]:
        """The measures to consider for a side, best first."""
        return self._shortlist(self.relevance[which])

    def for_both(self) -> list[int]:
        """The measures to consider as bridges between the sides, best first."""
        return self._shortlist(self.relevance.min(axis=0) + 0.08 * self._bridging())

    def _shortlist(self, values: Matrix) -> list[int]:
        ranking = values + self.preference
        ranked = np.argsort(-ranking, kind="stable")
        order: list[int] = ranked[values[ranked] >= min(RELEVANT, _GENERAL)].tolist()
        answering = [index for index in order if values[index] >= RELEVANT][:_SHORTLIST]
        # Where some measures answer a view well, those that only touch it are left out.
        # The third best is the yardstick: the best may be one of a kind.
        close = [index for index in answering if ranking[index] >= ranking[answering[:3][-1]] - _CLOSE]
        answering = close if len(close) >= 4 else answering[:4]
        # What fits almost anything stands in only where little answers the view itself.
        return answering if len(answering) >= 4 else (answering + [i for i in order if i not in answering])[:6]

    def _bridging(self) -> Matrix:
        """1 for a measure whose `themes` and `also` reach both sides, else 0."""
        first, second = (set(reading.themes) for reading in self.readings)
        return np.array(
            [
                float(
                    bool(measure.also)
                    and (
                        not (first.isdisjoint(measure.themes) or second.isdisjoint(measure.also))
                        or not (second.isdisjoint(measure.themes) or first.isdisjoint(measure.also))
                    )
                )
                for measure in self.measures
            ],
            dtype=np.float32,
        )

    def combine(self, one: int, other: int) -> bool:
        """Whether two measures can stand in one proposal: not the same, not alike, not the same mechanism twice."""
        first, second = self.measures[one], self.measures[other]
        return (
            one != other
            and first.mechanism is not second.mechanism
            and not (first.general and second.general)
            and len(first.stems.keys() & second.stems.keys()) <= 0.3 * min(len(first.stems), len(second.stems))
        )

    def support(self, choices: Sequence[Choice]) -> list[float]:
        """Of each choice: mean relevance of its measures to the sides they serve, above 0.

        A bridge counts for its weaker side.
        """
        relevant: dict[int | None, Matrix] = {
            0: self.relevance[0] + self.preference,
            1: self.relevance[1] + self.preference,
            None: self.relevance.min(axis=0) + 0.1 + self.preference,
        }
        return [
            max(float(sum(relevant[which][index] for index, which in choice) / len(choice)), 0.01) for choice in choices
        ]

    def measures_in(self, text: str) -> list[str]:
        """The names of the measures that a text was made of."""
        if text not in self._made_of:
            lowered = text.lower()
            self._made_of[text] = [measure.name for measure in self.measures if measure.signature in lowered]
        return self._made_of[text]


@lru_cache(maxsize=4)
def _library_vectors(scorer: EmpathyModel) -> Matrix:
    """Unit vectors of all measures in general words, shape ``(measures, dimensions)``."""
    return scorer.embed_shipped([measure.neutral_text for measure in library()])


@lru_cache(maxsize=100)
def _library_fits(kind: str) -> tuple[float, ...]:
    """How well each measure of the library `fits` a kind of place."""
    return tuple(fits(measure, kind) for measure in library())
