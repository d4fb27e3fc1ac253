"""The drafter: the embedded writer that needs no language model. A search over hand-written measures.

It reads both views, gathers measures that serve each of them or bridge the two, composes short proposals that name both
sides' concerns, and searches that space. The paper's strategies map onto it, so that the ablation runs offline:

- ``single`` composes from relevant measures without looking at any score;
- ``cot`` first finds what the two suggestions share and plans from that;
- ``cot-self-score`` rates its drafts itself, by the share of each view's words that a draft takes up, and keeps the
best;
- ``cot-feedback`` searches with the scorer: high warmth, small gap, different mechanisms among the proposals.

"More like this" and "dropped" steer each of them (see `mediator.drafting.guidance`). The drafter takes the two views in
an order of its own (by their text), so exchanging A and B gives exactly the same proposals.
"""

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from mediator.cancellation import Cancellation
from mediator.drafting.choosing import Draft, choose
from mediator.drafting.composing import Plan, Step, compose, processes, sentences_of
from mediator.drafting.constraints import understand
from mediator.drafting.guidance import Guidance
from mediator.drafting.lexicon import stems
from mediator.drafting.measures import Mechanism
from mediator.drafting.reading import Concern, read
from mediator.drafting.retrieval import ANSWERS, Choice, Retrieval
from mediator.empathy import EmpathyModel, Scale
from mediator.encoders import Matrix
from mediator.neutrality import repeats
from mediator.schema import Dispute, Scores, Strategy, View
from mediator.side_letters import exchanged_letters
from mediator.writers.base import Brief, Delta

_SUPPORT = 0.5
"""How much the relevance of its measures counts in the value of a draft, beside warmth and gap (0..1 each)."""

_UNLIKE = 0.6
"""How often the second side is named with another concern than the first, when both share one."""

_FIRST_LOOK = 24  # plans worked out before any text is scored
_SCORED = 8  # of these, how many are scored as full texts
_CLIMBS = 2  # of these, how many are improved
_CONCERN_SHARE = 0.35  # weight of a named concern beside that of a measure, in words about one to three
_TRIES = 3  # how many neighbours of each are scored
_SAME = 0.95  # shared words of two proposals on process, from which they are one: they all quote the same requests
_WORDIEST = 80  # words of a proposal


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


_REVIEWED = re.compile(r"\b(?:trial|review|for (?:six|eight|ten|twelve|two|three) (?:weeks|months|years))\b")


_Sides = tuple[list[int], list[int]]
"""The measures considered for each side, by their place in `Retrieval.measures`, best first."""


