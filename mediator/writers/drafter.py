"""The drafter: the embedded writer that needs no language model. A search over hand-written measures.

It reads both views, gathers measures that serve each of them or bridge the two, composes short proposals that name both
sides' concerns, and searches that space. The paper's strategies map onto it, so that the ablation runs offline:

- ``single`` composes from relevant measures without looking at any score;
- ``cot`` first finds what the two suggestions share and plans from that;
- ``cot-self-score`` rates its drafts itself, by the share of each view's words that a draft takes up, and keeps the
best;
- ``cot-feedback`` searches with the scorer: high warmth, small gap, different mechanisms among the proposals.

It takes the two views in an order of its own (by their text), so exchanging A and B gives exactly the same proposals.
"""

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from mediator.cancellation import Cancellation
from mediator.drafting.composing import Plan, Step, compose, processes, sentences_of
from mediator.drafting.constraints import Constraints, understand
from mediator.drafting.lexicon import stems, subjects_of, subjects_raised, themes
from mediator.drafting.measures import (
    EACH_PLACE,
    Measure,
    Mechanism,
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
from mediator.neutrality import overlap
from mediator.schema import Dispute, Scores, Strategy, View
from mediator.writers.base import Brief, Delta

RELEVANT = 0.53
"""Relevance (see `_Search._relevance`) from which a measure answers a view."""

_NEAR = 0.3
_NEAR_PUBLIC = 0.37
"""Cosine to the nearest sentence below which a measure of the library is about something else, whatever its themes."""

_OWN = 0.6
"""Relevance of a measure made from a wish of the view itself."""

_GENERAL = 0.42
"""Relevance of a measure that fits almost any dispute."""

ANSWERS = 0.5
"""Match (see `_Search._match`) from which a measure may be said to answer a concern."""

_PASSING = 0.22
"""How far below the best theme of a view (see `_Search._concerns`) a theme may be to be named as a concern."""

_SUPPORT = 0.5
"""How much the relevance of its measures counts in the value of a draft, beside warmth and gap (0..1 each)."""

_UNLIKE = 0.6
"""How often the second side is named with another concern than the first, when both share one."""

_CLOSE = 0.1
"""How far below the third best measure for a view another may be to stand beside it."""

_SHORTLIST = 12  # measures considered per side, and as bridges
_FIRST_LOOK = 24  # plans worked out before any text is scored
_SCORED = 8  # of these, how many are scored as full texts
_CLIMBS = 2  # of these, how many are improved
_CONCERN_SHARE = 0.35  # weight of a named concern beside that of a measure, in words about one to three
_TRIES = 3  # how many neighbours of each are scored
_WORDIEST = 80  # words of a proposal


@dataclass(frozen=True)
class _Draft:
    """A worded plan; ``plan`` is None for a proposal on process."""

    text: str
    plan: Plan | None
    value: float = 0.0

    @property
    def measures(self) -> tuple[str, ...]:
        return tuple(step.measure.name for step in self.plan.steps) if self.plan else ()

    @property
    def families(self) -> frozenset[str]:
        return frozenset(step.measure.family for step in self.plan.steps) if self.plan else frozenset()

    @property
    def mechanisms(self) -> frozenset[str]:
        return frozenset(step.measure.mechanism for step in self.plan.steps) if self.plan else frozenset()


class Drafter:
    """Writes proposals by search. Deterministic: the same brief gives the same text."""

    name = "drafter"
    destination: str | None = None

    def __init__(self, scorer: EmpathyModel) -> None:
        self._scorer = scorer

    def write(self, brief: Brief, cancel: Cancellation) -> Iterator[Delta]:
        """See `Writer.write`. Raises nothing but `Cancelled`."""
        search = _Search(brief, self._scorer, cancel)
        drafts = search.run()
        for index, draft in enumerate(drafts):
            pieces = sentences_of(draft.text)
            for number, piece in enumerate(pieces):
                cancel.raise_if_cancelled()
                yield Delta(index, piece if number == 0 else " " + piece, done=number == len(pieces) - 1)

    def close(self) -> None:
        """Nothing to free: the scorer belongs to its maker."""


@lru_cache(maxsize=4)
def _library_vectors(scorer: EmpathyModel) -> Matrix:
    """Unit vectors of all measures in general words, shape ``(measures, dimensions)``."""
    return scorer.embed_shipped([measure.neutral_text for measure in library()])


_Choice = tuple[tuple[int, int | None], ...]
"""Measures by their place in the library, each with the side it serves: 0, 1, or None for both."""

_REVIEWED = re.compile(r"\b(?:trial|review|for (?:six|eight|ten|twelve|two|three) (?:weeks|months|years))\b")


class _Search:
    """One brief's work."""

    def __init__(self, brief: Brief, scorer: EmpathyModel, cancel: Cancellation) -> None:
        self.brief, self.scorer, self.cancel = brief, scorer, cancel
        view_a, view_b = brief.dispute.view_a, brief.dispute.view_b
        self.a_is_first = _order(view_a) <= _order(view_b)
        self.views: tuple[View, View] = (view_a, view_b) if self.a_is_first else (view_b, view_a)
        self.readings: tuple[Reading, Reading] = (read(self.views[0]), read(self.views[1]))
        self.dispute = Dispute(view_a=self.views[0], view_b=self.views[1])
        self.constraints: Constraints = understand(brief.comments, *self.readings, a_is_first=self.a_is_first)
        self.random = random.Random(self._seed())  # noqa: S311 - reproducible choice, not cryptography
        self.known = [candidate.text for candidate in brief.earlier]
        self._scored: dict[str, Scores] = {}
        self._used: Counter[str] = Counter()
        self.kind, noun = shared_place(*self.readings)
        self.slots = tuple(
            slots_for(reading.place, reading.place_noun) if reading.place else slots_for(self.kind, noun)
            for reading in self.readings
        )
        self.common_slots = slots_for(self.kind, noun) if self.kind or not self.readings[0].place else EACH_PLACE
        nouns = {reading.place_noun for reading in self.readings if reading.place_noun}
        if self.kind and len(nouns) < 2:
            self.slots = (self.common_slots, self.common_slots)
        elif self.kind and noun not in nouns:
            # Two places of a kind, "a market" and "a gas station": neither is "the shop".
            self.common_slots = replace(self.common_slots, place=EACH_PLACE.place)
        own = [own_measures(reading) for reading in self.readings]
        self.measures: list[Measure] = [*library(), *own[0], *own[1]]
        self.index = {measure.name: index for index, measure in enumerate(self.measures)}
        self.owner = {measure.name: which for which, made in enumerate(own) for measure in made}
        self._pairs = [
            {self.measures[self.index[name]].family for name in self._measures_in(text)} for text in self.known[-8:]
        ]
        self._used.update(name for pair in self._pairs for name in pair)
        made_texts = [measure.neutral_text for measure in self.measures[len(library()) :]]
        self.vectors = np.concatenate([_library_vectors(scorer), scorer.embed(made_texts)])
        self.raised = subjects_raised(self.views[0].as_text()) | subjects_raised(self.views[1].as_text())
        self._ranked: dict[int, list[Concern]] = {}
        self.relevance = np.stack([self._relevance(0), self._relevance(1)])

    def _seed(self) -> int:
        parts = (
            *(view.as_text() for view in self.views),
            str(self.brief.seed),
            self.brief.strategy.value,
            *self.brief.comments,
            *(candidate.text for candidate in self.brief.earlier),
        )
        return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).digest()[:8], "big")

    # -- reading -------------------------------------------------------------------------------------------------

    def _relevance(self, which: int) -> Matrix:
        """How far each measure of the library answers one view, about 0..1.2; 0 where it fits the place not at all.

        The embedding of the measure's general wording is compared with each sentence of the view, because a measure
        answers one wish and not a whole story; themes and words add to it. That is retrieval: what a finished proposal
        scores is looked at by `cot-feedback` alone.
        """
        reading, view = self.readings[which], self.views[which]
        kind = self.kind or reading.place
        nearest = self._nearest(which, self.vectors)
        if kind == "policy":
            # Every law is a little like every other: there a measure must be near to the whole view as well.
            nearest = (nearest + self.vectors @ self.scorer.embed([view.as_text()])[0]) / 2
        values = np.zeros(len(self.measures), dtype=np.float32)
        for index, measure in enumerate(self.measures):
            fit = fits(measure, kind)
            if fit == 0.0 or not self.constraints.allows_measure(measure):
                continue
            if measure.name not in self.owner and not subjects_of(measure.text) <= self.raised:
                continue  # nobody spoke of dogs
            if measure.name in self.owner:
                value = _OWN if self.owner[measure.name] == which else 0.0
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

    def _match(self, concern: Concern, index: int) -> float:
        """How far a measure answers a concern, 0..1: by theme, or by how near the concern's words are to its text."""
        measure = self.measures[index]
        if self.owner.get(measure.name) is not None and concern.own and concern.phrase in measure.text:
            return 1.0
        by_theme = 1.0 if concern.theme in measure.themes else 0.6 if concern.theme in measure.also else 0.0
        vector = self.scorer.embed([concern.phrase])[0]
        by_words = 1.4 * float(self.vectors[index] @ vector)
        if not concern.own:
            return max(by_theme, 0.8 * by_words)
        # The author's own words are more particular than their theme. What is near to a worry may as well be its cause
        # ("mess in the long grass", "the grass will be left to grow"), so a worry needs the theme.
        mixed = 0.45 * by_theme + 0.5 * by_words
        return mixed if concern.kind is ConcernKind.WORRY else max(mixed, by_words)

    def _shortlist(self, values: Matrix, length: int = _SHORTLIST) -> list[int]:
        order = [int(index) for index in np.argsort(-values, kind="stable") if values[index] >= min(RELEVANT, _GENERAL)]
        answering = [index for index in order if values[index] >= RELEVANT][:length]
        # Where some measures answer a view well, those that only touch it are left out.
        # The third best is the yardstick: the best may be one of a kind.
        close = [index for index in answering if values[index] >= values[answering[:3][-1]] - _CLOSE]
        answering = close if len(close) >= 4 else answering[:4]
        # What fits almost anything stands in only where little answers the view itself.
        return answering if len(answering) >= 4 else (answering + [i for i in order if i not in answering])[:6]

    def _concerns(self, which: int) -> list[Concern]:
        """The side's concerns that may be named: its own words first, then the themes that it means most.

        A theme is met by a word in passing as well ("my father rented it"), so how often it is met and how near its
        phrase is to a sentence of the view both count, and only themes close to the best are named.
        """
        if which not in self._ranked:
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
            self._ranked[which] = [
                concern for concern in (own + themed) if self.constraints.allows(set(stems(concern.phrase)))
            ][:6]
        return self._ranked[which]

    # -- the strategies ------------------------------------------------------------------------------------------

    def run(self) -> list[_Draft]:
        sides = [self._shortlist(self.relevance[0]), self._shortlist(self.relevance[1])]
        bridges = self._shortlist(np.minimum(self.relevance[0], self.relevance[1]) + 0.08 * self._bridging())
        drafts: list[_Draft] = []
        if (sides[0] and sides[1]) or bridges:
            match self.brief.strategy:
                case Strategy.SINGLE:
                    drafts = self._single(sides, bridges)
                case Strategy.COT:
                    drafts = self._from_common_ground(sides, bridges)
                case Strategy.COT_SELF_SCORE:
                    drafts = self._self_scored(sides, bridges)
                case Strategy.COT_FEEDBACK:
                    drafts = self._with_scorer(sides, bridges)
        return self._completed(drafts)

    def _bridging(self) -> Matrix:
        """1 for a measure whose `themes` and `also` reach both sides, else 0."""
        first, second = (set(reading.themes) for reading in self.readings)
        return np.array(
            [
                float(
                    bool(measure.also)
                    and bool(
                        (set(measure.themes) & first and set(measure.also) & second)
                        or (set(measure.themes) & second and set(measure.also) & first)
                    )
                )
                for measure in self.measures
            ],
            dtype=np.float32,
        )

    def _single(self, sides: list[list[int]], bridges: list[int]) -> list[_Draft]:
        return self._picked([self._draft(plan) for plan in self._random_plans(sides, bridges, 6 * self.brief.count)])

    def _from_common_ground(self, sides: list[list[int]], bridges: list[int]) -> list[_Draft]:
        shared = self._shared_ground()
        plans = []
        for index in dict.fromkeys([*bridges, *sides[0][:6], *sides[1][:6]]):
            weaker = 0 if self.relevance[0][index] < self.relevance[1][index] else 1
            partners = [other for other in sides[weaker] if self._combine(index, other)][:3]
            for other in partners:
                plan = self._plan(((index, None), (other, weaker)))
                named = shared and self.random.random() < 0.6
                plans.append(replace(plan, shared=self.random.choice(shared)) if named else plan)
        self.random.shuffle(plans)
        return self._picked([self._draft(plan) for plan in plans])

    def _shared_ground(self) -> list[str]:
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
        kinds = [{c.kind for c in reading.concerns if c.theme == theme and not c.own} for reading in self.readings]
        return all(kind == {ConcernKind.WISH} for kind in kinds)

    def _self_scored(self, sides: list[list[int]], bridges: list[int]) -> list[_Draft]:
        drafts = [self._draft(plan) for plan in self._random_plans(sides, bridges, 16 * self.brief.count)]
        rated = [replace(draft, value=self._coverage(draft.text)) for draft in drafts]
        return self._picked(sorted(rated, key=lambda draft: -draft.value))

    def _coverage(self, text: str) -> float:
        """The drafter's own estimate: the share of each view's main words in the text, smaller less difference."""
        words = set(stems(text))
        shares = []
        for reading in self.readings:
            main = [word for word, _ in (reading.suggestion_stems + reading.stems).most_common(20)]
            shares.append(sum(word in words for word in main) / max(1, len(main)))
        return min(shares) - abs(shares[0] - shares[1])

    def _with_scorer(self, sides: list[list[int]], bridges: list[int]) -> list[_Draft]:
        plans = self._promising(sides, bridges)
        drafts = self._rated(plans, _SCORED)
        best = sorted(drafts, key=lambda draft: -draft.value)
        for draft in best[:_CLIMBS]:
            if draft.plan is not None:
                drafts += self._rated(self._neighbours(draft.plan, draft.text, sides), _TRIES)
        picked = self._picked(sorted(drafts, key=lambda draft: -draft.value))
        if len(picked) < self.brief.count:
            drafts += self._rated(self._random_plans(sides, bridges, 3 * _SCORED), _SCORED)
            picked = self._picked(sorted(drafts, key=lambda draft: -draft.value))
        return picked

    # -- plans ---------------------------------------------------------------------------------------------------

    def _step(self, index: int, which: int | None) -> Step:
        slots: Slots = self.common_slots if which is None else self.slots[which]
        return Step(self.measures[index], slots)

    def _combine(self, one: int, other: int) -> bool:
        """Whether two measures can stand in one proposal: not the same, not alike, not the same mechanism twice."""
        first, second = self.measures[one], self.measures[other]
        return (
            one != other
            and first.mechanism is not second.mechanism
            and not (first.general and second.general)
            and len(set(first.stems) & set(second.stems)) <= 0.3 * min(len(first.stems), len(second.stems))
        )

    def _plan(self, choice: _Choice) -> Plan:
        """Plan a proposal from one or two measures: the step that serves a side stands with a concern of that side."""
        order = sorted(choice, key=lambda item: 0 if item[1] == 0 else 2 if item[1] == 1 else 1)
        indices = [order[0][0], order[-1][0]]
        named: list[Concern | None] = []
        answered = True
        for which in (0, 1):
            options = self._concerns(which)
            matching = [concern for concern in options if self._match(concern, indices[which]) >= ANSWERS]
            answered = answered and bool(matching)
            sayable = (matching or options)[:3]
            if which and named[0] is not None and self.random.random() < _UNLIKE:
                other = named[0].phrase
                sayable = [concern for concern in sayable if concern.phrase != other] or sayable
            named.append(self.random.choice(sayable[:2]) if sayable else None)
        steps = [self._step(index, which) for index, which in order]
        review = not any(step.measure.mechanism is Mechanism.TRIAL or _REVIEWED.search(step.clause) for step in steps)
        plan = Plan(
            steps=tuple(steps),
            first=named[0],
            second=named[1],
            answers=answered,
            wording=self.random.randrange(1000),
            review=review and self.random.random() < 0.25,
        )
        return self._flipped(plan) if self.random.random() < 0.5 else plan

    @staticmethod
    def _flipped(plan: Plan) -> Plan:
        """The same plan told from the other side first."""
        return replace(plan, steps=tuple(reversed(plan.steps)), first=plan.second, second=plan.first)

    def _choices(self, sides: list[list[int]], bridges: list[int]) -> list[_Choice]:
        """Combinations of measures: one for each side, a bridge with one of a side, a bridge alone."""
        choices: list[_Choice] = []
        for one in sides[0]:
            choices += [((one, 0), (two, 1)) for two in sides[1] if self._combine(one, two)]
        for bridge in bridges:
            choices.append(((bridge, None),))
            for which in (0, 1):
                choices += [((bridge, None), (other, which)) for other in sides[which] if self._combine(bridge, other)]
        least, most = self.constraints.fewest_steps, self.constraints.most_steps
        return [choice for choice in choices if min(2, least) <= len(choice) <= most] or choices

    def _random_plans(self, sides: list[list[int]], bridges: list[int], number: int) -> list[Plan]:
        choices = self._choices(sides, bridges)
        if not choices:
            return []
        weights = [self._support(choice) ** 6 for choice in choices]
        return [self._plan(choice) for choice in self.random.choices(choices, weights, k=number)]

    def _support(self, choice: _Choice) -> float:
        """Mean relevance of the measures to the sides they serve; a bridge counts for its weaker side."""
        return float(
            np.mean(
                [
                    self.relevance[:, index].min() + 0.1 if which is None else self.relevance[which, index]
                    for index, which in choice
                ]
            )
        )

    def _promising(self, sides: list[list[int]], bridges: list[int]) -> list[Plan]:
        """The plans whose measures' embeddings, averaged, come near to both views and equally so."""
        choices = self._choices(sides, bridges)
        used = {name for text in self.known for name in self._measures_in(text)}
        vectors = self.vectors
        views = self.scorer.embed([view.as_text() for view in self.views])
        scales = [self.scorer.scale(view.as_text()) for view in self.views]
        values = []
        for choice in choices:
            mean = vectors[[index for index, _ in choice]].mean(axis=0)
            mean = mean / max(float(np.linalg.norm(mean)), 1e-6)
            first, second = (scale.position(float(mean @ view)) for scale, view in zip(scales, views, strict=True))
            fresh = sum(self.measures[index].name not in used for index, _ in choice) / len(choice)
            values.append(
                self._value(first, second) + self._support(choice) + 0.03 * fresh + 0.05 * self.random.random()
            )
        plans: list[Plan] = []
        count: Counter[int] = Counter()
        for position in np.argsort(-np.asarray(values), kind="stable"):
            choice = choices[int(position)]
            families = {self.measures[index].family for index, _ in choice}
            if any(count[index] >= 3 for index, _ in choice) or any(families <= pair for pair in self._pairs):
                continue
            count.update(index for index, _ in choice)
            plans.append(self._plan(choice))
            if len(plans) >= _FIRST_LOOK:
                break
        return plans

    def _measures_in(self, text: str) -> list[str]:
        lowered = text.lower()
        return [m.name for m in self.measures if any(part in lowered for part in _signature(m))]

    def _neighbours(self, plan: Plan, text: str, sides: list[list[int]]) -> list[Plan]:
        """Plans one step away: another concern named, another wording, one measure more for the side further off."""
        result = [replace(plan, wording=plan.wording + 1), self._flipped(plan)]
        for current, step in ((plan.first, plan.steps[0]), (plan.second, plan.steps[min(1, len(plan.steps) - 1)])):
            if current is None:
                continue  # this side has no concern that could be named instead
            which = 0 if current in self._concerns(0) else 1
            index = self.index[step.measure.name]
            others = [
                concern
                for concern in self._concerns(which)
                if concern != current and (not plan.answers or self._match(concern, index) >= ANSWERS)
            ]
            if current is plan.first:
                result += [replace(plan, first=concern) for concern in others]
            else:
                result += [replace(plan, second=concern) for concern in others]
        scores = self._scored.get(text)
        weaker = 1 if scores is not None and scores.tilt > 0 else 0
        if len(plan.steps) == 2 and self.constraints.most_steps > 2 and not plan.review:
            names = {step.measure.name for step in plan.steps}
            indices = [self.index[step.measure.name] for step in plan.steps]
            extra = [
                index
                for index in sides[weaker]
                if self.measures[index].name not in names and all(self._combine(index, other) for other in indices)
            ]
            result += [replace(plan, steps=(*plan.steps, self._step(index, weaker))) for index in extra[:3]]
        return result

    # -- rating and choosing -------------------------------------------------------------------------------------

    def _draft(self, plan: Plan) -> _Draft:
        return _Draft(compose(plan), plan)

    def _value(self, first: float, second: float) -> float:
        """What the search maximises: warmth less the gap, measured from the lean that a comment asked for."""
        lean = 0.12 * max(-1.0, min(1.0, self.constraints.lean))
        return min(first, second) - abs((second - first) - lean)

    def _estimate(self, plan: Plan) -> float:
        """What a plan's text will be worth, by the vectors of its parts: no text is encoded for it."""
        parts = [self.vectors[self.index[step.measure.name]] for step in plan.steps]
        named = [concern.phrase for concern in (plan.first, plan.second) if concern is not None]
        parts += [_CONCERN_SHARE * vector for vector in self.scorer.embed(named)]
        mean = np.sum(parts, axis=0)
        mean = mean / max(float(np.linalg.norm(mean)), 1e-6)
        texts = [view.as_text() for view in self.views]
        first, second = (
            self.scorer.scale(text).position(float(mean @ vector))
            for text, vector in zip(texts, self.scorer.embed(texts), strict=True)
        )
        return self._value(first, second) + _SUPPORT * self._answering(plan)

    def _answering(self, plan: Plan) -> float:
        """Mean relevance of a plan's measures: of like scores, the one whose measures answer the views is better."""
        return float(np.mean([self.relevance[:, self.index[step.measure.name]].max() for step in plan.steps]))

    def _rated(self, plans: Sequence[Plan], most: int) -> list[_Draft]:
        """The ``most`` plans of the best estimate as texts, scored in full."""
        self.cancel.raise_if_cancelled()
        rated: list[_Draft] = []
        for plan in sorted(plans, key=lambda plan: -self._estimate(plan)):
            draft = self._draft(plan)
            if draft.text in self._scored or not self._allowed(draft.text):
                continue
            self.cancel.raise_if_cancelled()
            scores = self.scorer.score(self.dispute, [_substance(draft.text)])[0]
            self._scored[draft.text] = scores
            value = self._value(scores.score_a, scores.score_b) + _SUPPORT * self._answering(plan)
            rated.append(replace(draft, value=value))
            if len(rated) >= most:
                break
        return rated

    def _allowed(self, text: str) -> bool:
        return len(text.split()) <= _WORDIEST and self.constraints.allows(set(stems(text)))

    def _picked(self, drafts: Iterable[_Draft]) -> list[_Draft]:
        """Choose ``count`` drafts one after the other: the best value less what it repeats of those chosen before.

        Drafts without a value count by their order. One measure may stand in two proposals, with different partners,
        where few measures fit: better than a measure that does not.
        """
        usable = [draft for draft in drafts if self._allowed(draft.text) and not self._repeats(draft.text, self.known)]
        worth = {id(draft): draft.value - 0.01 * place for place, draft in enumerate(usable)}
        chosen: list[_Draft] = []
        used = self._used
        while len(chosen) < self.brief.count:
            best: tuple[float, _Draft] | None = None
            for draft in usable:
                cost = self._repetition(draft, chosen, used)
                if cost is not None and (best is None or worth[id(draft)] - cost > best[0]):
                    best = (worth[id(draft)] - cost, draft)
            if best is not None:
                chosen.append(best[1])
            elif used:
                used = Counter()  # better a measure of an earlier round with another partner than none
            else:
                break
        return chosen

    def _repetition(self, draft: _Draft, chosen: Sequence[_Draft], used: Counter[str]) -> float | None:
        """What a draft repeats of others, as a loss of value; None when it may not stand beside them at all."""
        uses = Counter(name for other in chosen for name in other.families)
        names = draft.families
        if any(uses[name] >= 2 or uses[name] + used[name] >= 3 for name in names) or any(
            names <= other.families for other in chosen
        ):
            return None
        if self._repeats(draft.text, [other.text for other in chosen]):
            return None
        if used and any(names <= pair for pair in self._pairs):
            return None
        shared = sum(uses[name] + used[name] / 2 for name in names)
        same = any(draft.mechanisms == other.mechanisms for other in chosen)
        return 0.12 * shared + 0.06 * same

    def _repeats(self, text: str, others: Sequence[str]) -> bool:
        return any(overlap(text, other) > 0.6 for other in others)

    def _completed(self, drafts: list[_Draft]) -> list[_Draft]:
        """Fill up with proposals on process, for a dispute that no measure fits."""
        result = list(drafts)
        if len(result) < self.brief.count:
            asks = [reading.ask or reading.text for reading in self.readings]
            texts = processes(asks[0], asks[1])
            self.random.shuffle(texts)
            taken = [*self.known, *(draft.text for draft in result)]
            fresh = [text for text in texts if text not in taken and self.constraints.allows(_own_stems(text))]
            result += [_Draft(text, None) for text in (fresh or texts)[: self.brief.count - len(result)]]
        return result[: self.brief.count]


_QUOTED = re.compile(r"“[^”]*”")


def _substance(text: str) -> str:
    """A proposal without what it quotes: quoting both sides brings any text near to both, whatever it proposes."""
    return _QUOTED.sub("this", text)


def _order(view: View) -> tuple[str, ...]:
    """What the drafter sorts the views by: the text, and its fields where two forms of a view read the same."""
    return (view.as_text(), view.text, view.place, view.reason, view.suggestion)


def _own_stems(text: str) -> set[str]:
    """Stems of a text outside quotation marks: what it proposes, not what it quotes."""
    return set(stems(_QUOTED.sub(" ", text)))


@lru_cache(maxsize=2000)
def _signature(measure: Measure) -> tuple[str, ...]:
    """The longest stretch of a measure's text without a slot: how it is recognised in an earlier proposal."""
    pieces = [piece for part in measure.text.split("{") for piece in part.split("}")]
    return (max(pieces, key=len).strip().lower(),)