class _Search:
    """One brief's work."""

    def __init__(self, brief: Brief, scorer: EmpathyModel, cancel: Cancellation) -> None:
        self.brief, self.scorer, self.cancel = brief, scorer, cancel
        view_a, view_b = brief.dispute.view_a, brief.dispute.view_b
        a_is_first = _order(view_a) <= _order(view_b)
        self.views: tuple[View, View] = (view_a, view_b) if a_is_first else (view_b, view_a)
        self.dispute = Dispute(view_a=self.views[0], view_b=self.views[1])
        readings = (read(self.views[0]), read(self.views[1]))
        self.constraints = understand(brief.comments, *readings, a_is_first=a_is_first)
        self.random = random.Random(self._seed())  # noqa: S311 - reproducible choice, not cryptography
        self.retrieval = Retrieval(self.views, self.constraints, scorer, brief.dispute.summary)
        self.guidance = Guidance(brief, self.retrieval)
        self._scored: dict[str, Scores] = {}
        self._steps: dict[tuple[int, int | None], Step] = {}

    def _seed(self) -> int:
        parts = (
            *(view.as_text() for view in self.views),
            str(self.brief.seed),
            self.brief.strategy.value,
            *(_whichever_side(text) for text in self.brief.comments),
            *(_whichever_side(candidate.text) for candidate in self.brief.earlier),
            *(_whichever_side(text) for text in (*self.brief.like, *self.brief.avoid)),
        )
        return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).digest()[:8], "big")

    # -- the strategies ------------------------------------------------------------------------------------------

    def run(self) -> list[Draft]:
        bridges = self.retrieval.for_both()
        sides = self.guidance.with_wanted((self.retrieval.for_side(0), self.retrieval.for_side(1)))
        drafts: list[Draft] = []
        if (sides[0] and sides[1]) or bridges:
            drafts = self._drafts(sides, bridges)
            if len(drafts) < self.brief.count and self.guidance.relax():
                drafts = self._picked([*drafts, *self._drafts(sides, bridges)])
        return self._completed(drafts)

    def _drafts(self, sides: _Sides, bridges: list[int]) -> list[Draft]:
        match self.brief.strategy:
            case Strategy.SINGLE:
                return self._single(sides, bridges)
            case Strategy.COT:
                return self._from_common_ground(sides, bridges)
            case Strategy.COT_SELF_SCORE:
                return self._self_scored(sides, bridges)
            case Strategy.COT_FEEDBACK:
                return self._with_scorer(sides, bridges)

    def _single(self, sides: _Sides, bridges: list[int]) -> list[Draft]:
        plans = self._random_plans(sides, bridges, 6 * self.brief.count)
        return self._picked([self._near_to_liked(self._draft(plan)) for plan in plans])

    def _from_common_ground(self, sides: _Sides, bridges: list[int]) -> list[Draft]:
        shared = self.retrieval.shared_ground()
        choices: list[Choice] = []
        for index in dict.fromkeys([*bridges, *sides[0][:6], *sides[1][:6]]):
            weaker = 0 if self.retrieval.relevance[0][index] < self.retrieval.relevance[1][index] else 1
            partners = [other for other in sides[weaker] if self.retrieval.combine(index, other)][:3]
            choices += [((index, None), (other, weaker)) for other in partners]
        plans = []
        for choice in self.guidance.keeping(choices, self.brief.count):
            plan = self._plan(choice)
            named = shared and self.random.random() < 0.6
            plans.append(replace(plan, shared=self.random.choice(shared)) if named else plan)
        self.random.shuffle(plans)
        return self._picked([self._near_to_liked(self._draft(plan)) for plan in plans])

    def _self_scored(self, sides: _Sides, bridges: list[int]) -> list[Draft]:
        drafts = [self._draft(plan) for plan in self._random_plans(sides, bridges, 16 * self.brief.count)]
        rated = [replace(draft, value=self._coverage(draft.text)) for draft in drafts]
        return self._picked(sorted(map(self._near_to_liked, rated), key=lambda draft: -draft.value))

    @cached_property
    def _main_words(self) -> list[list[str]]:
        """The words that each view uses most."""
        return [
            [word for word, _ in (reading.suggestion_stems + reading.stems).most_common(20)]
            for reading in self.retrieval.readings
        ]

    def _coverage(self, text: str) -> float:
        """The drafter's own estimate: the share of each view's main words in the text, smaller less difference."""
        words = set(stems(text))
        shares = [sum(word in words for word in main) / max(1, len(main)) for main in self._main_words]
        return min(shares) - abs(shares[0] - shares[1])

    def _with_scorer(self, sides: _Sides, bridges: list[int]) -> list[Draft]:
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
        key = index, which
        if key not in self._steps:
            self._steps[key] = Step(self.retrieval.measures[index], self.retrieval.slots(which))
        return self._steps[key]

    def _plan(self, choice: Choice) -> Plan:
        """Plan a proposal from one or two measures: the step that serves a side stands with a concern of that side."""
        order = sorted(choice, key=lambda item: 0 if item[1] == 0 else 2 if item[1] == 1 else 1)
        indices = [order[0][0], order[-1][0]]
        named: list[Concern | None] = []
        answered = True
        for which in (0, 1):
            options = self.retrieval.concerns(which)
            matching = self.retrieval.answered(which, indices[which])
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

    def _choices(self, sides: _Sides, bridges: list[int]) -> list[Choice]:
        """Combinations of measures: one for each side, a bridge with one of a side, a bridge alone."""
        choices: list[Choice] = []
        for one in sides[0]:
            choices += [((one, 0), (two, 1)) for two in sides[1] if self.retrieval.combine(one, two)]
        for bridge in bridges:
            choices.append(((bridge, None),))
            for which in (0, 1):
                choices += [
                    ((bridge, None), (other, which)) for other in sides[which] if self.retrieval.combine(bridge, other)
                ]
        least, most = self.constraints.fewest_steps, self.constraints.most_steps
        choices = [choice for choice in choices if min(2, least) <= len(choice) <= most] or choices
        return self.guidance.keeping(choices, self.brief.count)

    def _random_plans(self, sides: _Sides, bridges: list[int], number: int) -> list[Plan]:
        choices = self._choices(sides, bridges)
        if not choices:
            return []
        weights = [support**6 for support in self.retrieval.support(choices)]
        return [self._plan(choice) for choice in self.random.choices(choices, weights, k=number)]

    def _promising(self, sides: _Sides, bridges: list[int]) -> list[Plan]:
        """The plans whose measures' embeddings, averaged, come near to both views and equally so."""
        choices = self._choices(sides, bridges)
        known = self.guidance.known
        used = {name for text in known.texts for name in self.retrieval.measures_in(text)}
        vectors = self.retrieval.vectors
        values = []
        for choice, support in zip(choices, self.retrieval.support(choices), strict=True):
            mean = sum(vectors[index] for index, _ in choice) / len(choice)
            mean = mean / max(math.sqrt(mean @ mean), 1e-6)
            first, second = self._positions(mean)
            fresh = sum(self.retrieval.measures[index].name not in used for index, _ in choice) / len(choice)
            values.append(
                self._value(first, second)
                + support
                + self.guidance.closeness(mean)
                + 0.03 * fresh
                + 0.05 * self.random.random()
            )
        plans: list[Plan] = []
        count: Counter[int] = Counter()
        for position in np.argsort(-np.asarray(values), kind="stable"):
            choice = choices[int(position)]
            families = frozenset(self.retrieval.measures[index].family for index, _ in choice)
            often = any(count[index] >= 3 and index not in self.guidance.wanted for index, _ in choice)
            if often or known.has(families):
                continue
            count.update(index for index, _ in choice)
            plans.append(self._plan(choice))
            if len(plans) >= _FIRST_LOOK:
                break
        return plans

    def _neighbours(self, plan: Plan, text: str, sides: _Sides) -> list[Plan]:
        """Plans one step away: another concern named, another wording, one measure more for the side further off."""
        result = [replace(plan, wording=plan.wording + 1), self._flipped(plan)]
        for current, step in ((plan.first, plan.steps[0]), (plan.second, plan.steps[min(1, len(plan.steps) - 1)])):
            if current is None:
                continue  # this side has no concern that could be named instead
            which = 0 if current in self.retrieval.concerns(0) else 1
            index = self.retrieval.index[step.measure.name]
            others = [
                concern
                for concern in self.retrieval.concerns(which)
                if concern != current and (not plan.answers or self.retrieval.match(concern, index) >= ANSWERS)
            ]
            if current is plan.first:
                result += [replace(plan, first=concern) for concern in others]
            else:
                result += [replace(plan, second=concern) for concern in others]
        scores = self._scored.get(text)
        weaker = 1 if scores is not None and scores.tilt > 0 else 0
        if len(plan.steps) == 2 and self.constraints.most_steps > 2 and not plan.review:
            names = {step.measure.name for step in plan.steps}
            indices = [self.retrieval.index[step.measure.name] for step in plan.steps]
            extra = [
                index
                for index in sides[weaker]
                if self.retrieval.measures[index].name not in names
                and all(self.retrieval.combine(index, other) for other in indices)
            ]
            result += [replace(plan, steps=(*plan.steps, self._step(index, weaker))) for index in extra[:3]]
        return result

    # -- rating and choosing -------------------------------------------------------------------------------------

    def _draft(self, plan: Plan) -> Draft:
        return Draft(compose(plan), plan)

    def _value(self, first: float, second: float) -> float:
        """What the search maximises: warmth less the gap, measured from the lean that a comment asked for."""
        lean = 0.12 * max(-1.0, min(1.0, self.constraints.lean))
        return min(first, second) - abs((second - first) - lean)

    def _mean(self, plan: Plan) -> Matrix:
        """About where the text of a plan will lie, as a unit vector, by the vectors of its parts."""
        parts = [self.retrieval.vectors[self.retrieval.index[step.measure.name]] for step in plan.steps]
        named = [concern.phrase for concern in (plan.first, plan.second) if concern is not None]
        parts += [_CONCERN_SHARE * self.retrieval.vector_of(phrase) for phrase in named]
        mean: Matrix = sum(parts[1:], parts[0])
        return mean / max(math.sqrt(mean @ mean), 1e-6)

    def _estimate(self, plan: Plan) -> float:
        """What a plan's text will be worth, by the vectors of its parts: no text is encoded for it."""
        mean = self._mean(plan)
        first, second = self._positions(mean)
        return self._value(first, second) + _SUPPORT * self._answering(plan) + self.guidance.closeness(mean)

    @cached_property
    def _scales(self) -> list[tuple[Scale, Matrix]]:
        """The calibration and the unit vector of each view."""
        texts = [view.as_text() for view in self.views]
        return list(zip(map(self.scorer.scale, texts), self.scorer.embed(texts), strict=True))

    def _positions(self, vector: Matrix) -> list[float]:
        """Where a unit vector lies on the scale of each view, 0..1."""
        return [scale.position(float(vector @ view)) for scale, view in self._scales]

    def _answering(self, plan: Plan) -> float:
        """Mean relevance of a plan's measures: of like scores, the one whose measures answer the views is better."""
        return float(
            np.mean([self.retrieval.relevance[:, self.retrieval.index[step.measure.name]].max() for step in plan.steps])
        )

    def _rated(self, plans: Sequence[Plan], most: int) -> list[Draft]:
        """The ``most`` plans of the best estimate as texts, scored in full."""
        self.cancel.raise_if_cancelled()
        rated: list[Draft] = []
        for plan in sorted(plans, key=lambda plan: -self._estimate(plan)):
            draft = self._draft(plan)
            if draft.text in self._scored or not self._allowed(draft.text):
                continue
            self.cancel.raise_if_cancelled()
            scores = self.scorer.score(self.dispute, [_substance(draft.text)])[0]
            self._scored[draft.text] = scores
            value = self._value(scores.score_a, scores.score_b) + _SUPPORT * self._answering(plan)
            rated.append(replace(draft, value=value + self.guidance.closeness_of(draft.text)))
            if len(rated) >= most:
                break
        return rated

    def _allowed(self, text: str) -> bool:
        allows = not self.constraints.excludes_words or self.constraints.allows(set(stems(text)))
        return len(text.split()) <= _WORDIEST and allows

    def _near_to_liked(self, draft: Draft) -> Draft:
        """The draft with the nearness of its measures to what the mediator likes in its value: no text is encoded."""
        if not self.brief.like or draft.plan is None:
            return draft
        return replace(draft, value=draft.value + self.guidance.closeness(self._mean(draft.plan)))

    def _picked(self, drafts: Sequence[Draft]) -> list[Draft]:
        return choose(drafts, self.brief.count, self.guidance.known, self._allowed)

    def _completed(self, drafts: list[Draft]) -> list[Draft]:
        """Fill up with proposals on process, for a dispute that no measure fits."""
        result = list(drafts)
        if len(result) < self.brief.count:
            asks = [reading.ask or reading.text for reading in self.retrieval.readings]
            texts = processes(asks[0], asks[1])
            self.random.shuffle(texts)
            taken = [*self.guidance.known.texts, *(draft.text for draft in result)]
            fresh = [
                text for text in texts if not repeats(text, taken, _SAME) and self.constraints.allows(_own_stems(text))
            ]
            result += [Draft(text, None) for text in (fresh or texts)[: self.brief.count - len(result)]]
        return result[: self.brief.count]


_QUOTED = re.compile(r"“[^”]*”")


def _substance(text: str) -> str:
    """A proposal without what it quotes: quoting both sides brings any text near to both, whatever it proposes."""
    return _QUOTED.sub("this", text)


def _order(view: View) -> tuple[str, ...]:
    """What the drafter sorts the views by: the text, and its fields where two forms of a view read the same."""
    return (view.as_text(), view.text, view.place, view.reason, view.suggestion)


def _whichever_side(text: str) -> str:
    """The same for a remark and for that remark with A and B exchanged."""
    return min(text, exchanged_letters(text))


def _own_stems(text: str) -> set[str]:
    """Stems of a text outside quotation marks: what it proposes, not what it quotes."""
    return set(stems(_QUOTED.sub(" ", text)))
